"""Clean headers of the CT's instances for SEG and SR, and the identity of the objects made of them.

Real headers lack tags, hold values that the standard forbids, and carry private elements that raise when they are
looked at. So nothing is copied whole: each header is built from scratch from the few tags that are needed, text is
decoded to Unicode (and written as UTF-8), and what is missing but must be there is derived from the series.
"""

from __future__ import annotations

import hashlib
import logging
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from monai_lung.errors import InputError, MaskError
from monai_lung.io.charset import guessed, undeclared
from monai_lung.model import CT, Report, SourceSlice
from monai_lung.version import __version__

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

log = logging.getLogger(__name__)

DEVICE_NAME = "monai-lung"
CHARACTER_SET = "ISO_IR 192"

_DATE = re.compile(r"\d{8}")
_TIME = re.compile(r"\d{6}(\.\d{1,6})?")
_IDENTIFIERS = ("PatientID", "StudyID", "AccessionNumber", "IssuerOfPatientID")
"""Never cut, however long: the start of one names another patient or order."""
_NAMES = ("PatientName", "ReferringPhysicianName")
_LONGEST_TEXT = 64
_OWN_NUMBERS, _LARGEST_IS = 9000, 2**31 - 1
"""From where the series that this software makes are numbered; the largest value of DICOM's IS."""
_READ = (
    "SpecificCharacterSet",
    "SOPClassUID",
    "StudyInstanceUID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "SliceThickness",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    *_NAMES,
    *_IDENTIFIERS,
    "StudyDescription",
)


def check_source(ct: CT) -> None:
    """Make sure that there are DICOM instances to refer to, and that they are those of the CT's grid.

    Raises:
        InputError: the CT was read from a volume file (NIfTI, NRRD, MHA).
        MaskError: the slices are not those of the grid.
    """
    if not ct.slices:
        raise InputError(
            f"{ct.name}: no DICOM objects: the input is a volume file (NIfTI, NRRD or MHA) and has no DICOM instances "
            "to refer to; analyse the DICOM series, or ask for other formats"
        )
    stored = (*ct.slices[0].shape, len(ct.slices))
    if not ct.resampled and stored != ct.hu.shape:
        raise MaskError(f"{ct.name}: the CT's grid {ct.hu.shape} isn't that of its {len(ct.slices)} slices {stored}")


def source_headers(ct: CT) -> list[Dataset]:
    """Headers of the instances in the order of `ct.slices`, each with what a derived object needs and nothing else.

    Patient and study are those of the first instance, so that all agree. Position, orientation and pixel spacing
    come from the slices' own affines. A missing StudyInstanceUID or FrameOfReferenceUID is derived from the series'.

    Raises:
        InputError: an instance can't be read (any more).
    """
    from pydicom import config

    with config.disable_value_validation():  # its warnings quote what they find odd, a patient's name for one
        first = _read(ct.slices[0])
        shared = _shared(ct, first)
        uids = _instance_uids(ct)
        return [_header(ct, source, shared, first, uid) for source, uid in zip(ct.slices, uids, strict=True)]


def _instance_uids(ct: CT) -> list[str]:
    """SOP Instance UID of each slice; where it has none of its own, one made from where its file's first slice lies.

    Never from the file's name: files in folders of their own may all have the same.
    """
    uids: dict[Path, str] = {}
    for source in ct.slices:
        place = " ".join(f"{v:.3f}" for v in source.affine_lps[:3, 3])
        uids.setdefault(source.path, derived_uid("instance", source_series_uid(ct), place))
    return [source.sop_instance_uid or uids[source.path] for source in ct.slices]


def nameless(header: Dataset) -> Dataset:
    """A header without the patient's name: highdicom quotes names that it finds odd in warnings and logs."""
    from pydicom.dataset import Dataset

    copy = Dataset()
    copy.update(header)
    copy.add_new("PatientName", "PN", "")  # a new element: the others are shared
    return copy


def derived_uid(*parts: str) -> str:
    """A UID that is the same for the same parts: a name-based UUID (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(('monai-lung', *parts))).int}"


def series_uid(report: Report, kind: str) -> str:
    """Series Instance UID of the `kind` (`seg`, `sr`) of object that this software makes of this CT."""
    return derived_uid(kind, source_series_uid(report.ct), algorithm_version(report))


def series_number(report: Report, number: int) -> int:
    """`number`, moved behind the CT's own series number where that isn't lower, as far as DICOM's integers go.

    Viewers list a study by series number and open it at the first series with images (OHIF does): that is to be the CT,
    not the key images or the PDF.
    """
    own = (report.ct.series.number if report.ct.series else None) or 0
    return number if own < _OWN_NUMBERS or own + number > _LARGEST_IS else own + number


def source_series_uid(ct: CT) -> str:
    """Series Instance UID of the CT; derived from its first instance where the header has none."""
    uid = ct.series.uid if ct.series else ""
    return uid or derived_uid("series", ct.slices[0].sop_instance_uid)


def algorithm_version(report: Report) -> str:
    """Version of the software and the first digits of the digest of all its weights; 64 characters at most (VR LO)."""
    version = report.software.get("monai-lung", __version__)
    return f"{version} weights {weights_digest(report)}" if report.weights else version


def weights_digest(report: Report) -> str:
    """Twelve hex digits that tell two sets of weights apart."""
    joined = ",".join(f"{name}={sha}" for name, sha in sorted(report.weights.items()))
    return hashlib.sha256(joined.encode()).hexdigest()[:12]


def _read(source: SourceSlice) -> Dataset:
    """The needed tags of one instance; others, private ones above all, are never parsed."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        return dcmread(source.path, stop_before_pixels=True, specific_tags=list(_READ), force=True)
    except (OSError, InvalidDicomError, ValueError) as error:
        raise InputError(
            f"{source.path.name}: the CT's instance can't be read for the DICOM output ({type(error).__name__}); "
            "keep the series in place until the results are written"
        ) from error


def _shared(ct: CT, first: Dataset) -> Dataset:
    """Patient, study and frame of reference."""
    from pydicom.dataset import Dataset

    series = source_series_uid(ct)
    shared = Dataset()
    shared.SpecificCharacterSet = CHARACTER_SET
    shared.Modality = "CT"
    shared.SeriesInstanceUID = series
    study = _text(first, "StudyInstanceUID", 64)
    if not study:
        log.warning("the series has no StudyInstanceUID: the DICOM objects carry one derived from the series")
    shared.StudyInstanceUID = study or derived_uid("study", series)
    # Slices that don't share one lie in none of theirs: a frame of their own says what their positions say, that they
    # belong together, and viewers find the slices by their instances.
    shared.FrameOfReferenceUID = ct.frame_of_reference_uid or derived_uid("frame of reference", series)
    for keyword in _NAMES:
        groups = _text(first, keyword, 1000).split("=")  # alphabetic, ideographic, phonetic
        setattr(shared, keyword, "=".join(group[:64] for group in groups[:3]))
    for keyword in _IDENTIFIERS:
        value = _text(first, keyword, None)
        if value or keyword != "IssuerOfPatientID":  # the others are of type 2: present, and empty where unknown
            setattr(shared, keyword, value)
    if description := _text(first, "StudyDescription", _LONGEST_TEXT):
        shared.StudyDescription = description
    shared.PatientBirthDate = _matching(first, "PatientBirthDate", _DATE)
    shared.StudyDate = _matching(first, "StudyDate", _DATE)
    shared.StudyTime = _matching(first, "StudyTime", _TIME)
    sex = _text(first, "PatientSex", 16)
    shared.PatientSex = sex if sex in ("M", "F", "O") else ""
    return shared


def _header(ct: CT, source: SourceSlice, shared: Dataset, first: Dataset, uid: str) -> Dataset:
    """One instance: the shared part, its identity and its own geometry."""
    import numpy as np
    from pydicom.dataset import Dataset
    from pydicom.uid import CTImageStorage
    from pydicom.valuerep import format_number_as_ds

    header = Dataset()
    header.update(shared)
    known = _text(first, "SOPClassUID", 64), str(first.file_meta.get("MediaStorageSOPClassUID", ""))
    header.SOPClassUID = next((uid for uid in known if uid.startswith("1.2.840.10008.")), CTImageStorage)
    header.SOPInstanceUID = uid
    header.Columns, header.Rows = source.shape
    spacing = np.linalg.norm(source.affine_lps[:3, :2], axis=0)
    axes = source.affine_lps[:3, :2] / spacing
    header.ImageOrientationPatient = [format_number_as_ds(float(v)) for v in axes.T.ravel()]
    header.ImagePositionPatient = [format_number_as_ds(float(v)) for v in source.affine_lps[:3, 3]]
    header.PixelSpacing = [format_number_as_ds(float(v)) for v in spacing[::-1]]
    header.SliceThickness = format_number_as_ds(_thickness(ct, first))
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if keyword in first:
            header[keyword] = first[keyword]
    return header


def _thickness(ct: CT, first: Dataset) -> float:
    """Slice thickness in mm: as the header says, else the distance of slices."""
    try:
        thickness = float(_text(first, "SliceThickness", 16))
    except ValueError:
        thickness = 0.0
    return thickness if thickness > 0 else ct.spacing_mm[2]


def _text(header: Dataset, keyword: str, longest: int | None) -> str:
    """A value as Unicode text, "" where it's missing or can't be decoded; of several the first. None cuts nothing."""
    raw = undeclared(header, keyword)
    if raw is not None:
        if not (text := guessed(raw)):
            log.warning("%s has no declared character set and can't be read: it stays empty in DICOM objects", keyword)
        return text.split("\\")[0][:longest]
    try:
        value = header.get(keyword)
    except Exception:  # pydicom raises nearly anything on a malformed element: it counts as missing
        log.warning("%s can't be decoded and stays empty in the DICOM objects", keyword)
        return ""
    if value is not None and not isinstance(value, str) and hasattr(value, "__len__") and keyword not in _NAMES:
        value = value[0] if len(value) else None
    return "" if value is None else str(value).replace("\\", " ").strip()[:longest]


def _matching(header: Dataset, keyword: str, pattern: re.Pattern[str]) -> str:
    """A date or a time, "" where it isn't one."""
    value = _text(header, keyword, 16)
    return value if pattern.fullmatch(value) else ""
