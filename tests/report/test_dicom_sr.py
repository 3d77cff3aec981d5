"""The SR says what the report says, points at the SEG's segments, and is valid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

highdicom = pytest.importorskip("highdicom", reason="the dicom extra isn't installed")
pydicom = pytest.importorskip("pydicom")

from pydicom.dataset import Dataset  # noqa: E402
from pydicom.sr.codedict import codes as dictionary  # noqa: E402

from monai_lung.clinical.guidelines import fleischner_2017  # noqa: E402
from monai_lung.errors import InputError  # noqa: E402
from monai_lung.model import Advice, Report  # noqa: E402
from monai_lung.report import codes, dicom_seg, dicom_sr, findings  # noqa: E402

MakeReport = Callable[..., Report]


def saved(report: Report, folder: Path) -> Dataset:
    """The SR as highdicom reads it from the file, beside its SEG."""
    seg = dicom_seg.write(report, folder / "seg.dcm")
    return highdicom.sr.srread(dicom_sr.write(report, folder / "sr.dcm", seg))


def texts(sr: Dataset) -> list[tuple[str, str]]:
    """Concept and text of the text items under the root."""
    items = [item for item in sr.ContentSequence if item.ValueType == "TEXT" and item.RelationshipType == "CONTAINS"]
    return [(item.ConceptNameCodeSequence[0].CodeMeaning, item.TextValue) for item in items]


def numbers(group: object) -> dict[str, tuple[float, str]]:
    """Value and unit of each measurement, the derivation in front of its name."""
    found = {}
    for m in group.get_measurements():  # type: ignore[attr-defined]
        prefix = f"{m.derivation.meaning} " if m.derivation else ""
        found[prefix + m.name.meaning] = (float(m.value), m.unit.value)
    return found


def test_a_group_for_each_nodule(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(3, growth=True)
    sr = saved(report, tmp_path)
    groups = sr.content.get_volumetric_roi_measurement_groups()
    assert len(groups) == 3
    seg = pydicom.dcmread(tmp_path / "seg.dcm", stop_before_pixels=True)
    segments = {int(s.SegmentNumber): s for s in seg.SegmentSequence}
    for group, nodule in zip(groups, report.nodules, strict=True):
        m = nodule.measurements
        found = numbers(group)
        assert found["Volume"] == (round(m.volume_mm3, 2), "mm3")
        assert found["Long axis"] == (round(m.long_axis_mm, 2), "mm")
        assert found["Short axis"] == (round(m.short_axis_mm, 2), "mm")
        assert found["Mean Diameter"] == (round(m.mean_diameter_mm, 2), "mm")
        assert found["Maximum 3D Diameter of a Mesh"] == (round(m.max_diameter_3d_mm, 2), "mm")
        assert found["Mean Attenuation Coefficient"] == (round(m.mean_hu, 2), "[hnsf'U]")
        probability = nodule.rating.malignancy_probability
        assert "Probability of cancer" not in found  # no pathology went into it
        suspicion = found["Probability that readers of the image suspect malignancy"]
        assert suspicion == (round(100 * probability), "%")
        low, high = (round(100 * p) for p in nodule.rating.malignancy_interval)
        assert found["Suspicion, lower end of its 90 % interval"] == (low, "%")
        assert found["Suspicion, upper end of its 90 % interval"] == (high, "%")
        assert group.tracking_uid == nodule.tracking_uid
        assert group.finding_type == dictionary.SCT.Nodule
        assert group.finding_category == dictionary.SCT.MorphologicallyAbnormalStructure
        (site,) = group.finding_sites
        assert (site.value, site.laterality) == (dictionary.SCT.Lung, codes.SIDES[m.side])
        reference = group.referenced_segment
        assert reference.referenced_sop_instance_uid == seg.SOPInstanceUID
        (number,) = reference.referenced_segment_numbers
        assert segments[number].TrackingUID == nodule.tracking_uid


def drawn(sr: Dataset) -> list[object]:
    """The groups of TID 1501 that have a nodule's axes."""
    groups = sr.content.get_image_measurement_groups()
    return [group for group in groups if group.finding_type == dictionary.SCT.Nodule]


def examination(sr: Dataset) -> object:
    """The group of TID 1501 that speaks of the whole examination."""
    (group,) = [g for g in sr.content.get_image_measurement_groups() if g.finding_type == dictionary.SCT.Lung]
    return group


def test_the_axes_have_their_end_points(make_report: MakeReport, tmp_path: Path) -> None:
    """OHIF draws coordinates alone: groups that only refer to a segment showed nothing at all."""
    report = make_report(2, layout="tilted")
    groups = drawn(saved(report, tmp_path))
    for group, nodule in zip(groups, report.nodules, strict=True):
        m = nodule.measurements
        assert group.tracking_uid == nodule.tracking_uid  # viewers merge the groups of one tracking UID
        assert numbers(group) == {
            "Long axis": (round(m.long_axis_mm, 2), "mm"),
            "Short axis": (round(m.short_axis_mm, 2), "mm"),
        }
        for measured, ends in zip(group.get_measurements(), (m.axes_mm[:2], m.axes_mm[2:]), strict=True):
            (points,) = measured.referenced_coordinates
            assert points.graphic_type.value == "POLYLINE"
            assert points.frame_of_reference_uid == report.ct.frame_of_reference_uid
            np.testing.assert_allclose(points.value, ends, atol=1e-3)


def test_an_axis_is_drawn_on_its_slice_alone(make_report: MakeReport, tmp_path: Path) -> None:
    """OHIF finds the slice by a line's image, and skips a line with a second reference: its viewport stayed black."""
    report = make_report(1)
    source = report.ct.slices[10]
    ends = [
        (*(source.affine_lps @ (x, y, 0, 1))[:2], source.affine_lps[2, 3])
        for x, y in ((9, 8), (9, 12), (7, 10), (11, 10))
    ]
    nodule = report.nodules[0]
    nodule = replace(nodule, measurements=replace(nodule.measurements, axes_mm=tuple(ends)))
    (group,) = drawn(saved(replace(report, nodules=(nodule,)), tmp_path))
    for axis, wanted in zip(group.get_measurements(), np.reshape(ends, (2, 2, 3)), strict=True):
        (on_slice,) = axis.referenced_coordinates
        assert on_slice.ValueType == "SCOORD"
        image = on_slice.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        assert image == source.sop_instance_uid
        index = np.column_stack([np.asarray(on_slice.value) - 0.5, [0, 0], [1, 1]])
        np.testing.assert_allclose((index @ source.affine_lps.T)[:, :3], wanted, atol=0.01)


def test_the_number_of_nodules_says_where_they_are(make_report: MakeReport, tmp_path: Path) -> None:
    """OHIF stops loading at a group without any coordinates, and shows nothing of the others either."""
    report = make_report(2)
    group = examination(saved(report, tmp_path))
    (count,) = group.get_measurements(name=codes.NUMBER_OF_LESIONS)
    (points,) = count.referenced_coordinates
    assert points.graphic_type.value == "MULTIPOINT"
    np.testing.assert_allclose(points.value, [n.measurements.center_mm for n in report.nodules], atol=1e-3)


def test_without_a_frame_of_reference_there_are_no_coordinates(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(1)
    sr = saved(replace(report, ct=replace(report.ct, frame_of_reference_uid="")), tmp_path)
    assert drawn(sr) == []
    assert not [m for m in examination(sr).get_measurements() if m.referenced_coordinates]
    assert len(sr.content.get_volumetric_roi_measurement_groups()) == 1


def test_categories(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(3, growth=True)
    fleischner = replace(report.nodules[1].guidelines["fleischner_2017"], category="F3", by_risk={})
    lung_rads = Advice("Lung-RADS v2022", "4X", "referral", "solid", modifier="S")
    second = replace(report.nodules[1], guidelines={"fleischner_2017": fleischner, "lung_rads_2022": lung_rads})
    report = replace(report, nodules=(report.nodules[0], second, report.nodules[2]))
    first, second_group, _ = saved(report, tmp_path).content.get_volumetric_roi_measurement_groups()
    values = [(q.name.value, q.value.value) for q in first.get_qualitative_evaluations()]
    assert ("C41144", "RID50151") in values
    assert ("FLEISCHNER_LOW", "F2") in values
    assert ("FLEISCHNER_HIGH", "F3") in values
    assert ("GROWTH", "GROWING") in values
    values = [(q.name.value, q.value.value) for q in second_group.get_qualitative_evaluations()]
    assert [v for n, v in values if n == "RID50134"] == ["RID50141", "RID50710"]
    assert ("FLEISCHNER_2017", "F3") in values
    growing, stable = numbers(first), numbers(second_group)
    assert growing["Volume change since the prior examination"] == (60.0, "%")
    assert growing["Volume doubling time"][1] == "d"
    assert "Volume doubling time" not in stable


def test_the_whole_examination(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(2, warnings=("Slices are 5.0 mm apart: accuracy is reduced.",))
    sr = saved(report, tmp_path)
    group = examination(sr)
    volumes = {m.finding_sites[0].laterality.meaning: m.value for m in group.get_measurements(name=codes.VOLUME)}
    assert volumes == {"Right": round(report.lungs.right_ml, 1), "Left": round(report.lungs.left_ml, 1)}
    assert group.get_measurements(name=codes.NUMBER_OF_LESIONS)[0].value == 2
    said = texts(sr)
    assert ("Comment", findings.NOTICE) in said
    assert ("Comment", "Slices are 5.0 mm apart: accuracy is reduced.") in said
    assert any(concept == "Recommendation" and text.startswith("Lung-RADS v2022 ") for concept, text in said)
    assert sr.PreliminaryFlag == "PRELIMINARY"
    assert sr.VerificationFlag == "UNVERIFIED"


def test_the_advice_names_guidelines_as_people_do(make_report: MakeReport, tmp_path: Path) -> None:
    report = replace(make_report(), guidelines={"fleischner_2017": fleischner_2017([])})
    said = [text for concept, text in texts(saved(report, tmp_path)) if concept == "Recommendation"]
    assert [text.partition(":")[0] for text in said] == ["Fleischner 2017 not applicable"]


def test_no_nodules_is_a_full_report(
    make_report: MakeReport, tmp_path: Path, assert_dicom_valid: Callable[[Path], None]
) -> None:
    sr = saved(make_report(0), tmp_path)
    assert sr.content.get_volumetric_roi_measurement_groups() == []
    assert ("Finding", "No lung nodules found") in texts(sr)
    assert ("Comment", findings.NOTICE) in texts(sr)
    group = examination(sr)
    assert group.get_measurements(name=codes.NUMBER_OF_LESIONS)[0].value == 0
    assert_dicom_valid(tmp_path / "sr.dcm")


@pytest.mark.parametrize("layout", ["plain", "tilted"])
def test_dciodvfy_accepts_it(
    make_report: MakeReport, tmp_path: Path, layout: str, assert_dicom_valid: Callable[[Path], None]
) -> None:
    saved(make_report(3, layout=layout, growth=True), tmp_path)
    assert_dicom_valid(tmp_path / "sr.dcm")


def test_it_lists_its_evidence(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(1)
    sr = saved(report, tmp_path)
    listed = {instance for _, _, instance, _ in sr.get_evidence()}
    seg = pydicom.dcmread(tmp_path / "seg.dcm", stop_before_pixels=True)
    assert listed == {s.sop_instance_uid for s in report.ct.slices} | {seg.SOPInstanceUID}
    assert sr.StudyInstanceUID == seg.StudyInstanceUID == report.ct.series.study_uid
    (group,) = sr.content.get_volumetric_roi_measurement_groups()
    series = group.referenced_segment.source_series_for_segmentation
    assert series.value == report.ct.series.uid


def test_the_same_result_has_the_same_uid(make_report: MakeReport) -> None:
    report = make_report(1)
    seg = dicom_seg.build(report)
    first, again = dicom_sr.build(report, seg), dicom_sr.build(replace(report, timing_s={"read": 9.0}), seg)
    assert first.SOPInstanceUID == again.SOPInstanceUID
    advised = replace(report, guidelines={})
    assert dicom_sr.build(advised, seg).SOPInstanceUID != first.SOPInstanceUID


def test_twenty_nodules(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(20)
    groups = saved(report, tmp_path).content.get_volumetric_roi_measurement_groups()
    assert [g.tracking_uid for g in groups] == [n.tracking_uid for n in report.nodules]


def test_values_that_are_not_finite_are_left_out(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(1, growth=True)
    nodule = report.nodules[0]
    odd = replace(nodule, growth=replace(nodule.growth, doubling_days=float("inf"), volume_change_percent=np.nan))
    (group,) = saved(replace(report, nodules=(odd,)), tmp_path).content.get_volumetric_roi_measurement_groups()
    assert not {"Volume doubling time", "Volume change since the prior examination"} & set(numbers(group))


def test_names_and_missing_tags(
    make_report: MakeReport, tmp_path: Path, assert_dicom_valid: Callable[[Path], None]
) -> None:
    def edit(d: Dataset) -> None:
        d.SpecificCharacterSet = "ISO_IR 100"
        del d.PatientID, d.StudyTime, d.ReferringPhysicianName, d.StudyInstanceUID

    sr = saved(make_report(1, patient_name="Müller^Jürgen", edit=edit), tmp_path)
    assert str(sr.PatientName) == "Müller^Jürgen"
    assert sr.SpecificCharacterSet == "ISO_IR 192"
    assert sr.PatientID == ""
    assert_dicom_valid(tmp_path / "sr.dcm")


def test_a_volume_file_has_no_sr(make_report: MakeReport, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no DICOM objects"):
        dicom_sr.write(make_report(1, nifti=True), tmp_path / "sr.dcm", tmp_path / "seg.dcm")


def test_a_segmentation_that_is_not_its_own(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(2)
    fewer = dicom_seg.build(replace(report, nodules=report.nodules[:1]))
    with pytest.raises(InputError, match=r"no segment for nodules \[2\]"):
        dicom_sr.build(report, fewer)
    with pytest.raises(InputError, match="write the SEG first"):
        dicom_sr.build(report, tmp_path / "missing.dcm")
    with pytest.raises(InputError, match="not a CT object"):
        dicom_sr.build(report, report.ct.slices[0].path)
