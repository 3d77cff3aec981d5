"""DICOM Segmentation: both lungs and every nodule as segments that overlay the source CT voxel by voxel.

The type is BINARY, which every PACS and viewer takes. Nodules lie inside the lungs, so segments overlap. Frames lie on
the source instances' own planes; where the CT was resampled to be analysed (tilt, gaps), each pixel of a source
instance takes the value of the analysed voxel nearest to it in the patient.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from monai_lung.errors import MaskError
from monai_lung.extras import require
from monai_lung.model import CT, LEFT_LUNG, RIGHT_LUNG, Nodule, Report, Side, SourceSlice
from monai_lung.report import codes
from monai_lung.report.dicom_source import (
    CHARACTER_SET,
    DEVICE_NAME,
    algorithm_version,
    check_source,
    derived_uid,
    nameless,
    series_number,
    series_uid,
    source_headers,
    weights_digest,
)

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription
    from pydicom.dataset import Dataset

SERIES_NUMBER = 9001
NODULE_RGB, LUNG_RGB = (255, 214, 10), {"right": (94, 158, 255), "left": (84, 212, 170)}
"""The colours of the segments; nodules in the yellow of the page and the figure. Some viewers hang without."""


@dataclass(frozen=True)
class _Planes:
    """Labels (plane, row, column) on the source instances' own pixels."""

    lungs: NDArray[np.uint8]
    nodules: NDArray[np.uint16]


@dataclass(frozen=True)
class _Segment:
    """A lung (no nodule) or a nodule, its label, and the planes that show it."""

    label: int
    side: Side | None
    nodule: Nodule | None
    shown_on: tuple[int, ...]

    def pixels(self, planes: _Planes, k: int) -> NDArray[np.bool_]:
        """Its pixels (row, column) on plane k."""
        return (planes.nodules if self.nodule else planes.lungs)[k] == self.label


def write(report: Report, path: Path) -> Path:
    """Write `build(report)` to `path`; see there for what it raises."""
    build(report).save_as(path)
    return path


def build(report: Report) -> Segmentation:
    """Make the Segmentation of a report.

    Segments are numbered from 1: right lung, left lung (one that has no voxel is left out), then the nodules in the
    order of the report, each with its tracking UID. Frames without a pixel are left out. A nodule too small to be hit
    by any pixel of the source (after resampling) is shown by the pixel nearest to it. Series and SOP Instance UID
    follow from the series, the software, the weights and the pixels: the same result has the same UIDs.

    Raises:
        InputError: the CT was read from a volume file, or its instances can't be read any more.
        MaskError: lungs or nodules don't fit the CT.
        UsageError: highdicom isn't installed.
    """
    highdicom = require("highdicom", "a DICOM SEG")
    ct = report.ct
    check_source(ct)
    _check_masks(report)
    planes = _source_planes(report)
    segments = _segments(report, planes)
    version = algorithm_version(report)
    headers = source_headers(ct)
    stand_ins = [_stand_in(header, k) for k, header in enumerate(headers)]
    seg = highdicom.seg.Segmentation(
        source_images=stand_ins,
        pixel_array=_scaffold(segments, planes),
        segmentation_type="BINARY",
        segment_descriptions=[_description(number, s, version) for number, s in enumerate(segments, 1)],
        series_instance_uid=series_uid(report, "seg"),
        series_number=series_number(report, SERIES_NUMBER),
        sop_instance_uid=derived_uid(series_uid(report, "seg"), _digest(segments, planes)),
        instance_number=1,
        manufacturer=DEVICE_NAME,
        manufacturer_model_name=DEVICE_NAME,
        software_versions=version,
        device_serial_number=weights_digest(report),
        content_label="LUNG_NODULES",
        content_description="Lungs and lung nodules (research use)",
        series_description="Lungs and lung nodules (monai-lung)",
        specific_character_set=CHARACTER_SET,
    )
    plane_of = {stand_in.SOPInstanceUID: k for k, stand_in in enumerate(stand_ins)}
    _put_pixels(seg, segments, planes, plane_of)
    _restore_references(seg, ct, headers, plane_of)
    seg.PatientName = headers[0].PatientName
    return seg


def _check_masks(report: Report) -> None:
    """Raise MaskError unless all masks lie on the CT's grid."""
    shape = report.ct.hu.shape
    if report.lungs.labels.shape != shape:
        raise MaskError(f"{report.ct.name}: the lung mask {report.lungs.labels.shape} doesn't fit the CT {shape}")
    for nodule in report.nodules:
        box, mask = nodule.outline.box, nodule.outline.mask
        if any(b.start < 0 or b.stop > n for b, n in zip(box, shape, strict=True)) or not mask.any():
            raise MaskError(f"{report.ct.name}: nodule {nodule.id} is empty or lies outside the CT {shape}: {box}")


def _source_planes(report: Report) -> _Planes:
    """Lungs and nodules on the source instances; each nodule has at least one pixel."""
    ct = report.ct
    lungs, nodules = report.lungs.labels, report.nodule_labels()
    planes = _Planes(np.ascontiguousarray(lungs.T), np.ascontiguousarray(nodules.T))
    if ct.resampled:
        planes = _on_source_slices(ct, planes)
    shown = _shown_on(planes.nodules)
    for nodule in report.nodules:
        if nodule.id not in shown:
            planes.nodules[_nearest_pixel(ct, nodule)] = nodule.id
    return planes


def _segments(report: Report, planes: _Planes) -> list[_Segment]:
    """The segments in the order of their numbers."""
    lungs, nodules = (_shown_on(labels) for labels in (planes.lungs, planes.nodules))
    sides: tuple[tuple[int, Side], ...] = ((RIGHT_LUNG, "right"), (LEFT_LUNG, "left"))
    segments = [_Segment(label, side, None, lungs[label]) for label, side in sides if label in lungs]
    segments += [_Segment(n.id, n.measurements.side, n, nodules.get(n.id, ())) for n in report.nodules]
    if not segments:
        raise MaskError(f"{report.ct.name}: no SEG: there is neither a lung nor a nodule in the source slices")
    return segments


def _shown_on(labels: NDArray) -> dict[int, tuple[int, ...]]:
    """The planes that show each label."""
    shown: dict[int, list[int]] = {}
    for k, plane in enumerate(labels):
        for label in np.flatnonzero(np.bincount(plane.ravel())):
            shown.setdefault(int(label), []).append(k)
    return {label: tuple(planes) for label, planes in shown.items()}


def _on_source_slices(ct: CT, grid: _Planes) -> _Planes:
    """From the planes of the analysed grid to those of the source instances, each pixel from the nearest voxel."""
    columns, rows = ct.slices[0].shape
    shape = (len(ct.slices), rows, columns)
    planes = _Planes(np.zeros(shape, np.uint8), np.zeros(shape, np.uint16))
    for k, source in enumerate(ct.slices):
        inside, voxel = _nearest_voxels(ct, source)
        planes.lungs[k] = grid.lungs.ravel().take(voxel, mode="clip") * inside
        planes.nodules[k] = grid.nodules.ravel().take(voxel, mode="clip") * inside
    return planes


def _nearest_voxels(ct: CT, source: SourceSlice) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """For each pixel (row, column) of an instance: is it in the analysed grid, and where in its planes."""
    to_grid = np.linalg.inv(ct.affine_lps) @ source.affine_lps
    column, row = np.arange(source.shape[0]), np.arange(source.shape[1])[:, None]
    i, j, k = (np.rint(m[0] * column + m[1] * row + m[3]).astype(np.intp) for m in to_grid[:3])
    x, y, z = ct.hu.shape
    inside = (i >= 0) & (i < x) & (j >= 0) & (j < y) & (k >= 0) & (k < z)
    return inside, (k * y + j) * x + i


def _nearest_pixel(ct: CT, nodule: Nodule) -> tuple[int, int, int]:
    """(plane, row, column) of the source pixel nearest to a nodule's centre."""
    voxels = np.argwhere(nodule.outline.mask)
    middle = voxels[np.linalg.norm(voxels - voxels.mean(0), axis=1).argmin()] + nodule.outline.offset
    point = np.append(ct.to_world(middle.astype(float)), 1.0)
    best: tuple[float, tuple[int, int, int]] = (np.inf, (0, 0, 0))
    for k, source in enumerate(ct.slices):
        column, row, _, _ = np.linalg.inv(source.affine_lps) @ point
        pixel = np.clip(np.rint([column, row]), 0, np.array(source.shape) - 1)
        distance = float(np.linalg.norm(source.affine_lps @ [*pixel, 0.0, 1.0] - point))
        best = min(best, (distance, (k, int(pixel[1]), int(pixel[0]))))
    return best[1]


def _scaffold(segments: list[_Segment], planes: _Planes) -> NDArray[np.uint16]:
    """A label map (plane, row, column) in which each segment has one pixel on each plane that shows it.

    highdicom lays out frames, references and dimension indices from an array, but its label maps can't overlap and its
    stacks hold the volume once a segment (7 GB for 200 nodules). This tells it which frames there are; `_put_pixels`
    then puts the pixels in.
    """
    scaffold = np.zeros(planes.nodules.shape, np.uint16)
    filled = np.zeros(len(scaffold), int)
    for number, segment in enumerate(segments, 1):
        for k in segment.shown_on:
            scaffold[k].flat[filled[k]] = number
            filled[k] += 1
    return scaffold


def _digest(segments: list[_Segment], planes: _Planes) -> str:
    """Tells two results apart: what the segments are and all their pixels."""
    digest = hashlib.sha256(repr([(s.label, s.nodule.tracking_uid if s.nodule else s.side) for s in segments]).encode())
    digest.update(planes.lungs.data)
    digest.update(planes.nodules.data)
    return digest.hexdigest()


def _description(number: int, segment: _Segment, version: str) -> SegmentDescription:
    """Coded description of one segment."""
    import highdicom

    nodule = segment.nodule
    family = codes.ARTIFICIAL_INTELLIGENCE if nodule else codes.MORPHOLOGICAL_OPERATIONS
    description = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=f"Nodule {nodule.id}" if nodule else f"{str(segment.side).capitalize()} lung",
        segmented_property_category=codes.ABNORMAL_STRUCTURE if nodule else codes.ANATOMICAL_STRUCTURE,
        segmented_property_type=codes.NODULE if nodule else codes.LUNG,
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(DEVICE_NAME, family, version),
        tracking_uid=nodule.tracking_uid if nodule else None,
        tracking_id=f"Nodule {nodule.id}" if nodule else None,
        anatomic_regions=[codes.LUNG] if nodule else None,
        display_color=highdicom.color.CIELabColor.from_rgb(*(NODULE_RGB if nodule else LUNG_RGB[str(segment.side)])),
    )
    if segment.side is None:
        return description
    side = [highdicom.sr.CodedConcept.from_code(codes.SIDES[segment.side])]
    if nodule:
        description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = side
    else:
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = side
    return description


def _put_pixels(seg: Segmentation, segments: list[_Segment], planes: _Planes, plane_of: dict[str, int]) -> None:
    """Put each frame's pixels in, in the order in which highdicom laid out the frames."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    frames = []
    for item in seg.PerFrameFunctionalGroupsSequence:
        number = item.get("SegmentIdentificationSequence", shared.get("SegmentIdentificationSequence"))
        frames.append((segments[number[0].ReferencedSegmentNumber - 1], plane_of[_source_of(item)]))
    seg.PixelData = _packed([segment.pixels(planes, k) for segment, k in frames])
    seg.SegmentsOverlap = "YES" if ((planes.lungs > 0) & (planes.nodules > 0)).any() else "NO"


def _source_of(item: Dataset) -> str:
    """The instance that a frame was derived from."""
    return str(item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID)


def _stand_in(header: Dataset, k: int) -> Dataset:
    """Slice k as a single-frame CT instance of its own, which highdicom takes whatever the slice was stored as."""
    from pydicom.uid import CTImageStorage

    stand_in = nameless(header)
    stand_in.add_new("SOPClassUID", "UI", CTImageStorage)  # new elements: those of the header are shared
    stand_in.add_new("SOPInstanceUID", "UI", derived_uid("plane", header.SeriesInstanceUID, str(k)))
    return stand_in


def _restore_references(seg: Segmentation, ct: CT, headers: list[Dataset], plane_of: dict[str, int]) -> None:
    """Refer to the stored instances (and to their frames) where stand-ins were referred to."""
    items = seg.PerFrameFunctionalGroupsSequence
    for item, k in [(item, plane_of[_source_of(item)]) for item in items]:  # looked up first: planes share references
        reference, frame = item.DerivationImageSequence[0].SourceImageSequence[0], ct.slices[k].frame
        reference.ReferencedSOPClassUID = headers[k].SOPClassUID
        reference.ReferencedSOPInstanceUID = headers[k].SOPInstanceUID
        if frame is not None:
            reference.ReferencedFrameNumber = frame + 1
    instances = [_reference(header) for header in {h.SOPInstanceUID: h for h in headers}.values()]
    seg.SourceImageSequence = instances
    seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence = instances


def _reference(header: Dataset) -> Dataset:
    """Names an instance."""
    from pydicom.dataset import Dataset

    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    return reference


def _packed(frames: list[NDArray[np.bool_]]) -> bytes:
    """Frames one after another, eight pixels a byte, the first in the lowest bit (PS3.5 8.2); of even length."""
    eight = (np.concatenate([f.ravel() for f in frames[n : n + 8]]) for n in range(0, len(frames), 8))
    packed = b"".join(np.packbits(bits, bitorder="little").tobytes() for bits in eight)
    return packed + b"\0" * (len(packed) % 2)
