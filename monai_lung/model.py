"""The types that travel between the stages. Of the package this file imports nothing but `errors`, `grid`, `shown`.

Conventions, everywhere outside MONAI transforms: an image array is (X, Y, Z), so that `array[i, j, k]` is column i,
row j, slice k; `affine_lps` (4, 4) takes a voxel index (i, j, k, 1) to the DICOM patient position of the voxel's centre
in mm (L, P, S positive); a point is (x, y, z) in LPS mm. Values are HU. Inside MONAI transforms arrays are
(C, X, Y, Z) and the affine is MONAI's RAS.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from monai_lung.errors import UsageError
from monai_lung.grid import Grid, bounding_box
from monai_lung.shown import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Takes homogeneous LPS coordinates to RAS, and back."""

Point = tuple[float, float, float]
Index = tuple[int, int, int]
Texture = Literal["solid", "part-solid", "ground-glass"]
Side = Literal["right", "left"]
Third = Literal["upper", "middle", "lower"]
BenignPattern = Literal["central", "diffuse", "popcorn", "laminated", "fat"]
"""Calcification that is benign by its pattern, or fat (`clinical.composition` has the rules)."""
Attachment = Literal["pleura", "diaphragm", "hilum", "vessel"]
"""A structure that a nodule touches. "hilum" stands for the mediastinum and the large vessels at the lung's root."""
Sensitivity = Literal["high", "standard", "low"]
Risk = Literal["low", "high"]

HU_RANGE = (-1024, 32767)
"""Number types of a CT in memory."""

RIGHT_LUNG, LEFT_LUNG = 1, 2
"""Labels of a lung mask."""


def _html(name: str, thing: CT | Report) -> str | None:
    """The page that a notebook shows, None where the libraries for that are missing: then its text is shown."""
    try:
        text: str = shown(name, thing)
    except UsageError:
        return None
    return text


@dataclass(frozen=True)
class Series:
    """A DICOM series as found in a folder, before its pixels are read.

    `suitable` says whether it can be analysed as an axial chest CT; `reason` why not, or why it ranks where it does.
    """

    uid: str
    study_uid: str
    modality: str
    description: str
    files: tuple[Path, ...]
    suitable: bool
    reason: str
    kernel: str = ""
    thickness_mm: float | None = None
    spacing_mm: tuple[float, float, float] | None = None
    study_date: datetime.date | None = None
    n_slices: int = 0
    """Slices at different places; a multi-frame file holds several."""
    derived: bool = False
    """Whether the scanner calls it derived rather than original."""
    number: int | None = None
    """DICOM's series number, as a workstation lists it."""
    region: Literal["chest", "elsewhere", ""] = ""
    """Of the body, as far as the headers say (`io.regions`)."""


@dataclass(frozen=True)
class SourceSlice:
    """One DICOM instance that a CT was read from, with its own geometry.

    `affine_lps` (4, 4) takes (column, row, 0, 1) of this instance to LPS mm; its third column is the slice normal
    of unit length. `frame` counts the frames of a multi-frame instance from 0, None for a single-frame one.
    `sop_instance_uid` is "" where the instance has none of its own: none at all, or that of other slices too.
    """

    path: Path
    sop_instance_uid: str
    affine_lps: NDArray[np.float64]
    shape: tuple[int, int]
    """Columns, rows."""
    frame: int | None = None
    image_number: int | None = None
    """DICOM's instance number: what a workstation calls the image."""


@dataclass(frozen=True)
class CT:
    """A chest CT in memory.

    Attributes:
        hu: int16 (X, Y, Z), Hounsfield units, never below -1024. Other numbers are rounded and clipped to that.
        affine_lps: float64 (4, 4), voxel index to LPS mm. Slices may run in any direction: the affine knows.
        name: the case's name, safe in a path, with nothing about the patient in it.
        path: where it was read from: the volume file, the archive, or the folder of the series.
        series: the DICOM series, None for NIfTI, NRRD and MHA.
        frame_of_reference_uid: DICOM's, "" where there is none, or none that all slices share.
        slices: the DICOM instances in the order of k (one per k when `resampled` is False), () for volumes.
        resampled: True when the grid isn't the stored one (tilt, gaps, half of the resolution): results are then mapped
            back through each slice's own affine.
        warnings: what a reader of the results must know, a sentence each.
        study_date: of the examination, None where unknown.
        patient_key: salted hash that tells two patients apart and says nothing else, "" where unknown.
        patient: name and ID, only for `--show-patient`; () where unknown.
        sha256: of the content of its files (`io.content`), "" for one that was made in memory.
    """

    hu: NDArray[np.int16]
    affine_lps: NDArray[np.float64]
    name: str
    path: Path = Path()
    series: Series | None = None
    frame_of_reference_uid: str = ""
    slices: tuple[SourceSlice, ...] = ()
    resampled: bool = False
    warnings: tuple[str, ...] = ()
    study_date: datetime.date | None = None
    patient_key: str = ""
    patient: tuple[str, ...] = ()
    sha256: str = ""

    def __post_init__(self) -> None:
        """Bring what was given to int16 and float64.

        Raises:
            UsageError: the array isn't (X, Y, Z) of numbers, or the affine isn't (4, 4).
        """
        hu, affine = np.asarray(self.hu), np.asarray(self.affine_lps, float)
        if hu.ndim != 3 or hu.dtype.kind not in "iuf" or affine.shape != (4, 4):
            shapes = f"hu is {hu.dtype} {hu.shape}, affine_lps {affine.shape}"
            raise UsageError(f"CT {self.name!r}: {shapes}; numbers (X, Y, Z) and (4, 4) are needed")
        if hu.dtype != np.int16:
            known = np.nan_to_num(hu, nan=HU_RANGE[0]) if hu.dtype.kind == "f" else hu
            hu = np.rint(np.clip(known, *HU_RANGE)).astype(np.int16)
        object.__setattr__(self, "hu", hu)
        object.__setattr__(self, "affine_lps", affine)

    def __repr__(self) -> str:
        """Name, voxels and their size: nobody reads arrays of millions."""
        size, spacing = " x ".join(map(str, self.hu.shape)), " x ".join(f"{v:.3g}" for v in self.spacing_mm)
        return f"CT({self.name!r}, {size} voxels of {spacing} mm)"

    def _repr_html_(self) -> str | None:
        """How a notebook shows it: the middle slices, size and warnings."""
        return _html("ct_html", self)

    @property
    def spacing_mm(self) -> Point:
        """Distance of neighbouring voxel centres along i, j and k."""
        x, y, z = np.linalg.norm(self.affine_lps[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def grid(self) -> Grid:
        """Where its voxels lie."""
        return Grid.of(self.hu, self.affine_lps)

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel."""
        return float(abs(np.linalg.det(self.affine_lps[:3, :3])))

    def to_world(self, index: NDArray[np.float64] | Point) -> NDArray[np.float64]:
        """LPS mm (..., 3) of (fractional) voxel indices (..., 3)."""
        return self.grid.to_world(index)

    def to_index(self, point_mm: NDArray[np.float64] | Point) -> NDArray[np.float64]:
        """Fractional voxel indices (..., 3) of points in LPS mm (..., 3)."""
        return self.grid.to_index(point_mm)


@dataclass(frozen=True)
class Lungs:
    """Lung mask on the CT's grid: uint8 (X, Y, Z), 0 outside, 1 right, 2 left (patient's)."""

    labels: NDArray[np.uint8]
    right_ml: float
    left_ml: float
    warnings: tuple[str, ...] = ()
    low_attenuation_percent: tuple[float | None, float | None] | None = None
    """Share of the right and the left lung below -950 HU; None where it wasn't measured."""

    def __repr__(self) -> str:
        """Volumes, no voxels."""
        return f"Lungs({self.right_ml:.0f} ml right, {self.left_ml:.0f} ml left)"


@dataclass(frozen=True)
class Seed:
    """A place where a nodule may be: centre in LPS mm, score in 0...1, rough diameter in mm."""

    center_mm: Point
    score: float
    diameter_mm: float


@dataclass(frozen=True)
class Outline:
    """The voxels of one nodule: a box of the CT's grid that starts at `offset`.

    Attributes:
        mask: bool (x, y, z), at least one voxel True.
        probability: float32 (x, y, z), the network's probability on the same box; `mask` is where it's >= 0.5 and
            connected. Carries the sub-voxel information that measurements use.
        offset: index (i, j, k) in the CT of the box's first voxel.
    """

    mask: NDArray[np.bool_]
    probability: NDArray[np.float32]
    offset: Index
    seed: Seed

    def __repr__(self) -> str:
        """Size and place, no voxels."""
        return f"Outline({int(self.mask.sum())} voxels at {self.offset})"

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """The box as slices into an array on the CT's grid."""
        x, y, z = (slice(o, o + n) for o, n in zip(self.offset, self.mask.shape, strict=True))
        return x, y, z

    def grid(self, ct: Grid) -> Grid:
        """Where the voxels of `mask` lie, which are a part of the CT's grid."""
        return ct.part(self.box)

    def middle_mm(self, ct: Grid) -> NDArray[np.float64]:
        """(3,) LPS mm of the middle of the smallest box around the mask."""
        return self.grid(ct).part(bounding_box(self.mask)).center_mm


@dataclass(frozen=True)
class Rating:
    """The third network's rating of an outlined nodule; probabilities in 0...1, the interval about 90 %."""

    nodule_probability: float
    malignancy_probability: float
    malignancy_interval: tuple[float, float]


@dataclass(frozen=True)
class Measurements:
    """Sizes of one nodule on the CT's own grid (`clinical.measurements` says how each is taken).

    `bbox_index` is half open: ((i0, j0, k0), (i1, j1, k1)) with i1 one past the last voxel.
    `long_axis_mm` and `short_axis_mm` are perpendicular, on the axial slice of the largest extent; `axes_mm` holds the
    end points of both in LPS mm: (long start, long end, short start, short end).
    """

    center_mm: Point
    center_index: Index
    bbox_index: tuple[Index, Index]
    volume_mm3: float
    long_axis_mm: float
    short_axis_mm: float
    mean_diameter_mm: float
    max_diameter_3d_mm: float
    equivalent_diameter_mm: float
    mean_hu: float
    hu_percentiles: tuple[float, float, float, float, float]
    """5th, 25th, 50th, 75th and 95th."""
    texture: Texture
    solid_volume_mm3: float
    solid_diameter_mm: float
    """Largest axial diameter of the solid part (Fleischner), 0 without one."""
    solid_mean_diameter_mm: float
    """Mean of long and short axis of the solid part (Lung-RADS), 0 without one."""
    side: Side | None
    third: Third | None
    pleura_distance_mm: float | None
    """0 where the nodule touches the pleura. All three are None where no lungs were found."""
    axes_mm: tuple[Point, Point, Point, Point]
    core_mean_hu: float | None = None
    """Mean HU without the rim, whose voxels hold lung too; None where it wasn't measured."""
    calcified_share: float = 0.0
    """Share of the nodule's volume that is calcified, 0...1."""
    fat_share: float = 0.0
    """Share of the nodule's core that is fat, 0...1."""
    benign_pattern: BenignPattern | None = None
    bone: bool = False
    """Part of a bone that the lung mask or the outline took in: an osteophyte, a rib. Not a nodule."""
    attachment: tuple[Attachment, ...] = ()
    juxtapleural_shape: bool = False
    """Solid, at the pleura, smooth and flattened, as an intrapulmonary lymph node is. A suggestion to the reader."""
    apex_distance_mm: float | None = None
    """How far below the top of the lung on its side, along the patient's axis; None where the scan cuts the top off."""


@dataclass(frozen=True)
class Advice:
    """A guideline's advice. `category` is None where it depends on an input that is missing (then `by_risk`).

    `rule` names the cell that fired; `inputs` what went in, `missing` what would have been needed.
    """

    guideline: str
    category: str | None
    advice: str
    rule: str
    inputs: Mapping[str, object] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    modifier: str = ""
    by_risk: Mapping[str, str] = field(default_factory=dict)
    probability: float | None = None
    """Brock only: probability of cancer in 0...1."""
    probability_range: tuple[float, float] | None = None
    """Brock only, where an input is missing: the lowest and the highest that the known inputs allow."""
    label: str = ""
    """The category in a few words for tables, in place of a code of this package's own (F0 ... F11)."""
    options: tuple[str, ...] = ()
    """Where several rows of a guideline apply: what each asks for, the most urgent first."""
    notes: tuple[str, ...] = ()
    """Points that a reader must weigh beside the category, one sentence each."""


GrowthStatus = Literal["new", "stable", "growing", "slow-growing", "shrinking", "not-covered", "same-day"]


@dataclass(frozen=True)
class Growth:
    """A nodule against an earlier examination.

    `status` is the one verdict that every guideline uses (`clinical.growth_rates` says how it is reached): "new" means
    that nothing was there to be measured, "not-covered" that the earlier scan doesn't reach the place, "same-day" that
    both examinations have one date and growth can't be judged. `doubling_days` is None where a date is missing or the
    volume did not grow. `prior_visible` says what the earlier CT shows at the mapped place; None where only an earlier
    result's masks are left, and nobody could look.
    """

    status: GrowthStatus
    prior_center_mm: Point | None = None
    prior_volume_mm3: float | None = None
    prior_mean_diameter_mm: float | None = None
    volume_change_percent: float | None = None
    doubling_days: float | None = None
    prior_date: datetime.date | None = None
    interval_days: int | None = None
    prior_visible: bool | None = None
    prior_detected: bool | None = None
    """Whether the earlier examination's own analysis listed it; False: it was found by looking at the mapped place."""
    mapped_mm: Point | None = None
    """The nodule's place in the earlier examination's LPS mm, by the registration; also for what is new."""
    prior_long_axis_mm: float | None = None
    prior_short_axis_mm: float | None = None
    prior_texture: Texture | None = None
    prior_solid_mean_diameter_mm: float | None = None
    """Of the solid part: 0 where there was none, None where it isn't known."""
    mean_diameter_change_mm: float | None = None
    solid_change_mm: float | None = None
    """Change of the solid part's mean diameter; None for what is solid throughout in both, or not known."""
    error_percent: float | None = None
    """A change of volume up to this lies within the error of two measurements at these slice thicknesses."""
    prior_category: str | None = None
    """Its Lung-RADS category at the earlier examination, where that was said."""
    prior_outline: Outline | None = None
    """In the earlier CT; None with an earlier result's masks alone."""


@dataclass(frozen=True)
class Nodule:
    """A nodule of the report. `id` is 1 for the largest; `tracking_uid` stays the same over a rerun.

    `series_number`, `image_number` and `sop_instance_uid` name the image on which its axes are measured; None and ""
    where there is no DICOM series, or it doesn't say.
    """

    id: int
    tracking_uid: str
    outline: Outline
    measurements: Measurements
    rating: Rating
    guidelines: Mapping[str, Advice] = field(default_factory=dict)
    """Keys: fleischner_2017, lung_rads_2022, brock."""
    growth: Growth | None = None
    series_number: int | None = None
    image_number: int | None = None
    sop_instance_uid: str = ""
    set_aside: Literal["", "confidence", "bone"] = ""
    """Why a candidate isn't reported: below the operating point's confidence, or bone. "" for what is reported."""


@dataclass(frozen=True)
class OperatingPoint:
    """From which nodule probability on findings are reported and reach the guidelines; the rest are candidates."""

    name: Sensitivity
    min_nodule_probability: float


@dataclass(frozen=True)
class Person:
    """Known facts about the patient; None is unknown.

    Attributes:
        age: in years.
        sex: "F" or "M".
        emphysema, family_history, spiculation: for Brock.
        risk: of lung cancer, the clinician's judgement (Fleischner, solid nodules).
        known_cancer: a known primary cancer.
        immunosuppressed: immune suppression.
        screening: True for a screening examination, False for an incidental finding.
        earlier_category: Lung-RADS category of the earlier examination.
        sources: where a field comes from: "option" or "DICOM"; fields that are unknown aren't in it.
    """

    age: int | None = None
    sex: Literal["F", "M"] | None = None
    emphysema: bool | None = None
    family_history: bool | None = None
    spiculation: bool | None = None
    risk: Risk | None = None
    known_cancer: bool | None = None
    immunosuppressed: bool | None = None
    screening: bool | None = None
    earlier_category: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Prior:
    """The earlier examination that growth was measured against."""

    study_date: datetime.date | None
    source: Literal["ct", "result"]
    """From the earlier CT itself, or (coarser) from an earlier result's masks."""
    gone: tuple[tuple[Point, float], ...] = ()
    """Nodules that have no partner now: centre in the prior's LPS mm and volume in mm3."""
    residual_mm: float | None = None
    """Mean distance of the lungs' surfaces after registration."""
    ct: CT | None = None
    """The earlier CT itself, for views side by side; not written to any file."""
    gone_now_mm: tuple[Point, ...] = ()
    """Where the places of `gone` lie in this CT, in LPS mm; () where that wasn't worked out."""
    gone_outlines: tuple[Outline, ...] = ()
    """Outlines of `gone` in the earlier CT, in the same order; () with an earlier result."""


@dataclass(frozen=True)
class Decision:
    """A reader's decision on a finding, with its time."""

    nodule: int
    decision: Literal["accepted", "rejected"]
    at: datetime.datetime


@dataclass(frozen=True)
class Report:
    """Everything an analysis found; `report/` writes it in each format.

    Attributes:
        nodules: those reported at the operating point, the largest first.
        guidelines: advice for the whole examination (keys as in `Nodule.guidelines`).
        candidates: what lies below the operating point, or is bone: no guideline counts it. Their ids continue after
            those of the nodules.
        operating_point: from which confidence on findings are reported.
        deciding_nodule: id of the nodule that decides the examination's advice, None without one.
        notes: what a reader should know before the list, a sentence each.
        rejected: what a reader threw out: no guideline counts it; the ids are kept.
        decisions: of a reader, the latest on each nodule.
        weights: network name to the sha256 of its weights.
        software: package name to version.
        timing_s: stage to seconds.
        warnings: of the CT, the lungs and the stages, in the order in which they arose.
    """

    ct: CT
    lungs: Lungs
    nodules: tuple[Nodule, ...]
    guidelines: Mapping[str, Advice] = field(default_factory=dict)
    person: Person = field(default_factory=Person)
    prior: Prior | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    software: Mapping[str, str] = field(default_factory=dict)
    timing_s: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    candidates: tuple[Nodule, ...] = ()
    operating_point: OperatingPoint | None = None
    deciding_nodule: int | None = None
    notes: tuple[str, ...] = ()
    rejected: tuple[Nodule, ...] = ()
    decisions: tuple[Decision, ...] = ()

    def __repr__(self) -> str:
        """Case, lungs and nodules on a line; `findings.to_dict` has all of it."""
        sizes = ", ".join(f"{nodule.measurements.mean_diameter_mm:.1f}" for nodule in self.nodules[:5])
        more = ", ..." if len(self.nodules) > 5 else ""
        return f"Report({self.ct.name!r}, {self.lungs}, {len(self.nodules)} nodules: {sizes or '-'}{more} mm)"

    def _repr_html_(self) -> str | None:
        """How a notebook shows it: a small card for each nodule."""
        return _html("report_html", self)

    def to_dataframe(self) -> DataFrame:
        """A row for each nodule; see `report.notebook.dataframe`."""
        frame: DataFrame = shown("dataframe", self)
        return frame

    def plot(self) -> Figure:
        """The overview and the largest nodules; see `report.notebook.plot`."""
        figure: Figure = shown("plot", self)
        return figure

    def view(self) -> Any:
        """The CT with lungs and nodules in three planes; see `report.notebook.view`."""
        return shown("view", self)

    def nodule_labels(self, nodules: tuple[Nodule, ...] | None = None) -> NDArray[np.uint16]:
        """Label map (X, Y, Z) on the CT's grid: k where nodule k is, 0 elsewhere; the smaller id wins an overlap.

        `nodules` are others than those reported.
        """
        labels = np.zeros(self.ct.hu.shape, np.uint16)
        for nodule in sorted(self.nodules if nodules is None else nodules, key=lambda n: -n.id):
            labels[nodule.outline.box][nodule.outline.mask] = nodule.id
        return labels
