"""A nodule as the guidelines see it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal, get_args

from monai_lung.errors import UsageError
from monai_lung.model import Texture

Status = Literal["baseline", "new", "stable", "growing", "slow-growing", "larger"]
"""Against the earlier examination; "larger" has grown, but by less than Lung-RADS counts."""
Airway = Literal["subsegmental", "segmental"]
Cyst = Literal[
    "thin-walled",
    "thick-walled",
    "thick-walled-growing-space",
    "thick-walled-growing-wall",
    "multilocular",
    "becoming-multilocular",
    "multilocular-growing",
    "multilocular-more-opacity",
    "cavitary",
    "fluid-containing",
    "multiple",
]
Size = Literal["diameter", "volume"]
"""The measure of the size bands where a nodule has both; diameters unless said otherwise."""

LUNG_RADS_CATEGORIES = ("0", "1", "2", "3", "4A", "4B", "4X")


class GuidelineInputError(UsageError, ValueError):
    """An input that no guideline can take: a negative size, a texture that doesn't exist."""


@dataclass(frozen=True)
class GuidelineNodule:
    """The facts about a nodule that guidelines need.

    Attributes:
        texture: "solid", "part-solid" or "ground-glass".
        long_axis_mm: largest extent on the slice measured.
        short_axis_mm: largest extent at right angles to it, on the same slice; not longer than the long axis.
        volume_mm3: where measured.
        solid_max_diameter_mm: largest diameter of the solid part (Fleischner's way).
        solid_mean_diameter_mm: mean of the solid part's axes (Lung-RADS's way).
        status: against the earlier examination; "baseline" without one. Smaller counts as "stable". "growing" of a
            part-solid nodule means its solid part.
        juxtapleural: at a fissure or the pleura, solid, smooth, and oval, lentiform or triangular.
        airway: lies in an airway of that order ("segmental": segmental or more proximal).
        cyst: an atypical cyst, and what has changed in it.
        benign_pattern: benign calcification (complete, central, popcorn, rings) or fat.
        suspicious: spiculation or another feature that raises suspicion by itself; plain growth is none.
        prior_category: Lung-RADS category of this nodule at the earlier examination.
        months_since_prior: since then.

    Raises:
        GuidelineInputError: a size that is negative, zero or no number, a short axis longer than the long one, a solid
            part larger than the nodule, or a name that no guideline knows.
    """

    texture: Texture
    long_axis_mm: float
    short_axis_mm: float
    volume_mm3: float | None = None
    solid_max_diameter_mm: float | None = None
    solid_mean_diameter_mm: float | None = None
    status: Status = "baseline"
    juxtapleural: bool = False
    airway: Airway | None = None
    cyst: Cyst | None = None
    benign_pattern: bool = False
    suspicious: bool = False
    prior_category: str | None = None
    months_since_prior: float | None = None

    def __post_init__(self) -> None:
        self._check_names()
        for name, least_excluded in (("long_axis_mm", True), ("short_axis_mm", True), ("volume_mm3", True)):
            _check_number(name, getattr(self, name), above_zero=least_excluded)
        for name in ("solid_max_diameter_mm", "solid_mean_diameter_mm", "months_since_prior"):
            _check_number(name, getattr(self, name), above_zero=False)
        if self.short_axis_mm > self.long_axis_mm:
            raise GuidelineInputError(
                f"short_axis_mm {self.short_axis_mm:g} is longer than long_axis_mm {self.long_axis_mm:g}: swap them"
            )

    def _check_names(self) -> None:
        allowed = {"texture": Texture, "status": Status, "airway": Airway, "cyst": Cyst}
        for name, literal in allowed.items():
            value, options = getattr(self, name), get_args(literal)
            if value not in options and not (value is None and name in ("airway", "cyst")):
                raise GuidelineInputError(f"{name} {value!r} is unknown: choose among {', '.join(options)}")
        if self.prior_category is not None and self.prior_category not in LUNG_RADS_CATEGORIES:
            raise GuidelineInputError(
                f"prior_category {self.prior_category!r} is unknown: choose among {', '.join(LUNG_RADS_CATEGORIES)}"
            )

    @property
    def mean_mm(self) -> float:
        """Mean of both axes, not rounded."""
        return (self.long_axis_mm + self.short_axis_mm) / 2

    def given(self) -> dict[str, object]:
        """The fields that say more than their default, for `Advice.inputs`."""
        return {f.name: v for f in fields(self) if (v := getattr(self, f.name)) is not None and v is not False}


def _check_number(name: str, value: float | None, *, above_zero: bool) -> None:
    if value is None and name not in ("long_axis_mm", "short_axis_mm"):
        return
    if value is None or not math.isfinite(value) or value < 0 or (above_zero and value == 0):
        raise GuidelineInputError(f"{name} is {value}: give a number {'above 0' if above_zero else 'of at least 0'}")
