"""Which series a folder holds, and which of them to analyse."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from monai_lung.errors import DecodeError, NoSeriesError, NotCTError, UsageError
from monai_lung.io.header import Header, read_headers
from monai_lung.io.kernels import sharpness
from monai_lung.io.paths import check_exists, is_volume, list_files, shown, unzip, volumes_among
from monai_lung.io.pixels import HU_TYPES, in_parallel
from monai_lung.io.plane import MIN_SLICES, along_normal, has_geometry, is_axial
from monai_lung.io.regions import Region, regions
from monai_lung.model import Series

_CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT",
}
_KINDS = {
    "CT": "not a CT image",
    "PT": "PET",
    "SR": "structured or dose report",
    "SEG": "segmentation",
    "MR": "MR",
    "CR": "radiograph",
    "DX": "radiograph",
    "PR": "presentation state",
    "OT": "secondary capture",
}
_LOCALIZERS = {"LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW"}
_REFORMATS = {"REFORMATTED", "MPR", "CPR", "MIP", "MINIP", "MAXIP", "MNIP", "VRT", "PROJECTION IMAGE", "SCREEN SAVE"}


@dataclass(frozen=True)
class Discovery:
    """The content of a path: series with their slices, the best of each study first; unreadable files; volume files."""

    series: dict[tuple[str, str], Series]
    headers: dict[tuple[str, str], tuple[Header, ...]]
    unreadable: tuple[str, ...]
    volumes: tuple[Path, ...]
    strays: dict[tuple[str, str], int] = field(default_factory=dict)
    """Images that were left out of a series since they lie in another plane, or are not CT images."""


def discover(path: Path | str) -> list[Series]:
    """Every DICOM series in a folder (any file names, nested), a zip archive, or around a single DICOM file.

    Files are read up to their pixels only. Studies follow each other in the order of their files; within a study the
    series come in the order in which `choose` prefers them, those that can't be analysed last, each with its reason.

    Raises:
        UsageError: the path isn't there.
        DecodeError: a zip archive can't be unpacked, or the single file is not DICOM.
    """
    return list(scan(Path(path)).series.values())


def choose(series: Sequence[Series], series_uid: str | None = None) -> Series:
    """The series to analyse, by its UID or the best axial CT by these rules, in this order.

    1. Suitable: CT in HU, axial, at least 8 slices with known places; no localizer, reformat or projection.
    2. Of the chest, then of what isn't said, then of another part of the body: by description, BodyPartExamined and
       place (`io.regions`).
    3. Original before derived images.
    4. Covers the chest: at least 90 % of the length that the longest of its region covers; else the longer.
    5. Thinner: the smaller distance between slices (compared in steps of 0.1 mm).
    6. Softer kernel before a sharp one (lung, bone), by the vendors' names (`io.kernels`).
    7. More slices, then the smaller UID, so that the choice never depends on the order of files.

    Raises:
        UsageError: no series has the UID that was asked for.
        NotCTError: no series is a CT.
        NoSeriesError: no series is suitable; the message says why not.
    """
    candidates = [s for s in series if series_uid in (None, s.uid)]
    if series and not candidates:
        known = ", ".join(s.uid for s in series[:5])
        raise UsageError(f"no series {series_uid}: there are {known}{', ...' if len(series) > 5 else ''}")
    suitable = [s for s in candidates if s.suitable]
    if not suitable:
        reasons = "; ".join(f"{s.modality or 'unknown'} {s.uid}: {s.reason}" for s in candidates[:3])
        more = f"; and {len(candidates) - 3} more" if len(candidates) > 3 else ""
        kind = NoSeriesError if any(s.modality == "CT" for s in candidates) or not candidates else NotCTError
        raise kind(f"no axial CT series: {reasons or 'no series at all'}{more}")
    return ranked(suitable)[0]


def ranked(series: Iterable[Series]) -> list[Series]:
    """Series of one study, the best by the rules of `choose` first, what isn't suitable last."""
    series = list(series)
    longest: dict[str, float] = defaultdict(float)
    for one in series:
        if one.suitable:
            longest[one.region] = max(longest[one.region], _length_mm(one))
    return sorted(series, key=lambda s: (not s.suitable, *_rank(s, longest[s.region])))


def passed_over(chosen: Series, others: Iterable[Series]) -> tuple[str, ...]:
    """A sentence for the best of the other series that is thinner than the chosen one, and for one that is softer."""
    others = [s for s in others if s.suitable and s.region != "elsewhere"]
    thinner = [s for s in others if _step_mm(s) < _step_mm(chosen)][:1]
    softer = [s for s in others if sharpness(s.kernel) < sharpness(chosen.kernel)][:1]
    found = dict.fromkeys((*thinner, *softer))
    return tuple(_passed_over(one, chosen, thinner, softer) for one in found)


def _passed_over(one: Series, chosen: Series, thinner: list[Series], softer: list[Series]) -> str:
    how = " and ".join(word for word, which in (("thinner", thinner), ("softer", softer)) if one in which)
    kernel = f", kernel {one.kernel}" if one.kernel else ""
    what = f"{_step_mm(one):.1f} mm{kernel}, {_length_mm(one):.0f} mm long"
    why = "its header doesn't say that it is of the chest" if one.region != chosen.region else ""
    why = why or ("it is derived" if one.derived and not chosen.derived else "")
    why = why or ("it is shorter" if _length_mm(one) < 0.9 * _length_mm(chosen) else "its slices are farther apart")
    return f"A {how} series of this study was not chosen ({what}), because {why}: --series-uid {one.uid} takes it."


def folder_of(path: Path) -> Path:
    """The folder in which to look for what a path names."""
    if path.is_dir():
        return path
    with open(path, "rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    return unzip(path) if zipped or path.suffix.lower() == ".zip" else path.parent


def scan(path: Path) -> Discovery:
    """Read the headers of all files that a path stands for."""
    check_exists(path)
    try:
        folder = folder_of(path)
    except OSError as error:
        raise DecodeError(f"{shown(path)} can't be read: {error.strerror or error}") from error
    only = ""
    if path.is_dir() or folder != path.parent:
        files = list_files(folder)
    else:
        try:
            own = read_headers(path)
        except OSError as error:
            raise DecodeError(f"{shown(path)} can't be read: {error.strerror or error}") from error
        files = list_files(folder)
        if own:  # [] for a DICOMDIR, which stands for its whole folder
            only = own[0].series_uid
            files = [file for file in files if file.parent == folder]
    headers, unreadable = _read_all([file for file in files if not is_volume(file)])
    if only and own[0].frame is not None:
        headers = _with_its_parts(path, [h for h in headers if h.series_uid == only])
    groups: dict[tuple[str, str], list[Header]] = defaultdict(list)
    for header in headers:
        if only in ("", header.series_uid):
            groups[header.study_uid, header.series_uid].append(header)
    slices = {key: _without_localizers(group) for key, group in groups.items()}
    kept = {key: _without_strays(group) for key, group in slices.items()}
    where = regions(kept)
    series = _in_order({key: _describe(group, where[key]) for key, group in kept.items()})
    strays = {key: len(slices[key]) - len(kept[key]) for key in kept}
    return Discovery(series, kept, unreadable, () if only else tuple(volumes_among(files)), strays)


def _with_its_parts(path: Path, headers: list[Header]) -> list[Header]:
    """The frames of a multi-frame file, and of the files that continue where it ends.

    A series of multi-frame objects may be one volume in parts, or several volumes (phases, say) in a file each: a file
    that has most of its frames at the places of this one is another volume.
    """
    places = {h.position for h in headers if h.path == path}
    files: dict[Path, list[bool]] = defaultdict(list)
    for header in headers:
        files[header.path].append(header.position in places)
    other = {file for file, same in files.items() if file != path and 2 * sum(same) > len(same)}
    return [h for h in headers if h.path not in other]


def _read_all(files: list[Path]) -> tuple[list[Header], tuple[str, ...]]:
    """The slices of all DICOM files, and a line for each file that should be one and can't be read."""

    def attempt(file: Path) -> list[Header] | str:
        try:
            return read_headers(file)
        except (DecodeError, OSError) as error:
            expected = isinstance(error, OSError) or "not a DICOM file" not in str(error)
            return str(error) if expected or file.suffix.lower() in (".dcm", ".dicom", ".ima") else []

    headers: list[Header] = []
    unreadable: list[str] = []
    for answer in in_parallel(attempt, files):
        if isinstance(answer, str):
            unreadable.append(answer)
        else:
            headers.extend(answer)
    return headers, tuple(unreadable)


def _without_localizers(headers: list[Header]) -> tuple[Header, ...]:
    """A scout that shares its series with the scan is left out of it."""
    others = tuple(h for h in headers if not _LOCALIZERS & set(h.image_type))
    return others or tuple(headers)


def _without_strays(headers: tuple[Header, ...]) -> tuple[Header, ...]:
    """A few images that are not CT images, or lie across axial slices, are left out: scouts and pictures of a dose."""
    slices = tuple(h for h in headers if h.sop_class in _CT_CLASSES and not (has_geometry(h) and not is_axial(h)))
    few = len(headers) - len(slices) <= max(3, 0.1 * len(headers))
    return slices if few and len(slices) >= MIN_SLICES else headers


def _in_order(series: dict[tuple[str, str], Series]) -> dict[tuple[str, str], Series]:
    """Study by study, as their files come; within a study by rank."""
    studies: dict[str, list[Series]] = defaultdict(list)
    for (study, _), one in series.items():
        studies[study].append(one)
    return {(study, one.uid): one for study, group in studies.items() for one in ranked(group)}


def _rank(series: Series, longest_mm: float) -> tuple[object, ...]:
    """Sort key of `choose`: the smallest is the best. `longest_mm` is the length of the longest of its region."""
    region = ("chest", "", "elsewhere").index(series.region)
    length = _length_mm(series)
    enough = length >= 0.9 * longest_mm
    span = 0.0 if enough else -length
    soft = sharpness(series.kernel)
    return (region, series.derived, not enough, span, _step_mm(series), soft, -series.n_slices, series.uid)


def _step_mm(series: Series) -> float:
    """Distance of slices, in steps of 0.1 mm."""
    return round(series.spacing_mm[2], 1) if series.spacing_mm else float("inf")


def _length_mm(series: Series) -> float:
    return series.spacing_mm[2] * (series.n_slices - 1) if series.spacing_mm else 0.0


def _describe(headers: Sequence[Header], region: Region) -> Series:
    """A series from its slices."""
    first = headers[0]
    placed = all(has_geometry(h) for h in headers)
    n_slices, spacing = len(headers), None
    if placed:
        z = np.unique(np.round(along_normal(headers), 2))
        n_slices = len(z)
        rows, columns = first.spacing_mm or (0.0, 0.0)
        spacing = (columns, rows, float(np.median(np.diff(z))) if n_slices > 1 else first.thickness_mm or 0.0)
    reason = _unsuitable(headers, placed, n_slices)
    if not reason and spacing:
        length = spacing[2] * (n_slices - 1)
        kernel = f", kernel {first.kernel}" if first.kernel else ""
        suitable = f"axial CT, {length:.0f} mm in {n_slices} slices {spacing[2]:.1f} mm apart{kernel}"
        suitable += ", not of the chest by its header" if region == "elsewhere" else ""
    return Series(
        uid=first.series_uid,
        study_uid=first.study_uid,
        modality=first.modality,
        description=first.description,
        files=tuple(dict.fromkeys(h.path for h in headers)),
        suitable=not reason,
        reason=reason or suitable,
        kernel=first.kernel,
        thickness_mm=first.thickness_mm,
        spacing_mm=spacing,
        study_date=first.study_date,
        n_slices=n_slices,
        derived=first.image_type[0] == "DERIVED",
        number=first.series_number,
        region=region,
    )


def _unsuitable(headers: Sequence[Header], placed: bool, n_slices: int) -> str:
    """Why a series can't be analysed, "" where it can."""
    first = headers[0]
    kinds = set(first.image_type)
    if first.modality != "CT":
        return _KINDS.get(first.modality, f"modality {first.modality or 'missing'}")
    if not first.sop_class.startswith("1.2.840.10008."):
        return "its SOPClassUID is missing or none of DICOM's: it may not be a CT image"
    if first.sop_class not in _CT_CLASSES:
        return "secondary capture, or some other object that isn't a CT image"
    if _LOCALIZERS & kinds:
        return "localizer"
    if kinds & _REFORMATS:
        return f"derived: {', '.join(sorted(kinds & _REFORMATS)).lower()}"
    if first.samples != 1:
        return "colour picture"
    if first.rescale_type not in HU_TYPES:
        return f"values are {first.rescale_type}, not HU"
    if not placed:
        return "slices without position, orientation or pixel spacing"
    if not is_axial(first):
        return "not axial"
    if n_slices < MIN_SLICES:
        return f"{n_slices} slices, at least {MIN_SLICES} are needed"
    return ""


def headers_of(series: Series) -> tuple[Header, ...]:
    """The slices of a series, read again from its files.

    Raises:
        DecodeError: a file is damaged or gone.
    """
    headers, unreadable = _read_all(list(series.files))
    if unreadable:
        raise DecodeError(unreadable[0])
    return _without_strays(_without_localizers([h for h in headers if h.series_uid == series.uid]))
