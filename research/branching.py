"""How solid true and false candidates are: the figures behind `monai_lung.inference.branching`.

CANDIDATES is a folder of `monai-lung train candidates`. Shapes come from the looks that are kept of each outline: the
near one up to 28 mm, the wide one above. Prints, for some limits, how many of either are below.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_lung.errors import MonaiLungError
from monai_lung.inference.branching import BRANCHING_MM, VOXEL_MM, solidity_of
from monai_lung.training.candidates import FALSE, LESION, NEAR_MM, NEITHER, TRUE, WIDE_MM, Candidates, joined, read

LIMITS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75)
SIZES_MM = (12.0, 15.0, 20.0, 30.0, np.inf)
LEAST_SCORE = 0.2
_NEAR_TO_MM = 28.0


def solidities(candidates: Candidates) -> NDArray[np.float64]:
    """Of each candidate (n,)."""
    rows = []
    for n, diameter_mm in enumerate(candidates.diameter_mm):
        wide = diameter_mm >= _NEAR_TO_MM
        mask, spacing_mm = (candidates.wide_mask, WIDE_MM) if wide else (candidates.near_mask, NEAR_MM)
        share = ndimage.zoom(mask[n].astype(np.float32) / 255, np.array(spacing_mm) / VOXEL_MM, order=1)
        rows.append(solidity_of(share >= 0.5))
    return np.array(rows)


def table(candidates: Candidates) -> list[str]:
    """Lines of Markdown: by size, how many true and false candidates are below each limit."""
    solid = solidities(candidates)
    true, false, size = candidates.kind == TRUE, candidates.kind == FALSE, candidates.diameter_mm
    head = ["mm", "true", "false", *[f"< {limit:g}: true, of them there before, false" for limit in LIMITS]]
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head))]
    spans = [*pairwise(SIZES_MM), (SIZES_MM[0], SIZES_MM[-1])]
    for low, high in spans:
        here = (size >= low) & (size < high)
        cells = [f"{low:g}-{high:g}", str((true & here).sum()), str((false & here).sum())]
        for limit in LIMITS:
            below = here & (solid < limit)
            there = (true & below & (candidates.id == LESION)).sum()
            cells.append(f"{(true & below).sum()}, {there}, {(false & below).sum()}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


@click.command(help=__doc__)
@click.argument("candidates", type=click.Path(path_type=Path, exists=True))
def main(candidates: Path) -> None:
    """Print the table; errors on one line."""
    try:
        every = joined([read(path) for path in sorted(candidates.glob("*/*.npz"))])
    except (MonaiLungError, ValueError) as error:
        raise click.ClickException(f"{candidates}: {error}") from error
    large = (every.diameter_mm >= BRANCHING_MM) & (every.kind != NEITHER) & (every.score >= LEAST_SCORE)
    click.echo("\n".join(table(every.of(large))))


if __name__ == "__main__":
    main()
