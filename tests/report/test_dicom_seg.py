"""The SEG overlays the CT voxel by voxel however the patient lies, and survives what real headers hold."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

highdicom = pytest.importorskip("highdicom", reason="the dicom extra isn't installed")
pydicom = pytest.importorskip("pydicom")

from pydicom.dataset import Dataset  # noqa: E402
from pydicom.sr.codedict import codes as dictionary  # noqa: E402

from monai_lung.errors import InputError, MaskError  # noqa: E402
from monai_lung.model import CT, Lungs, Report  # noqa: E402
from monai_lung.report import codes, dicom_seg, dicom_sr  # noqa: E402

MakeReport = Callable[..., Report]
UPRIGHT = ("plain", "feet-first", "flipped", "prone", "oblique", "non-square")


def saved(report: Report, folder: Path) -> Dataset:
    """The SEG as a reader sees it: from the file."""
    return pydicom.dcmread(dicom_seg.write(report, folder / "seg.dcm"))


def segment_masks(seg: Dataset, ct: CT) -> dict[int, NDArray[np.bool_]]:
    """Each segment on the CT's grid (X, Y, Z), placed by the SEG's own positions, orientation and spacing alone."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    measures = shared.PixelMeasuresSequence[0]
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    masks = {int(s.SegmentNumber): np.zeros(ct.hu.shape, bool) for s in seg.SegmentSequence}
    for frame, item in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        rows, columns = np.nonzero(frame)
        start = np.array(item.PlanePositionSequence[0].ImagePositionPatient, float)
        world = start + columns[:, None] * float(measures.PixelSpacing[1]) * axes[0]
        world = world + rows[:, None] * float(measures.PixelSpacing[0]) * axes[1]
        index = ct.to_index(world)
        assert np.abs(index - np.rint(index)).max() < 1e-6, "pixels lie on voxel centres"
        identification = item.get("SegmentIdentificationSequence", shared.get("SegmentIdentificationSequence"))
        masks[int(identification[0].ReferencedSegmentNumber)][tuple(np.rint(index).astype(int).T)] = True
    return masks


@pytest.mark.parametrize("layout", UPRIGHT)
def test_every_voxel_is_where_it_was(make_report: MakeReport, tmp_path: Path, layout: str) -> None:
    report = make_report(4, layout=layout)
    masks = segment_masks(saved(report, tmp_path), report.ct)
    labels = report.nodule_labels()
    for number, truth in {1: report.lungs.labels == 1, 2: report.lungs.labels == 2}.items():
        np.testing.assert_array_equal(masks[number], truth)
    for nodule in report.nodules:
        np.testing.assert_array_equal(masks[nodule.id + 2], labels == nodule.id)
    assert len(masks) == 6


def one_uid_for_all(d: Dataset) -> None:
    d.SOPInstanceUID = "1.2.3.4"


def one_uid_for_two(d: Dataset) -> None:
    if d.InstanceNumber in (20, 21):
        d.SOPInstanceUID = "1.2.3.4"


def no_uid(d: Dataset) -> None:
    d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID  # the file itself must have one
    del d.SOPInstanceUID


@pytest.mark.parametrize(("edit", "nameless"), [(one_uid_for_all, 44), (one_uid_for_two, 2), (no_uid, 44)])
def test_slices_that_share_a_uid_or_have_none_keep_their_pixels(
    make_report: MakeReport, tmp_path: Path, edit: Callable, nameless: int
) -> None:
    """dcm2niix issue 287; the files all have the same name, each in a folder of its own."""
    from monai_lung.io import read_ct

    written = make_report(2, edit=edit)
    for number, path in enumerate(sorted(written.ct.path.glob("*.dcm"))):
        (tmp_path / "in" / str(number)).mkdir(parents=True)
        path.rename(tmp_path / "in" / str(number) / "image.dcm")
    ct = read_ct(tmp_path / "in")
    np.testing.assert_allclose(ct.affine_lps, written.ct.affine_lps, atol=1e-6)
    report = replace(written, ct=ct)
    seg = saved(report, tmp_path)
    masks = segment_masks(seg, ct)
    for number, truth in {1: report.lungs.labels == 1, 2: report.lungs.labels == 2}.items():
        np.testing.assert_array_equal(masks[number], truth)
    for nodule in report.nodules:
        np.testing.assert_array_equal(masks[nodule.id + 2], report.nodule_labels() == nodule.id)
    references = [str(i.ReferencedSOPInstanceUID) for i in seg.SourceImageSequence]
    assert len(set(references)) == 44, "no reference stands for two slices"
    assert "1.2.3.4" not in references
    stored = {s.sop_instance_uid for s in ct.slices} - {""}
    assert len(stored) == 44 - nameless
    assert stored <= set(references)
    assert any(w.startswith(f"{nameless} of 44 slices have no SOPInstanceUID") for w in ct.warnings)
    sr = dicom_sr.build(report, seg)
    evidence = sr.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    named = {str(i.ReferencedSOPInstanceUID) for s in evidence for i in s.ReferencedSOPSequence}
    assert set(references) <= named


@pytest.mark.parametrize("layout", ["tilted", "gaps"])
def test_a_resampled_result_is_mapped_back_to_the_source_slices(
    make_report: MakeReport, tmp_path: Path, layout: str
) -> None:
    report = make_report(3, layout=layout)
    seg = saved(report, tmp_path)
    ct, labels = report.ct, {1: report.lungs.labels == 1, 2: report.lungs.labels == 2}
    labels |= {n.id + 2: report.nodule_labels() == n.id for n in report.nodules}
    by_uid = {s.sop_instance_uid: s for s in ct.slices}
    seen = set()
    for frame, item in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = by_uid[item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        header = pydicom.dcmread(source.path, stop_before_pixels=True)
        position = np.array(item.PlanePositionSequence[0].ImagePositionPatient, float)
        np.testing.assert_allclose(position, np.array(header.ImagePositionPatient, float), atol=1e-6)
        number = int(item.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        row, column = np.indices(frame.shape)
        axes = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
        world = (
            np.array(header.ImagePositionPatient, float) + column[..., None] * float(header.PixelSpacing[1]) * axes[0]
        )
        index = ct.to_index(world + row[..., None] * float(header.PixelSpacing[0]) * axes[1])
        nearest = np.rint(index).astype(int)
        inside = ((nearest >= 0) & (nearest < ct.hu.shape)).all(-1)
        expected = np.zeros(frame.shape, bool)
        expected[inside] = labels[number][tuple(nearest[inside].T)]
        between = (np.abs(np.abs(index - np.floor(index)) - 0.5) < 1e-6).any(-1)
        np.testing.assert_array_equal(frame[~between], expected[~between])
        seen.add((number, source.sop_instance_uid))
    lung_slices = {uid for number, uid in seen if number == 1}
    assert len(lung_slices) > 25
    assert {number for number, _ in seen} == set(labels)


@pytest.mark.parametrize(
    ("layout", "dice"), [(name, 0.9999) for name in UPRIGHT] + [("tilted", 0.97), ("gaps", 0.97), ("too large", 0.96)]
)
def test_from_the_files_to_the_seg_the_lungs_keep_their_place(
    make_report: MakeReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, dice: float
) -> None:
    """Read by `io`, whatever grid it chooses: the phantom's lungs are a function of mm, and so must the SEG be."""
    from report_builder import lung_labels, world_of

    from monai_lung.io import read_ct

    written = make_report(0, layout="plain" if layout == "too large" else layout)
    if layout == "too large":
        monkeypatch.setattr("monai_lung.io.geometry.MAX_VOXELS", written.ct.hu.size // 2)
    ct = read_ct(written.ct.path, allow_gaps=True)
    assert (ct.hu.shape[0] < written.ct.slices[0].shape[0]) == (layout == "too large")
    labels = lung_labels(world_of(ct.affine_lps, ct.hu.shape))
    seg = saved(replace(written, ct=ct, lungs=Lungs(labels, 1.0, 1.0)), tmp_path)
    by_uid = {s.sop_instance_uid: s for s in written.ct.slices}
    both = drawn = 0
    for frame, item in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = by_uid[item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        number = int(item.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        truth = number == lung_labels(world_of(source.affine_lps, (*source.shape, 1)))[..., 0].T
        both += int((truth & (frame > 0)).sum())
        drawn += int((frame > 0).sum())
    true = sum(int((lung_labels(world_of(s.affine_lps, (*s.shape, 1))) > 0).sum()) for s in written.ct.slices)
    assert 2 * both / (drawn + true) > dice


@pytest.mark.parametrize("layout", ["plain", "oblique", "tilted", "flipped"])
def test_dciodvfy_accepts_it(
    make_report: MakeReport, tmp_path: Path, layout: str, assert_dicom_valid: Callable[[Path], None]
) -> None:
    assert_dicom_valid(dicom_seg.write(make_report(3, layout=layout), tmp_path / "seg.dcm"))


def test_highdicom_reads_it_back_as_a_volume(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(3, layout="oblique")
    seg = highdicom.seg.segread(dicom_seg.write(report, tmp_path / "seg.dcm"))
    volume = seg.get_volume(segment_numbers=[3], combine_segments=False)
    points = volume.map_indices_to_reference(np.argwhere(volume.array[..., 0]))
    index = np.rint(report.ct.to_index(points)).astype(int)
    expected = {tuple(v) for v in np.argwhere(report.nodule_labels() == 1)}
    assert {tuple(v) for v in index} == expected
    pixels = seg.get_pixels_by_source_instance([s.sop_instance_uid for s in report.ct.slices], segment_numbers=[1])
    np.testing.assert_array_equal(pixels[..., 0].transpose(2, 1, 0), report.lungs.labels == 1)


def test_simpleitk_reads_place_and_pixels(make_report: MakeReport, tmp_path: Path) -> None:
    """ITK gives up the spacing of a SEG with several segments (it reads 1 mm); with one it reads everything."""
    sitk = pytest.importorskip("SimpleITK")
    report = make_report(0, layout="oblique")
    right = np.where(report.lungs.labels == 1, report.lungs.labels, 0).astype(np.uint8)
    path = dicom_seg.write(replace(report, lungs=Lungs(right, 1.0, 0.0)), tmp_path / "seg.dcm")
    image = sitk.ReadImage(str(path))
    affine = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    indices = np.argwhere(sitk.GetArrayFromImage(image).transpose(2, 1, 0) > 0)
    index = report.ct.to_index(indices @ affine.T + image.GetOrigin())
    assert np.abs(index - np.rint(index)).max() < 1e-3
    assert {tuple(v) for v in np.rint(index).astype(int)} == {tuple(v) for v in np.argwhere(right)}


def test_simpleitk_reads_the_place_of_several_segments(make_report: MakeReport, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    report = make_report(3, layout="feet-first")
    path = dicom_seg.write(report, tmp_path / "seg.dcm")
    image, seg = sitk.ReadImage(str(path)), pydicom.dcmread(path)
    first = seg.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient
    np.testing.assert_allclose(image.GetOrigin(), np.array(first, float))
    np.testing.assert_allclose(np.array(image.GetDirection()).reshape(3, 3), np.diag([-1, 1, -1]), atol=1e-9)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image) > 0, seg.pixel_array > 0)


def test_segments_are_coded_and_tracked(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(2)
    seg = saved(report, tmp_path)
    right, _, nodule, _ = seg.SegmentSequence
    assert right.SegmentedPropertyTypeCodeSequence[0].CodeValue == dictionary.SCT.Lung.value
    modifier = right.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert modifier.CodeValue == dictionary.SCT.Right.value
    assert nodule.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
    assert nodule.SegmentedPropertyTypeCodeSequence[0].CodeValue == dictionary.SCT.Nodule.value
    side = nodule.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0]
    assert side.CodeMeaning.lower() == report.nodules[0].measurements.side
    assert [s.get("TrackingUID") for s in seg.SegmentSequence[2:]] == [n.tracking_uid for n in report.nodules]
    algorithm = nodule.SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmName == "monai-lung"
    assert algorithm.AlgorithmVersion.startswith("0.1.0 weights ")
    assert seg.SegmentationType == "BINARY"
    assert seg.SegmentsOverlap == "YES"


def test_every_standard_code_is_in_pydicoms_dictionaries() -> None:
    from pydicom.sr.coding import Code

    known = {"SCT": dictionary.SCT, "DCM": dictionary.DCM, "UCUM": dictionary.UCUM, "IBSI": dictionary.IBSI}
    found = [v for v in vars(codes).values() if isinstance(v, Code)]
    found += [c for v in vars(codes).values() if isinstance(v, dict) for c in v.values() if isinstance(c, Code)]
    found += [c for size in codes.SIZES for c in (size.name, size.unit, size.derivation) if c]
    checked = [c for c in found if c.scheme_designator in known and c != codes.ML]
    assert len(checked) > 25
    for code in checked:
        entries = known[code.scheme_designator]
        assert any(getattr(entries, name) == code for name in entries.dir()), code


def test_the_same_result_has_the_same_uids(make_report: MakeReport) -> None:
    report = make_report(2)
    first, again = dicom_seg.build(report), dicom_seg.build(report)
    assert (first.SOPInstanceUID, first.SeriesInstanceUID) == (again.SOPInstanceUID, again.SeriesInstanceUID)
    fewer = dicom_seg.build(replace(report, nodules=report.nodules[:1]))
    assert fewer.SeriesInstanceUID == first.SeriesInstanceUID
    assert fewer.SOPInstanceUID != first.SOPInstanceUID
    retrained = dicom_seg.build(replace(report, weights={"find": "00" * 32}))
    assert retrained.SeriesInstanceUID != first.SeriesInstanceUID


def test_no_nodules_leaves_the_lungs(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(0)
    masks = segment_masks(saved(report, tmp_path), report.ct)
    assert sorted(masks) == [1, 2]
    np.testing.assert_array_equal(masks[2], report.lungs.labels == 2)


def test_two_hundred_nodules(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(200)
    masks = segment_masks(saved(report, tmp_path), report.ct)
    labels = report.nodule_labels()
    assert len(masks) == 202
    assert all(np.array_equal(masks[n.id + 2], labels == n.id) for n in report.nodules)


def test_a_nodule_of_one_voxel(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(2, one_voxel=True)
    masks = segment_masks(saved(report, tmp_path), report.ct)
    assert masks[4].sum() == 1
    np.testing.assert_array_equal(masks[4], report.nodule_labels() == 2)


def test_a_nodule_between_the_source_slices_is_shown_on_the_nearest(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(1, layout="gaps")
    ct, nodule = report.ct, report.nodules[0]
    gap = 22
    assert all(abs(ct.to_index(s.affine_lps[:3, 3])[2] - gap) > 0.9 for s in ct.slices)
    one = np.ones((1, 1, 1), bool)
    outline = replace(nodule.outline, mask=one, probability=one.astype(np.float32), offset=(40, 30, gap))
    seg = saved(replace(report, nodules=(replace(nodule, outline=outline),)), tmp_path)
    frames = [
        (frame, item)
        for frame, item in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True)
        if item.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 3
    ]
    assert len(frames) == 1
    assert np.argwhere(frames[0][0]).tolist() == [[30, 40]]
    z = ct.to_index(np.array(frames[0][1].PlanePositionSequence[0].ImagePositionPatient, float))[2]
    assert abs(z - gap) == pytest.approx(1)


def test_rows_times_columns_need_not_fill_bytes(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(2, shape=(93, 81, 44))
    masks = segment_masks(saved(report, tmp_path), report.ct)
    np.testing.assert_array_equal(masks[1], report.lungs.labels == 1)
    np.testing.assert_array_equal(masks[3], report.nodule_labels() == 1)


def test_frames_of_a_multi_frame_source_are_referred_to(make_report: MakeReport, tmp_path: Path) -> None:
    def enhanced(d: Dataset) -> None:
        d.SOPClassUID = d.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"

    report = make_report(2, edit=enhanced)
    one = report.ct.slices[0]
    frames = tuple(
        replace(s, path=one.path, sop_instance_uid=one.sop_instance_uid, frame=43 - k)
        for k, s in enumerate(report.ct.slices)
    )
    report = replace(report, ct=replace(report.ct, slices=frames))
    seg = saved(report, tmp_path)
    np.testing.assert_array_equal(segment_masks(seg, report.ct)[1], report.lungs.labels == 1)
    instances = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert [i.ReferencedSOPInstanceUID for i in instances] == [one.sop_instance_uid]
    for item in seg.PerFrameFunctionalGroupsSequence:
        source = item.DerivationImageSequence[0].SourceImageSequence[0]
        k = 43 - (int(source.ReferencedFrameNumber) - 1)
        assert source.ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2.1"
        assert source.ReferencedSOPInstanceUID == one.sop_instance_uid
        position = np.array(item.PlanePositionSequence[0].ImagePositionPatient, float)
        np.testing.assert_allclose(position, frames[k].affine_lps[:3, 3], atol=1e-6)


def test_a_frame_of_reference_for_each_slice_becomes_one(
    make_report: MakeReport, assert_dicom_valid: Callable, tmp_path: Path
) -> None:
    """The SEG lies in one of its own, and refers to the slices by their instances."""
    from monai_lung.io import read_ct

    def edit(d: Dataset) -> None:
        d.FrameOfReferenceUID = f"1.2.3.{d.InstanceNumber}"

    written = make_report(1, edit=edit)
    report = replace(written, ct=read_ct(written.ct.path))
    seg = saved(report, tmp_path)
    assert not str(seg.FrameOfReferenceUID).startswith("1.2.3.")
    assert seg.FrameOfReferenceUID == dicom_seg.build(report).FrameOfReferenceUID
    np.testing.assert_array_equal(segment_masks(seg, report.ct)[1], report.lungs.labels == 1)
    instances = {i.ReferencedSOPInstanceUID for i in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert instances == {s.sop_instance_uid for s in written.ct.slices}
    assert_dicom_valid(tmp_path / "seg.dcm")


def test_a_series_without_study_uid(make_report: MakeReport, assert_dicom_valid: Callable, tmp_path: Path) -> None:
    def edit(d: Dataset) -> None:
        del d.StudyInstanceUID

    report = make_report(1, edit=edit)
    seg = saved(report, tmp_path)
    assert seg.StudyInstanceUID == dicom_seg.build(report).StudyInstanceUID != ""
    assert_dicom_valid(tmp_path / "seg.dcm")


def test_missing_odd_and_private_tags(make_report: MakeReport, assert_dicom_valid: Callable, tmp_path: Path) -> None:
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    def edit(d: Dataset) -> None:
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "StudyID", "AccessionNumber", "StudyTime"):
            delattr(d, keyword)
        del d.FrameOfReferenceUID, d.ReferringPhysicianName, d.SliceThickness, d.PositionReferenceIndicator
        d.PatientSex = "FEMALE"
        del d.StudyDate
        with pydicom.config.disable_value_validation():
            d.StudyDate = "2020/05/"
        tag = Tag(0x0009, 0x1001)
        d[0x0009, 0x0010] = pydicom.DataElement(0x00090010, "LO", "ODD PRIVATE")
        d[tag] = RawDataElement(tag, "DS", 8, b"not a DS", 0, False, True)

    report = make_report(1, edit=edit)
    seg = saved(report, tmp_path)
    assert (seg.PatientID, str(seg.PatientName), seg.PatientSex, seg.StudyDate) == ("", "", "", "")
    assert seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness == 5
    np.testing.assert_array_equal(segment_masks(seg, report.ct)[1], report.lungs.labels == 1)
    assert_dicom_valid(tmp_path / "seg.dcm")


@pytest.mark.parametrize(
    ("name", "charset"),
    [
        ("Müller^Jürgen", "ISO_IR 100"),
        ("Люкceмбypг^Анна", "ISO_IR 144"),
        ("Wang^XiaoDong=王^小东", "GB18030"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", ["", "ISO 2022 IR 87"]),
    ],
)
def test_names_in_any_alphabet(make_report: MakeReport, tmp_path: Path, name: str, charset: str | list[str]) -> None:
    def edit(d: Dataset) -> None:
        d.SpecificCharacterSet = charset

    seg = saved(make_report(1, patient_name=name, edit=edit), tmp_path)
    assert str(seg.PatientName) == name
    assert seg.SpecificCharacterSet == "ISO_IR 192"


def test_no_warning_and_no_log_quotes_the_patient(
    make_report: MakeReport, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    def edit(d: Dataset) -> None:
        del d.PatientName, d.PatientBirthDate
        with pydicom.config.disable_value_validation():
            d.PatientName = "Geheimnis" * 12
            d.PatientBirthDate = "Geheimnis"

    report = make_report(1, edit=edit)
    recwarn.clear()
    caplog.clear()
    caplog.set_level("DEBUG")
    seg = dicom_seg.build(report)
    sr = dicom_sr.build(report, seg)
    assert str(seg.PatientName) == str(sr.PatientName) == ("Geheimnis" * 12)[:64]
    assert not [w for w in recwarn if "Geheimnis" in str(w.message)]
    assert "Geheimnis" not in caplog.text


def test_a_volume_file_has_no_dicom_objects(make_report: MakeReport, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no DICOM objects") as caught:
        dicom_seg.write(make_report(1, nifti=True), tmp_path / "seg.dcm")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "seg.dcm").exists()


def test_a_mask_that_does_not_fit(make_report: MakeReport) -> None:
    report = make_report(1)
    with pytest.raises(MaskError, match="lung mask"):
        dicom_seg.build(replace(report, lungs=replace(report.lungs, labels=report.lungs.labels[:-1])))
    nodule = report.nodules[0]
    outside = replace(nodule, outline=replace(nodule.outline, offset=(95, 0, 0)))
    with pytest.raises(MaskError, match="nodule 1"):
        dicom_seg.build(replace(report, nodules=(outside,)))
    with pytest.raises(MaskError, match="slices"):
        dicom_seg.build(replace(report, ct=replace(report.ct, slices=report.ct.slices[:-1])))


def test_instances_that_are_gone(make_report: MakeReport) -> None:
    report = make_report(1)
    report.ct.slices[0].path.unlink()
    with pytest.raises(InputError, match="keep the series in place"):
        dicom_seg.build(report)


def cpu_s(function: Callable[[], object]) -> float:
    """Processor time of a call: the machine may be busy with other things."""
    start = time.process_time()
    function()
    return time.process_time() - start


def test_time_and_size_of_a_full_chest(make_report: MakeReport, tmp_path: Path) -> None:
    """512 x 512 x 133 with ten nodules; the time against looking at the whole volume once for each segment."""
    report = make_report(10)
    factor = np.array([512, 512, 133]) // np.array(report.ct.hu.shape)
    labels = np.pad(
        np.kron(report.lungs.labels, np.ones(factor, np.uint8)),
        [(0, n - m * f) for n, m, f in zip((512, 512, 133), report.ct.hu.shape, factor, strict=True)],
    )
    first = report.ct.slices[0]
    slices = tuple(
        replace(first, sop_instance_uid=f"1.2.{k}", shape=(512, 512), affine_lps=np.eye(4)) for k in range(1, 134)
    )
    for k, source in enumerate(slices):
        source.affine_lps[2, 3] = k
    ct = replace(report.ct, hu=np.zeros((512, 512, 133), np.int16), affine_lps=np.eye(4), slices=slices)
    report = replace(report, ct=ct, lungs=Lungs(labels, 1.0, 1.0))
    path = tmp_path / "seg.dcm"
    planes = np.ascontiguousarray(labels.T).astype(np.uint16)
    took_s = min(cpu_s(lambda: dicom_seg.write(report, path)) for _ in range(2))
    looks_s = min(cpu_s(lambda: [(planes == n).any() for n in range(12)]) for _ in range(2))
    assert took_s < 20 * looks_s, f"{took_s:.2f} s against {looks_s:.2f} s"
    frames = int(pydicom.dcmread(path, stop_before_pixels=True).NumberOfFrames)
    assert path.stat().st_size < frames * (512 * 512 / 8 + 1500) + 100_000


def test_a_real_feet_first_series(data_dir: Path, tmp_path: Path, assert_dicom_valid: Callable[[Path], None]) -> None:
    """LIDC-IDRI-0001: feet first, private elements, odd padding; a threshold stands in for the networks."""
    from report_builder import build_report

    from monai_lung.io import read_ct

    ct = read_ct(data_dir / "ct" / "LIDC-IDRI-0001" / "dicom")
    labels = ((ct.hu < -500) & (ct.hu > -1000)).astype(np.uint8)
    labels[ct.hu.shape[0] // 2 :] *= 2
    template = build_report(tmp_path, 1).nodules[0]
    center = np.rint(ct.to_index((56.0, 86.0, -116.0))).astype(int)
    outline = replace(template.outline, offset=tuple(int(v) for v in center))
    report = Report(ct, Lungs(labels, 1.0, 1.0), (replace(template, outline=outline),))
    seg = saved(report, tmp_path)
    plane_of = {s.sop_instance_uid: k for k, s in enumerate(ct.slices)}
    headers = [pydicom.dcmread(s.path, stop_before_pixels=True) for s in ct.slices]
    truth = {1: labels == 1, 2: labels == 2, 3: report.nodule_labels() == 1}
    seen = {1: 0, 2: 0, 3: 0}
    for frame, item in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        k = plane_of[item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        number = int(item.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        assert headers[k].SOPInstanceUID == ct.slices[k].sop_instance_uid
        assert item.PlanePositionSequence[0].ImagePositionPatient == headers[k].ImagePositionPatient
        np.testing.assert_array_equal(frame.astype(bool), truth[number][:, :, k].T)
        seen[number] += int(frame.sum())
    assert seen == {number: int(mask.sum()) for number, mask in truth.items()}
    assert_dicom_valid(tmp_path / "seg.dcm")


def test_each_segment_says_what_colour_it_is_painted_in(make_report: MakeReport, tmp_path: Path) -> None:
    """OHIF hangs at a segment without one."""
    from highdicom.color import CIELabColor

    segments = saved(make_report(2), tmp_path).SegmentSequence
    colours = [CIELabColor.from_dicom_value(s.RecommendedDisplayCIELabValue).to_rgb() for s in segments]
    expected = [dicom_seg.LUNG_RGB["right"], dicom_seg.LUNG_RGB["left"], *[dicom_seg.NODULE_RGB] * 2]
    np.testing.assert_allclose(colours, expected, atol=2)


def changed_source(report: Report, change: Callable[[Dataset], None]) -> Report:
    """The report with the headers of its source instances changed."""
    for source in report.ct.slices:
        data = pydicom.dcmread(source.path)
        change(data)
        data.save_as(source.path)
    return report


@pytest.mark.parametrize("keyword", ["AccessionNumber", "PatientID", "StudyID"])
def test_identifiers_are_whole_however_long(make_report: MakeReport, tmp_path: Path, keyword: str) -> None:
    """The first 16 characters of an accession number are another order's, the first 64 of an ID another patient's."""
    number = "A" * 80 + "-1"

    def change(data: Dataset) -> None:
        data._dict.pop(pydicom.tag.Tag(keyword), None)
        with pydicom.config.disable_value_validation():
            setattr(data, keyword, number)

    report = changed_source(make_report(1), change)
    seg = saved(report, tmp_path)
    assert seg[keyword].value == number
    sr = pydicom.dcmread(dicom_sr.write(report, tmp_path / "sr.dcm", tmp_path / "seg.dcm"))
    assert sr[keyword].value == number


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("张三".encode("gbk"), ""),
        ("Иванов".encode("cp1251"), ""),
        ("山田^太郎".encode("shift_jis"), ""),
        ("Müller^José".encode("latin-1"), "Müller^José"),
        ("Müller^José".encode(), "Müller^José"),
        ("张三".encode(), "张三"),
    ],
)
def test_a_name_without_a_declared_character_set(
    make_report: MakeReport, tmp_path: Path, caplog: pytest.LogCaptureFixture, raw: bytes, name: str
) -> None:
    """What would come out as another name stays empty, with a word that doesn't quote it."""
    placeholder = b"N" * (len(raw) + len(raw) % 2)

    def change(data: Dataset) -> None:
        data.pop("SpecificCharacterSet", None)
        data.PatientName = placeholder.decode()

    report = changed_source(make_report(1), change)
    for source in report.ct.slices:
        source.path.write_bytes(source.path.read_bytes().replace(placeholder, raw.ljust(len(placeholder))))
    assert str(saved(report, tmp_path).PatientName) == name
    assert ("PatientName has no declared character set and can't be read" in caplog.text) is (not name)
