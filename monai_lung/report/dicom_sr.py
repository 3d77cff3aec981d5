"""DICOM Structured Report: Comprehensive 3D SR after TID 1500, a measurement group (TID 1411) for each nodule.

Each group points at its nodule's segment of the Segmentation and carries the same tracking UID. A second group of the
nodule (TID 1501, the same tracking UID) has its axes with their end points on their slice (SCOORD, else SCOORD3D): a
volume's group may have none, and many viewers draw coordinates alone. One more
group (TID 1501) holds what is said of the whole examination: lung volumes, the number of nodules, inferred from their
centres, guideline categories. It is there without nodules too, so that such a report is complete and says so.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from monai_lung.clinical.rounding import round_half_up
from monai_lung.errors import InputError
from monai_lung.extras import require
from monai_lung.model import Advice, Nodule, Point, Report
from monai_lung.report import codes, findings, wording
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
    source_series_uid,
    weights_digest,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from highdicom.sr import (
        AlgorithmIdentification,
        Comprehensive3DSR,
        CoordinatesForMeasurement,
        CoordinatesForMeasurement3D,
        Measurement,
        MeasurementsAndQualitativeEvaluations,
        ObservationContext,
        QualitativeEvaluation,
        TextContentItem,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )
    from pydicom.dataset import Dataset
    from pydicom.sr.coding import Code

SERIES_NUMBER = 9002
_ON_SLICE_MM = 0.05
"""How far a point may lie from a slice's plane and still be on it."""


def write(report: Report, path: Path, seg: Path | Dataset) -> Path:
    """Write `build(report, seg)` to `path`; see there for what it raises."""
    build(report, seg).save_as(path)
    return path


def build(report: Report, seg: Path | Dataset) -> Comprehensive3DSR:
    """Make the structured report of a report.

    Args:
        report: the findings.
        seg: the Segmentation that `dicom_seg` made of the same report, or where it lies.

    The SOP Instance UID follows from the findings (without the timing) and the Segmentation: the same result has the
    same UIDs.

    Raises:
        InputError: the CT was read from a volume file, its instances can't be read any more, or the Segmentation is
            not that of this report.
        UsageError: highdicom isn't installed.
    """
    highdicom = require("highdicom", "a DICOM SR")
    check_source(report.ct)
    seg = _segmentation(seg)
    headers = source_headers(report.ct)
    segment_numbers = _segment_numbers(report, seg)
    content = highdicom.sr.MeasurementReport(
        observation_context=_observer(report),
        procedure_reported=codes.CT_PROCEDURE,
        imaging_measurements=[
            *(_nodule_group(report, nodule, seg, segment_numbers[nodule.tracking_uid]) for nodule in report.nodules),
            *(_axes_group(report, nodule, headers) for nodule in report.nodules if report.ct.frame_of_reference_uid),
            _examination_group(report),
        ],
    )
    content[0].ContentSequence.extend(_texts(report))
    sr = highdicom.sr.Comprehensive3DSR(
        evidence=[nameless(seg), *{header.SOPInstanceUID: header for header in headers}.values()],
        content=content,
        series_instance_uid=series_uid(report, "sr"),
        series_number=series_number(report, SERIES_NUMBER),
        sop_instance_uid=derived_uid(series_uid(report, "sr"), str(seg.SOPInstanceUID), _digest(report)),
        instance_number=1,
        manufacturer=DEVICE_NAME,
        manufacturer_model_name=DEVICE_NAME,
        software_versions=algorithm_version(report),
        device_serial_number=weights_digest(report),
        series_description="Lung nodule findings (monai-lung)",
        is_complete=True,
        is_final=False,
        is_verified=False,
        specific_character_set=CHARACTER_SET,
        coding_schemes=_coding_schemes(),
    )
    sr.PatientName = headers[0].PatientName
    return sr


def _segmentation(seg: Path | Dataset) -> Dataset:
    """The Segmentation without its pixels.

    Raises:
        InputError: there is none.
    """
    from pydicom import dcmread
    from pydicom.dataset import Dataset
    from pydicom.errors import InvalidDicomError

    try:
        seg = seg if isinstance(seg, Dataset) else dcmread(seg, stop_before_pixels=True)
    except (OSError, InvalidDicomError) as error:
        raise InputError(f"{seg}: no Segmentation to refer to ({type(error).__name__}): write the SEG first") from error
    if "SegmentSequence" not in seg:
        raise InputError(f"the SR needs a Segmentation to refer to, not a {seg.get('Modality', 'file')} object")
    return seg


def _segment_numbers(report: Report, seg: Dataset) -> dict[str, int]:
    """Segment number of each nodule's tracking UID.

    Raises:
        InputError: a nodule has no segment.
    """
    numbers = {str(s.TrackingUID): int(s.SegmentNumber) for s in seg.SegmentSequence if "TrackingUID" in s}
    missing = [nodule.id for nodule in report.nodules if nodule.tracking_uid not in numbers]
    if missing:
        raise InputError(f"the Segmentation isn't that of this report: it has no segment for nodules {missing}")
    return numbers


def _observer(report: Report) -> ObservationContext:
    """The device that observed: this software with its weights."""
    from highdicom import sr

    attributes = sr.DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", algorithm_version(report)),
        name=DEVICE_NAME,
        manufacturer_name=DEVICE_NAME,
        model_name=algorithm_version(report),
        serial_number=weights_digest(report),
    )
    return sr.ObservationContext(
        observer_device_context=sr.ObserverContext(sr.CodedConcept.from_code(codes.DEVICE), attributes)
    )


def _algorithm(report: Report) -> AlgorithmIdentification:
    """Name and version (TID 4019)."""
    from highdicom import sr

    return sr.AlgorithmIdentification(name=DEVICE_NAME, version=algorithm_version(report))


def _nodule_group(
    report: Report, nodule: Nodule, seg: Dataset, segment_number: int
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    """One nodule (TID 1411)."""
    from highdicom import sr

    side = nodule.measurements.side
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=nodule.tracking_uid, identifier=f"Nodule {nodule.id}"),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=segment_number,
            source_series=sr.SourceSeriesForSegmentation(source_series_uid(report.ct)),
        ),
        finding_category=codes.ABNORMAL_STRUCTURE,
        finding_type=codes.NODULE,
        algorithm_id=_algorithm(report),
        finding_sites=[sr.FindingSite(codes.LUNG, laterality=side and codes.SIDES[side])],
        measurements=_nodule_numbers(nodule),
        qualitative_evaluations=_nodule_categories(nodule),
    )


def _axes_group(report: Report, nodule: Nodule, headers: Sequence[Dataset]) -> MeasurementsAndQualitativeEvaluations:
    """The axes of one nodule, and where they lie (TID 1501): on their slice, else (a resampled CT) in space.

    One reference each: viewers find the slice by a line on it, and OHIF 3.12 skips a line that is there in space too.
    """
    from highdicom import sr

    m = nodule.measurements
    lines = (
        (codes.LONG_AXIS, m.long_axis_mm, m.axes_mm[:2]),
        (codes.SHORT_AXIS, m.short_axis_mm, m.axes_mm[2:]),
    )
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=nodule.tracking_uid, identifier=f"Nodule {nodule.id}"),
        finding_category=codes.ABNORMAL_STRUCTURE,
        finding_type=codes.NODULE,
        algorithm_id=_algorithm(report),
        measurements=[
            sr.Measurement(
                name,
                round(length_mm, 2),
                codes.MM,
                referenced_coordinates=_on_slice(report, ends, headers) or _coordinates(report, "POLYLINE", ends),
            )
            for name, length_mm, ends in lines
        ],
    )


def _on_slice(
    report: Report, points_mm: Sequence[Point], headers: Sequence[Dataset]
) -> list[CoordinatesForMeasurement]:
    """A line on the slice of the source that it lies on, column and row from the corner of its first pixel; or none."""
    from highdicom import sr

    classes = {str(header.SOPInstanceUID): header.SOPClassUID for header in headers}
    for source in report.ct.slices:
        index = (np.column_stack([points_mm, np.ones(len(points_mm))]) @ np.linalg.inv(source.affine_lps).T)[:, :3]
        if np.abs(index[:, 2]).max() < _ON_SLICE_MM:
            frames = None if source.frame is None else [source.frame + 1]
            image = sr.SourceImageForRegion(classes[source.sop_instance_uid], source.sop_instance_uid, frames)
            return [sr.CoordinatesForMeasurement("POLYLINE", index[:, :2] + 0.5, image)]
    return []


def _nodule_numbers(nodule: Nodule) -> list[Measurement]:
    """Sizes, probabilities, growth."""
    from highdicom import sr

    m, growth, brock = nodule.measurements, nodule.growth, nodule.guidelines.get("brock")
    numbers = [
        _number(size.name, getattr(m, size.field), size.unit, derivation=size.derivation) for size in codes.SIZES
    ]
    rest: list[tuple[Code, float | None, Code]] = [
        (codes.SUSPICION, _whole_percent(nodule.rating.malignancy_probability), codes.PERCENT),
        (codes.SUSPICION_LOW, _whole_percent(nodule.rating.malignancy_interval[0]), codes.PERCENT),
        (codes.SUSPICION_HIGH, _whole_percent(nodule.rating.malignancy_interval[1]), codes.PERCENT),
        (codes.BROCK_PROBABILITY, 100 * brock.probability if brock and brock.probability else None, codes.PERCENT),
        (codes.VOLUME_CHANGE, growth.volume_change_percent if growth else None, codes.PERCENT),
        (codes.DOUBLING_TIME, growth.doubling_days if growth else None, codes.DAY),
    ]
    numbers += [_number(name, value, unit) for name, value, unit in rest]
    return [number for number in numbers if isinstance(number, sr.Measurement)]


def _whole_percent(probability: float) -> float:
    """Whole per cent, 1 to 99: nothing is certain."""
    return min(99.0, max(1.0, round_half_up(100 * probability))) if np.isfinite(probability) else probability


def _coordinates(report: Report, kind: str, points_mm: Sequence[Point]) -> list[CoordinatesForMeasurement3D] | None:
    """The points from which a measurement was inferred (TID 320), LPS mm; None without points or frame of reference."""
    from highdicom import sr

    frame = report.ct.frame_of_reference_uid
    if not frame or not points_mm:
        return None
    return [sr.CoordinatesForMeasurement3D(kind, np.asarray(points_mm, float), frame)]


def _number(name: Code, value: float | None, unit: Code, derivation: Code | None = None) -> Measurement | None:
    """A measurement (TID 300) to two decimals; None where there is no finite value."""
    from highdicom import sr

    if value is None or not math.isfinite(value):
        return None
    return sr.Measurement(name=name, value=round(float(value), 2), unit=unit, derivation=derivation)


def _nodule_categories(nodule: Nodule) -> list[QualitativeEvaluation]:
    """Texture, guidelines, change."""
    from highdicom import sr

    categories = [sr.QualitativeEvaluation(codes.TEXTURE, codes.TEXTURES[nodule.measurements.texture])]
    categories += _guideline_categories(nodule.guidelines)
    if nodule.growth:
        categories.append(sr.QualitativeEvaluation(codes.GROWTH, codes.GROWTHS[nodule.growth.status]))
    return categories


def _guideline_categories(guidelines: Mapping[str, Advice]) -> list[QualitativeEvaluation]:
    """Lung-RADS with its modifier, Fleischner, both answers where it depends on a risk that isn't known."""
    from highdicom import sr

    pairs: list[tuple[Code, Code]] = []
    lung_rads, fleischner = guidelines.get("lung_rads_2022"), guidelines.get("fleischner_2017")
    if lung_rads and lung_rads.category is not None:
        pairs += [(codes.LUNG_RADS, codes.lung_rads_category(c)) for c in (lung_rads.category, lung_rads.modifier) if c]
    if fleischner and fleischner.category is not None:
        pairs.append((codes.FLEISCHNER, codes.fleischner_category(fleischner.category)))
    elif fleischner:
        by_risk = [(name, fleischner.by_risk.get(risk)) for risk, name in codes.FLEISCHNER_BY_RISK.items()]
        pairs += [(name, codes.fleischner_category(category)) for name, category in by_risk if category]
    return [sr.QualitativeEvaluation(name, value) for name, value in pairs]


def _examination_group(report: Report) -> MeasurementsAndQualitativeEvaluations:
    """The whole examination (TID 1501)."""
    from highdicom import sr

    lungs = [
        sr.Measurement(
            name=codes.VOLUME,
            value=round(volume_ml, 1),
            unit=codes.ML,
            finding_sites=[sr.FindingSite(codes.LUNG, laterality=codes.SIDES[side])],
        )
        for side, volume_ml in (("right", report.lungs.right_ml), ("left", report.lungs.left_ml))
    ]
    centers_mm = [nodule.measurements.center_mm for nodule in report.nodules]
    centers = _coordinates(report, "MULTIPOINT" if len(centers_mm) > 1 else "POINT", centers_mm)
    number = sr.Measurement(codes.NUMBER_OF_LESIONS, len(report.nodules), codes.ONE, referenced_coordinates=centers)
    uid = derived_uid("examination", source_series_uid(report.ct))
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=uid, identifier="Examination"),
        finding_category=codes.ANATOMICAL_STRUCTURE,
        finding_type=codes.LUNG,
        algorithm_id=_algorithm(report),
        finding_sites=[sr.FindingSite(codes.LUNG, laterality=codes.BILATERAL)],
        measurements=[*lungs, number],
        qualitative_evaluations=_guideline_categories(report.guidelines),
    )


def _texts(report: Report) -> list[TextContentItem]:
    """Texts for which there are no codes: that nothing was found, the advice in words, the warnings, the notice."""
    from highdicom import sr

    texts = [(codes.RECOMMENDATION, _sentence(advice)) for advice in report.guidelines.values() if advice.advice]
    if not report.nodules:
        texts.insert(0, (codes.FINDING, "No lung nodules found"))
    texts += [(codes.COMMENT, text) for text in (*findings.all_warnings(report), findings.NOTICE)]
    contains = sr.RelationshipTypeValues.CONTAINS
    return [sr.TextContentItem(name, text, relationship_type=contains) for name, text in texts]


def _sentence(advice: Advice) -> str:
    """Guideline, category and advice in words."""
    category = f" {wording.category(advice)}" if advice.category else ""
    return f"{wording.GUIDELINE_TITLES.get(advice.guideline, advice.guideline)}{category}: {advice.advice}"


def _coding_schemes() -> list[Dataset]:
    """Says what the private scheme is."""
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    return [CodingSchemeIdentificationItem(codes.PRIVATE_SCHEME, name="monai-lung codes")]


def _digest(report: Report) -> str:
    """Tells two results apart: all findings but how long they took and where the input lay."""
    content = findings.to_dict(report)
    del content["timing_s"], content["input"]["path"]
    content.get("prior", {}).pop("path", None)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
