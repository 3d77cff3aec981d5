"""The readers' contours of a scan as DICOM SEG: for each nodule one segment for each reader, and one for the consensus.

The readers' ratings are not in it; QIICR's "Standardized representation of the TCIA LIDC-IDRI annotations" (Fedorov
2020, doi 10.1002/mp.14445) has one object for each mark, here a scan is one object.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from monai_lung.errors import InputError
from monai_lung.extras import require
from monai_lung.io.output import replacing
from monai_lung.lidc.grid import draw_nodules
from monai_lung.lidc.index import Scan
from monai_lung.model import CT, Index
from monai_lung.report import codes
from monai_lung.report.dicom_source import (
    CHARACTER_SET,
    DEVICE_NAME,
    check_source,
    derived_uid,
    source_headers,
)
from monai_lung.version import __version__

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription

SERIES_NUMBER = 9003


@dataclass(frozen=True, eq=False)
class _Segment:
    """A mask on a box of the CT's grid, and what it is."""

    nodule_id: str
    label: str
    description: str
    mask: NDArray[np.bool_]
    offset: Index


def write_seg(ct: CT, scan: Scan, path: Path, *, at_least: int | None = None) -> int:
    """Write `build(ct, scan)` to `path` and return the number of segments; see there for what it raises."""
    seg = build(ct, scan, at_least=at_least)
    with replacing(path) as temporary:
        seg.save_as(temporary)
    return len(seg.SegmentSequence)


def build(ct: CT, scan: Scan, *, at_least: int | None = None) -> Segmentation:
    """Make the Segmentation of a scan's readers.

    Args:
        ct: the scan as read from its DICOM series.
        at_least: readers who must have marked a voxel of the consensus (Yu 2021: 3); by default half of them.

    Raises:
        InputError: the CT isn't this scan or lacks slices, or no reader marked a voxel of it.
        UsageError: highdicom isn't installed.
    """
    highdicom = require("highdicom", "a DICOM SEG")
    check_source(ct)
    segments = _segments(ct, scan, at_least)
    if not segments:
        raise InputError(f"{scan.patient}, scan {scan.id}: no reader marked a nodule: there is no SEG to write")
    planes = sorted({k for s in segments for k in range(s.offset[2], s.offset[2] + s.mask.shape[2])})
    headers = source_headers(ct)
    uid = derived_uid("lidc readers", scan.series_uid, __version__, str(at_least))
    return highdicom.seg.Segmentation(
        source_images=[headers[k] for k in planes],
        pixel_array=_pixels(ct, segments, planes),
        segmentation_type="BINARY",
        segment_descriptions=[_description(number, segment) for number, segment in enumerate(segments, 1)],
        series_instance_uid=derived_uid("series", uid),
        series_number=SERIES_NUMBER,
        sop_instance_uid=uid,
        instance_number=1,
        manufacturer=DEVICE_NAME,
        manufacturer_model_name=DEVICE_NAME,
        software_versions=__version__,
        device_serial_number="none",
        content_label="LIDC_READERS",
        content_description="Nodules as LIDC-IDRI's readers outlined them",
        series_description="LIDC-IDRI readers (monai-lung)",
        specific_character_set=CHARACTER_SET,
    )


def _segments(ct: CT, scan: Scan, at_least: int | None) -> list[_Segment]:
    """A segment for each reader of each nodule and for the consensus; empty masks are left out."""
    found = []
    for nodule, masks in draw_nodules(ct, scan):
        name = f"Nodule {nodule.cluster}"
        for reader, annotation in enumerate(nodule.annotations):
            described = f"annotation {annotation.id}, named {annotation.nodule_id} by the reader"
            label = f"{name} reader {reader + 1}"
            found.append(_Segment(nodule.id, label, described, masks.reader(reader), masks.offset))
        share = None if at_least else 0.5
        rule = f"marked by at least {at_least or 'half of the'} readers"
        agreed = masks.consensus(at_least=at_least, share=share)
        found.append(_Segment(nodule.id, f"{name} consensus", rule, agreed, masks.offset))
    return [segment for segment in found if segment.mask.any()]


def _pixels(ct: CT, segments: list[_Segment], planes: list[int]) -> NDArray[np.uint8]:
    """Pixels (plane, row, column, segment) on the planes that show a segment."""
    columns, rows, _ = ct.hu.shape
    pixels = np.zeros((len(planes), rows, columns, len(segments)), np.uint8)
    place = {k: n for n, k in enumerate(planes)}
    for number, segment in enumerate(segments):
        i, j, first = segment.offset
        for k in range(segment.mask.shape[2]):
            plane = segment.mask[..., k].T
            pixels[place[first + k], j : j + plane.shape[0], i : i + plane.shape[1], number] = plane
    return pixels


def _description(number: int, segment: _Segment) -> SegmentDescription:
    """Coded description of one segment; all segments of a nodule share its tracking UID."""
    import highdicom

    description = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.label,
        segmented_property_category=codes.ABNORMAL_STRUCTURE,
        segmented_property_type=codes.NODULE,
        algorithm_type="MANUAL",
        tracking_uid=derived_uid("lidc nodule", segment.nodule_id),
        tracking_id=segment.nodule_id,
        anatomic_regions=[codes.LUNG],
    )
    description.SegmentDescription = segment.description
    return description
