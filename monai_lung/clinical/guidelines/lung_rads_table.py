"""The size grid of Lung-RADS v2022 as one table: a line for each cell, read from the top; the first that fits counts.

Sizes are mean diameters in mm, from the first bound on, below the second. `whole` is the nodule, `part` its solid part.
The issuer gives each bound in mm3 too: the sphere of that diameter (`VOLUMES_MM3`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from monai_lung.clinical.guidelines.nodule import Status

Bounds = tuple[float, float]
ANY: Bounds = (0, math.inf)

BY_SIZE: tuple[Status, ...] = ("baseline", "stable", "larger")
"""Stable without a step down, and growth too small to count: the category follows the size."""

VOLUMES_MM3 = {4: 34, 6: 113, 8: 268, 10: 524, 15: 1767, 30: 14137}
"""Each diameter limit in mm, and the sphere of that diameter in whole mm3."""


@dataclass(frozen=True)
class Cell:
    """One cell: the category of nodules of a texture and status whose sizes lie within both bounds."""

    category: str
    texture: str
    statuses: tuple[Status, ...]
    whole: Bounds = ANY
    part: Bounds = ANY

    def rule(self, kind: str, status: str) -> str:
        """The cell in words, for a nodule of that kind and status."""
        said = (_said(self.whole, ""), _said(self.part, "solid part "))
        return ", ".join([kind, STATUS_WORDS.get(status, status), *filter(None, said)])


STATUS_WORDS = {
    "larger": "grown, but not by more than 1.5 mm",
    "slow-growing": "slow growing over several examinations",
}

TABLE = (
    # category, texture, status, mean diameter, mean diameter of the solid part
    Cell("2", "solid", BY_SIZE, (0, 6)),
    Cell("3", "solid", BY_SIZE, (6, 8)),
    Cell("4A", "solid", BY_SIZE, (8, 15)),
    Cell("4B", "solid", BY_SIZE, (15, math.inf)),
    Cell("2", "solid", ("new",), (0, 4)),
    Cell("3", "solid", ("new",), (4, 6)),
    Cell("4A", "solid", ("new",), (6, 8)),
    Cell("4B", "solid", ("new",), (8, math.inf)),
    Cell("4A", "solid", ("growing",), (0, 8)),
    Cell("4B", "solid", ("growing",), (8, math.inf)),
    Cell("4B", "solid", ("slow-growing",)),
    Cell("2", "part-solid", BY_SIZE, (0, 6)),
    Cell("3", "part-solid", BY_SIZE, (6, math.inf), (0, 6)),
    Cell("4A", "part-solid", BY_SIZE, (6, math.inf), (6, 8)),
    Cell("4B", "part-solid", BY_SIZE, (6, math.inf), (8, math.inf)),
    Cell("3", "part-solid", ("new",), (0, 6)),
    # A new nodule's solid part is new as well: sources differ from 6 mm on, this is the issuer's row.
    Cell("4A", "part-solid", ("new",), (6, math.inf), (0, 4)),
    Cell("4B", "part-solid", ("new",), (6, math.inf), (4, math.inf)),
    Cell("4A", "part-solid", ("growing",), ANY, (0, 4)),
    Cell("4B", "part-solid", ("growing",), ANY, (4, math.inf)),
    Cell("4B", "part-solid", ("slow-growing",)),
    # Growing and 30 mm or more is not in the issuer's grid: the size decides.
    Cell("2", "ground-glass", ("baseline", "new", "growing", "larger"), (0, 30)),
    Cell("3", "ground-glass", ("baseline", "new", "growing", "larger"), (30, math.inf)),
    Cell("2", "ground-glass", ("stable", "slow-growing")),
    Cell("2", "juxtapleural", ("baseline", "new", "stable", "larger"), (0, 10)),
)


def cell_for(
    kind: str, status: Status, below: Callable[[float], bool], part_mm: float | None, unknown_part_mm: float
) -> Cell | None:
    """The cell of a nodule; None where the table has none (a juxtapleural one of 10 mm or more).

    Args:
        kind: texture, or "juxtapleural".
        status: of the nodule.
        below: whether the nodule's size lies below a limit in mm.
        part_mm: mean diameter of the solid part to 0.1 mm; None where it isn't known.
        unknown_part_mm: taken instead.
    """
    part = unknown_part_mm if part_mm is None else part_mm
    for cell in TABLE:
        whole = (cell.whole[0] == 0 or not below(cell.whole[0])) and (math.isinf(cell.whole[1]) or below(cell.whole[1]))
        within = cell.part == ANY or cell.part[0] <= part < cell.part[1] or (math.isinf(part) and part == cell.part[1])
        if cell.texture == kind and status in cell.statuses and whole and within:
            return cell
    return None


def _said(bounds: Bounds, what: str) -> str:
    """Bounds in words, as ">= 6 mm and < 8 mm"."""
    low, high = bounds
    parts = [f">= {low:g} mm"] * (low > 0) + [f"< {high:g} mm"] * (not math.isinf(high))
    return what + " and ".join(parts) if parts else ""
