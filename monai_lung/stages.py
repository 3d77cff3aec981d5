"""The stages of the analysis: what runs each, where it's stored, what it takes and gives. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from monai_lung.errors import UsageError
from monai_lung.limits import check_grid, check_number, check_open
from monai_lung.model import OperatingPoint, Sensitivity

Shape = tuple[int, ...]
SEGMENTATION, CLASSIFICATION, ANALYSIS = (
    "lung_nodule_segmentation",
    "lung_nodule_classification",
    "lung_nodule_analysis",
)
"""The bundles: the first two hold the networks, the third runs them all."""
PAPER = "lung_nodule_paper"
"""The bundle of the system of Yu et al. (BMC Bioinformatics 22:314, 2021), with networks of its own."""
TARGETS = (
    "nodule",
    "malignancy",
    "subtlety",
    "calcification",
    "sphericity",
    "margin",
    "lobulation",
    "spiculation",
    "texture",
)
"""The rating network's outputs, logits: whether it's a nodule at all, and LIDC-IDRI's ratings on 0...1."""
REGION_CHANNELS, NEAR_CHANNELS, WIDE_CHANNELS = 3, 4, 5
"""Channels of what the rating network sees: of one look, or of the near and the wide one of two."""
CORRECT_CHANNELS = 4
"""Channels of what the correcting network sees: CT, outline, clicks that add, clicks that cut."""
SLICE_TARGETS = TARGETS[1:]
"""Outputs of the network on slices, logits: the ratings alone."""


@dataclass(frozen=True)
class FindSettings:
    """Grid, window and thresholds of the network that finds.

    `threshold` is the voxel probability that makes a seed's component; seeds score the highest probability in it.
    A mass fills the network's window and is lost in it; so the network looks a second time at voxels twice as large,
    and what it finds there counts from `mass_mm` on.
    """

    spacing_mm: tuple[float, float, float]
    window: tuple[int, int, int]
    overlap: float
    threshold: float
    min_score: float
    mass_mm: float = 20.0

    def __post_init__(self) -> None:
        """Refuse what can't be.

        Raises:
            ValueError: a value is out of range.
        """
        check_grid(self.spacing_mm, self.window)
        check_number("overlap", self.overlap, 0, 0.75)
        check_open("threshold", self.threshold)
        check_number("min_score", self.min_score, 0, 1)
        check_number("mass_mm", self.mass_mm, 0)


@dataclass(frozen=True)
class DelineateSettings:
    """Grid and patch of the network that delineates; `threshold` is the probability that makes a voxel nodule.

    It was chosen on training patients; outlines carry probabilities shifted so that 0.5 is there.
    """

    spacing_mm: tuple[float, float, float]
    patch: tuple[int, int, int]
    threshold: float

    def __post_init__(self) -> None:
        """Refuse what can't be.

        Raises:
            ValueError: a value is out of range.
        """
        check_grid(self.spacing_mm, self.patch)
        check_open("threshold", self.threshold)


@dataclass(frozen=True)
class CorrectSettings(DelineateSettings):
    """Grid and patch of the network that corrects an outline by clicks, and how it is shown them.

    It sees the CT, the outline, and where a person clicked to add and to cut: a click is a ball that fades by
    exp(-d^2 / (2 click_mm^2)). For a large nodule the grid is coarser, and the balls are larger with it. What lies
    farther than `reach_mm` from every click stays as it was.
    """

    click_mm: float
    reach_mm: float

    def __post_init__(self) -> None:
        """Refuse what can't be.

        Raises:
            ValueError: a value is out of range.
        """
        super().__post_init__()
        check_number("click_mm", self.click_mm, 0.1, 10)
        check_number("reach_mm", self.reach_mm, 1, 100)


@dataclass(frozen=True)
class RateSettings:
    """Grids and thresholds of the networks that rate, and the calibration of the malignancy.

    One network sees a `region` of voxels of `spacing_mm` and says whether it's a nodule; where `wide_spacing_mm` is
    given it sees as many voxels of that size around it as well (`inference.looks`). Its logit y is calibrated to
    sigmoid(nodule_slope y + nodule_offset), the nodule probability. The other sees `slices` slices
    of `slice_pixels` by as many pixels of `slice_mm`, and its malignancy logit is x. That is calibrated to
    sigmoid(slope x + offset) (Platt 1999). reader_slope x + reader_offset predicts the logit of the readers' mean
    rating, and `spread` is how far nine of ten mean ratings lie from it at most (`training.calibration.fit_readers`).
    On the probability's own scale that is spread slope / reader_slope to either side: the interval. `operating_points`
    has the nodule probability from which on findings are reported, for each sensitivity ("high", "standard", "low");
    one that isn't there is `min_nodule`. What is rated below all of them is dropped, what lies between is a candidate.
    """

    spacing_mm: tuple[float, float, float]
    region: tuple[int, int, int]
    slope: float
    offset: float
    spread: float
    min_nodule: float
    reader_slope: float = 1.0
    reader_offset: float = 0.0
    wide_spacing_mm: tuple[float, float, float] | None = None
    nodule_slope: float = 1.0
    nodule_offset: float = 0.0
    slice_mm: float = 0.75
    slice_pixels: int = 48
    slices: int = 5
    operating_points: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what can't be.

        Raises:
            ValueError: a value is out of range.
        """
        check_grid(self.spacing_mm, self.region)
        if self.wide_spacing_mm is not None:
            check_grid(self.wide_spacing_mm, self.region)
        check_grid((self.slice_mm,) * 3, (self.slice_pixels,) * 3)
        check_number("slices", self.slices, 1, 64)
        if not isinstance(self.slices, int):
            raise ValueError(f"slices is {self.slices!r}, a whole number is needed")
        for name in ("slope", "offset", "reader_slope", "reader_offset", "nodule_slope", "nodule_offset"):
            check_number(name, getattr(self, name))
        check_number("spread", self.spread, 0)
        check_number("min_nodule", self.min_nodule, 0, 1)
        unknown = set(self.operating_points) - set(get_args(Sensitivity))
        if unknown:
            raise ValueError(f"operating_points: {', '.join(sorted(unknown))} is unknown")
        for name, probability in self.operating_points.items():
            check_number(f"operating_points.{name}", probability, 0, 1)
        high, standard, low = (self.operating_point(n).min_nodule_probability for n in get_args(Sensitivity))
        if not high <= standard <= low:
            raise ValueError(f"operating_points: high {high}, standard {standard}, low {low} must not decrease")

    @property
    def channels(self) -> int:
        """Of what the network sees that says whether it's a nodule."""
        return REGION_CHANNELS if self.wide_spacing_mm is None else NEAR_CHANNELS + WIDE_CHANNELS

    @property
    def least_nodule(self) -> float:
        """The lowest nodule probability of what is kept at all."""
        return min(self.min_nodule, *self.operating_points.values(), 1.0)

    def nodule_logit(self, probability: float) -> float:
        """The network's logit that is calibrated to a nodule probability; -inf for 0, or where none tells."""
        if probability <= 0 or self.nodule_slope <= 0:
            return -math.inf
        if probability >= 1:
            return math.inf
        return (math.log(probability / (1 - probability)) - self.nodule_offset) / self.nodule_slope

    def operating_point(self, name: Sensitivity) -> OperatingPoint:
        """From which nodule probability on findings are reported.

        Raises:
            UsageError: there is no such sensitivity.
        """
        if name not in get_args(Sensitivity):
            raise UsageError(f"sensitivity {name!r}: choose among {', '.join(get_args(Sensitivity))}")
        return OperatingPoint(name, self.operating_points.get(name, self.min_nodule))


@dataclass(frozen=True)
class SegmentSettings:
    """Grid and sub-cases of the paper's network that segments; `threshold` is the probability that makes a nodule."""

    spacing_mm: tuple[float, float, float]
    subcase: tuple[int, int, int]
    threshold: float

    def __post_init__(self) -> None:
        """Refuse what can't be.

        Raises:
            ValueError: a value is out of range.
        """
        check_grid(self.spacing_mm, self.subcase)
        check_open("threshold", self.threshold)


@dataclass(frozen=True)
class Stage:
    """One network of the analysis: the one place that says how it's called, stored and used.

    Attributes:
        name: of the stage, and of its network in `inference.networks.Networks`.
        bundle: that holds it.
        definition: key of the network in the bundle's `inference.json`.
        weights: file in the bundle's `models`.
        settings_key: key of its settings there.
        settings: their class.
        takes: what the network takes, (N, C, X, Y, Z) for N = 1, from the settings.
        gives: what it gives for that: logits.
    """

    name: str
    bundle: str
    definition: str
    weights: str
    settings_key: str
    settings: type[Any]
    takes: Callable[[Any], Shape]
    gives: Callable[[Any], Shape]

    @property
    def data_format(self) -> str:
        """Key in the bundle's metadata.json of what the network takes and gives."""
        return (
            "network_data_format" if self.weights == "model.pt" else f"{self.weights.removesuffix('.pt')}_data_format"
        )


STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            "find",
            SEGMENTATION,
            "find_def",
            "find.pt",
            "find_settings",
            FindSettings,
            takes=lambda s: (1, 1, *s.window),
            gives=lambda s: (1, 1, *s.window),
        ),
        Stage(
            "delineate",
            SEGMENTATION,
            "network_def",
            "model.pt",
            "delineate_settings",
            DelineateSettings,
            takes=lambda s: (1, 1, *s.patch),
            gives=lambda s: (1, 1, *s.patch),
        ),
        Stage(
            "rate",
            CLASSIFICATION,
            "network_def",
            "model.pt",
            "rate_settings",
            RateSettings,
            takes=lambda s: (1, s.channels, *s.region),
            gives=lambda s: (1, len(TARGETS)),
        ),
        Stage(
            "malignancy",
            CLASSIFICATION,
            "malignancy_def",
            "malignancy.pt",
            "rate_settings",
            RateSettings,
            takes=lambda s: (1, 3, s.slice_pixels, s.slice_pixels, s.slices),
            gives=lambda s: (1, len(SLICE_TARGETS)),
        ),
    )
}
"""In the order in which they run."""

ON_REQUEST = {
    stage.name: stage
    for stage in (
        Stage(
            "correct",
            SEGMENTATION,
            "correct_def",
            "correct.pt",
            "correct_settings",
            CorrectSettings,
            takes=lambda s: (1, CORRECT_CHANNELS, *s.patch),
            gives=lambda s: (1, 1, *s.patch),
        ),
    )
}
"""What runs only where a person asks for it: no analysis loads its network, and a bundle may lack it."""

PAPER_STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            "segment",
            PAPER,
            "network_def",
            "model.pt",
            "segment_settings",
            SegmentSettings,
            takes=lambda s: (1, 1, *s.subcase),
            gives=lambda s: (1, 1, *s.subcase),
        ),
        Stage(
            "classify",
            PAPER,
            "classify_def",
            "classify.pt",
            "classify_settings",
            RateSettings,
            takes=lambda s: (1, 1, *s.region),
            gives=lambda s: (1, 2),
        ),
    )
}
"""The paper's two networks, in the order in which they run; its classification has the settings of what rates."""

ALL_STAGES = STAGES | ON_REQUEST | PAPER_STAGES


def stages_of(config: Mapping[str, Any]) -> list[Stage]:
    """The stages whose networks a bundle holds, from its `inference.json`: any bundle, of whatever name."""
    return [stage for stage in ALL_STAGES.values() if stage.settings_key in config]
