"""Which series are found, which one is chosen, and what the cases are called."""

import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dicom_series import SeriesBuilder, assert_same_world, body_hu, save

from monai_lung.errors import DecodeError, NoSeriesError, NotCTError, UsageError
from monai_lung.io import choose, discover, find_cases, read_ct, write_nifti
from monai_lung.model import Series


def series(uid="1", **changes):
    values = {
        "uid": uid,
        "study_uid": "s",
        "modality": "CT",
        "description": "",
        "files": (),
        "suitable": True,
        "reason": "",
        "spacing_mm": (0.7, 0.7, 2.0),
        "n_slices": 150,
    }
    return Series(**{**values, **changes})


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({}, {"suitable": False}),
        ({"spacing_mm": (0.7, 0.7, 5.0), "n_slices": 60}, {"derived": True}),
        ({"spacing_mm": (0.7, 0.7, 5.0), "n_slices": 60}, {"spacing_mm": (0.7, 0.7, 0.6), "n_slices": 100}),
        ({"spacing_mm": (0.7, 0.7, 1.0), "n_slices": 280}, {}),
        ({"kernel": "B30f"}, {"kernel": "B70f"}),
        ({"kernel": "STANDARD"}, {"kernel": "LUNG"}),
        ({"kernel": "B"}, {"kernel": "L"}),
        ({"kernel": "Br40d"}, {"kernel": "Bl57d"}),
        *(
            ({"kernel": soft, "uid": "1.2"}, {"kernel": sharp})
            for soft, sharp in (
                ("I30f", "I70f"),
                ("J30s", "J70h"),
                ("I31f", "I80s"),
                ("FC08", "FC30"),
                ("CHST", "ULTRA"),
                ("SOFT", "HRES"),
            )
        ),
        ({"spacing_mm": (0.7, 0.7, 5.0), "n_slices": 60, "region": "chest"}, {"region": ""}),
        ({"spacing_mm": (0.7, 0.7, 5.0), "n_slices": 60}, {"region": "elsewhere"}),
        ({"region": "chest", "derived": True}, {"region": "elsewhere", "n_slices": 600}),
        ({"n_slices": 151}, {}),
        ({"uid": "0"}, {}),
    ],
)
def test_choose_by_the_stated_rules(better, worse):
    good, bad = series(**{"uid": "1", **better}), series(**{"uid": "1.1", **worse})
    assert choose([good, bad]) is good
    assert choose([bad, good]) is good


def test_choose_by_uid():
    assert choose([series("1"), series("2", n_slices=20)], "2").uid == "2"
    with pytest.raises(UsageError, match="no series 3: there are 1, 2"):
        choose([series("1"), series("2")], "3")
    with pytest.raises(NoSeriesError, match="localizer"):
        choose([series("1"), series("2", suitable=False, reason="localizer")], "2")


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"Modality": "PT"}, "PET"),
        ({"Modality": "MR"}, "MR"),
        ({"Modality": "SR"}, "report"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "secondary capture"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"]}, "reformatted"),
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "MIP"]}, "mip"),
        ({"RescaleType": "MGML"}, "MGML"),
        ({"SamplesPerPixel": 3}, "colour"),
        ({"PixelSpacing": None}, "position"),
        ({"PixelSpacing": [0, 0.7]}, "position"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "not axial"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "position"),
    ],
)
def test_unsuitable_series_are_set_apart_with_a_reason(tmp_path, elements, reason):
    SeriesBuilder(seed=1).write(tmp_path / "ct")
    odd = SeriesBuilder(seed=2, **elements)
    odd.write(tmp_path / "odd")
    found = {s.uid: s for s in discover(tmp_path)}
    assert len(found) == 2
    assert not found[odd.uid].suitable
    assert reason in found[odd.uid].reason
    assert [c.series.uid for c in find_cases(tmp_path)] == [uid for uid in found if uid != odd.uid]


def test_best_of_a_study_comes_first_and_others_stay_listed(tmp_path):
    thick = SeriesBuilder(seed=1, study_uid="1.2", spacing=(0.75, 0.75, 5.0), hu=body_hu(slices=9))
    thin = SeriesBuilder(seed=2, study_uid="1.2", spacing=(0.75, 0.75, 2.0), hu=body_hu(slices=21))
    few = SeriesBuilder(seed=3, study_uid="1.2", hu=body_hu(slices=3))
    for number, builder in enumerate((few, thick, thin)):
        builder.write(tmp_path / str(number))
    found = discover(tmp_path)
    assert [s.uid for s in found] == [thin.uid, thick.uid, few.uid]
    assert "3 slices, at least 8" in found[2].reason
    assert found[0].n_slices == 21
    assert found[0].spacing_mm == (0.75, 0.75, 2.0)
    assert read_ct(tmp_path).series.uid == thin.uid
    assert read_ct(tmp_path, series_uid=thick.uid).spacing_mm[2] == pytest.approx(5.0)


def test_the_longest_of_another_region_does_not_count():
    """A run-off of the legs is three times as long as the chest: the thin chest is taken all the same."""
    thin = series("1", region="chest", spacing_mm=(0.7, 0.7, 1.0), n_slices=295)
    thick = series("2", region="chest", spacing_mm=(0.7, 0.7, 5.0), n_slices=61)
    legs = series("3", region="elsewhere", spacing_mm=(0.7, 0.7, 2.0), n_slices=600)
    assert choose([legs, thick, thin]) is thin


def test_thinner_and_softer_series_that_were_passed_over_are_named(tmp_path):
    place = {"study_uid": "1.2", "FrameOfReferenceUID": "1.2.3"}
    thick = SeriesBuilder(seed=1, hu=body_hu(slices=16), ConvolutionKernel="B70f", **place)
    thin = SeriesBuilder(
        seed=2, hu=body_hu(slices=31), spacing=(0.75, 0.75, 1.0), ImageType=["DERIVED", "SECONDARY"], **place
    )
    soft = SeriesBuilder(seed=3, spacing=(0.75, 0.75, 4.0), hu=body_hu(slices=8), ConvolutionKernel="B30f", **place)
    thick.write(tmp_path / "1")
    assert find_cases(tmp_path)[0].warnings == ()
    thin.write(tmp_path / "2")
    soft.write(tmp_path / "3")
    (case,) = find_cases(tmp_path)
    assert case.series.uid == thick.uid
    assert [c.series.uid for c in case.others] == [soft.uid, thin.uid]
    assert {c.name for c in case.others} == {case.name}
    thinner, softer = case.warnings
    assert thinner.startswith("A thinner series of this study was not chosen (1.0 mm")
    assert "it is derived" in thinner
    assert thin.uid in thinner
    assert softer.startswith("A softer series")
    assert "its slices are farther apart" in softer
    assert find_cases(tmp_path, thick.uid)[0].warnings == ()
    assert find_cases(tmp_path, thick.uid)[0].others == ()


def test_a_scout_in_the_scans_own_series_is_left_out(tmp_path):
    builder = SeriesBuilder()
    scout = SeriesBuilder(
        hu=body_hu(slices=1, columns=50),
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        orientation=(1, 0, 0, 0, 0, -1),
        SeriesInstanceUID=builder.uid,
    )
    scout.datasets[0].StudyInstanceUID = builder.datasets[0].StudyInstanceUID
    scout.datasets[0].SOPInstanceUID = "1.2.3"
    builder.write(tmp_path / "a")
    scout.write(tmp_path / "b")
    assert read_ct(tmp_path).hu.shape == builder.hu.shape


def test_each_study_is_a_case_named_by_a_hash(tmp_path):
    first, second = SeriesBuilder(seed=1), SeriesBuilder(seed=2)
    first.write(tmp_path / "Mueller^Anna")
    second.write(tmp_path / "b")
    cases = find_cases(tmp_path)
    assert [c.name for c in cases] == [hashlib.sha256(b.uid.encode()).hexdigest()[:12] for b in (first, second)]
    assert all(c.path == tmp_path for c in cases)
    with pytest.raises(UsageError, match="2 cases"):
        read_ct(tmp_path)
    assert read_ct(cases[1]).series.uid == second.uid
    assert [c.series.uid for c in find_cases(tmp_path, second.uid)] == [second.uid]


def test_series_without_a_study_uid_are_cases_of_their_own(tmp_path):
    builders = [SeriesBuilder(seed=seed, StudyInstanceUID="", PatientID=f"P-{seed}") for seed in (1, 2)]
    for builder in builders:
        builder.write(tmp_path / builder.uid)
    cases = find_cases(tmp_path)
    assert {c.series.uid for c in cases} == {b.uid for b in builders}
    assert len({read_ct(c).patient_key for c in cases}) == 2


def test_file_names_and_folders_do_not_matter(tmp_path):
    builder = SeriesBuilder()
    names = [f"{'abc'[k % 3]}/{(k * 7) % 12}" + (".ima" if k % 2 else "") for k in range(12)]
    builder.write(tmp_path, names)
    (tmp_path / "a" / "notes.txt").write_text("nothing of interest")
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, builder.hu)
    assert ct.warnings == ()


def test_a_scout_across_the_slices_is_left_out(tmp_path):
    """It doesn't call itself a localizer: its geometry tells."""
    builder = SeriesBuilder()
    scout = SeriesBuilder(orientation=(1, 0, 0, 0, 0, -1), seed=5).datasets[0]
    scout.SeriesInstanceUID, scout.StudyInstanceUID = builder.uid, builder.datasets[0].StudyInstanceUID
    builder.write(tmp_path)
    save(scout, tmp_path / "-scout.dcm")
    ct = read_ct(tmp_path)
    assert_same_world(ct, builder)
    assert any("1 images that lie across the slices" in w for w in ct.warnings)


@pytest.mark.parametrize("uid", ["", "1.3.6.1.4.1.14519.5.2.1.9"])
def test_a_class_that_was_lost_is_told_by_the_files_meta_group(tmp_path, uid):
    """It was called a secondary capture, which it isn't."""
    builder = SeriesBuilder()
    builder.write(tmp_path)
    for file in tmp_path.iterdir():
        meta, _, rest = file.read_bytes().rpartition(b"1.2.840.10008.5.1.4.1.1.2\0")
        assert meta.endswith(b"UI\x1a\0")
        file.write_bytes(meta + uid.encode().ljust(26, b"\0") + rest)
    assert_same_world(read_ct(tmp_path), builder)


def test_files_without_preamble_are_read(tmp_path):
    builder = SeriesBuilder()
    for k, data in enumerate(builder.datasets):
        del data.file_meta
        data.save_as(tmp_path / str(k), implicit_vr=True, little_endian=True)
    np.testing.assert_array_equal(read_ct(tmp_path).hu, builder.hu)


def test_a_dicom_file_stands_for_its_series(tmp_path):
    builder = SeriesBuilder(seed=1)
    builder.write(tmp_path)
    SeriesBuilder(seed=2).write(tmp_path, [f"other{k}" for k in range(12)])
    assert read_ct(tmp_path / "0005.dcm").series.uid == builder.uid


def test_a_dicomdir_stands_for_its_folder(tmp_path):
    from pydicom.fileset import FileSet

    builder = SeriesBuilder()
    files = FileSet()
    for data in builder.datasets:
        data.StudyTime, data.StudyID, data.SeriesNumber = "120000", "1", 1
        save(data, tmp_path / "one.dcm")
        files.add(tmp_path / "one.dcm")
    files.write(tmp_path / "media")
    for path in (tmp_path / "media", tmp_path / "media" / "DICOMDIR"):
        np.testing.assert_array_equal(read_ct(path).hu, builder.hu)


def test_zip_of_a_series_and_of_volumes(tmp_path):
    builder = SeriesBuilder()
    builder.write(tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for file in sorted((tmp_path / "in").iterdir()):
            archive.write(file, f"../../Mueller Anna/{file.name}")
    ct = read_ct(tmp_path / "scan.zip")
    np.testing.assert_array_equal(ct.hu, builder.hu)
    assert ct.path == tmp_path / "scan.zip"
    assert all(s.path.exists() and "Anna" not in str(s.path) for s in ct.slices)
    write_nifti(tmp_path / "v.nii.gz", builder.hu, builder.affine)
    with zipfile.ZipFile(tmp_path / "volumes.zip", "w") as archive:
        for name in ("a/v.nii.gz", "b/v.nii.gz"):
            archive.write(tmp_path / "v.nii.gz", name)
    cases = find_cases(tmp_path / "volumes.zip")
    assert [c.name for c in cases] == ["v", "v-2"]
    np.testing.assert_array_equal(read_ct(cases[1]).hu, builder.hu)


def test_damaged_zip_and_zip_bomb(tmp_path, monkeypatch):
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(DecodeError, match="can't be unpacked"):
        read_ct(tmp_path / "x.zip")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"\0" * 300_000)
    monkeypatch.setattr("monai_lung.io.paths._MAX_UNZIPPED_BYTES", 200_000)
    with pytest.raises(DecodeError, match="more than"):
        read_ct(tmp_path / "bomb.zip")


def test_deflated_files_are_read_and_a_bomb_is_refused(tmp_path, monkeypatch):
    builder = SeriesBuilder()
    for k, data in enumerate(builder.datasets):
        save(data, tmp_path / f"{k}.dcm", "1.2.840.10008.1.2.1.99")
    np.testing.assert_array_equal(read_ct(tmp_path).hu, builder.hu)
    monkeypatch.setattr("monai_lung.io.header._MAX_INFLATED_BYTES", 2000)
    with pytest.raises(NoSeriesError, match="inflates to more"):
        read_ct(tmp_path)


def test_volume_names_are_safe_and_distinct(tmp_path):
    hu, affine = body_hu(), np.diag([0.75, 0.75, 2.0, 1.0])
    write_nifti(tmp_path / "scan.nii.gz", hu, affine)
    names = [b"sub/scan.nii.gz", b"two\nlines.nii.gz", b"caf\xff\xe9.nii.gz", b"..nii.gz", b"SCAN.nrrd"]
    for name in names:
        target = os.path.join(os.fsencode(tmp_path), name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.link(os.fsencode(tmp_path / "scan.nii.gz"), target)
    found = sorted(c.name for c in find_cases(tmp_path))
    assert sorted(n.lower() for n in found) == sorted({n.lower() for n in found})
    assert {"scan", "two_lines"} <= {n.lower() for n in found}
    assert all(n and n.isprintable() and "/" not in n and not n.startswith(".") for n in found)
    for name in names:
        path = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))
        if path.suffix != ".nrrd":
            assert read_ct(path).hu.shape == hu.shape


def test_results_of_an_earlier_run_are_no_cases(tmp_path):
    for name in ("scan.nii.gz", "out/scan/lungs.nii.gz", "out/scan/nodules.nii.gz", "out/other.nii.gz"):
        write_nifti(tmp_path / name, body_hu(), np.eye(4))
    (tmp_path / "out" / "scan" / "findings.json").write_text("{}")
    assert sorted(c.name for c in find_cases(tmp_path)) == ["other", "scan"]
    assert find_cases(tmp_path / "out" / "scan" / "lungs.nii.gz")[0].name == "lungs", "a file that is named is taken"
    with pytest.raises(NoSeriesError, match="holds no DICOM series and no"):
        find_cases(tmp_path / "out" / "scan")


def test_volumes_beside_dicom_are_left_out_with_a_warning(tmp_path, caplog):
    builder = SeriesBuilder()
    builder.write(tmp_path)
    for name in ("a.nii.gz", "deep/b.nii.gz", "out/lungs.nii.gz"):
        write_nifti(tmp_path / name, body_hu(), np.eye(4))
    (tmp_path / "out" / "findings.json").write_text("{}")
    assert [c.series.uid for c in find_cases(tmp_path)] == [builder.uid]
    assert "2 volume files beside DICOM are left out" in caplog.text
    caplog.clear()
    find_cases(tmp_path / "0003.dcm")
    assert caplog.text == "", "who names a file means that file"


def test_missing_empty_and_textual_input(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        find_cases(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoSeriesError, match="holds no DICOM series and no NIfTI"):
        find_cases(tmp_path / "empty")
    text = tmp_path / "text" / "slice.dcm"
    text.parent.mkdir()
    text.write_text("This is not DICOM.\n")
    with pytest.raises(NoSeriesError, match=r"slice.dcm is not a DICOM file"):
        find_cases(text.parent)
    with pytest.raises(DecodeError, match="is not a DICOM file"):
        find_cases(text)


def test_no_ct_in_the_folder(tmp_path):
    SeriesBuilder(Modality="MR", SOPClassUID="1.2.840.10008.5.1.4.1.1.4").write(tmp_path)
    with pytest.raises(NotCTError, match="MR"):
        find_cases(tmp_path)


def test_three_slices(tmp_path):
    SeriesBuilder(hu=body_hu(slices=3)).write(tmp_path)
    with pytest.raises(NoSeriesError, match="3 slices, at least 8 are needed"):
        read_ct(tmp_path)


def test_text_file_named_dcm_beside_a_scan_is_mentioned(tmp_path):
    builder = SeriesBuilder()
    builder.write(tmp_path)
    (tmp_path / "readme.dcm").write_text("hello")
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, builder.hu)
    assert any("1 files could not be read" in w for w in ct.warnings)


def test_unreadable_files(tmp_path, monkeypatch):
    SeriesBuilder().write(tmp_path)
    real = open

    def denied(file, *args, **kwargs):
        if str(file).endswith(".dcm"):
            raise PermissionError(13, "Permission denied", str(file))
        return real(file, *args, **kwargs)

    monkeypatch.setattr("builtins.open", denied)
    with pytest.raises(NoSeriesError, match="Permission denied"):
        find_cases(tmp_path)
    with pytest.raises(DecodeError, match="Permission denied"):
        find_cases(tmp_path / "0001.dcm")


def test_links_in_a_circle_and_pipes_are_passed_over(tmp_path):
    builder = SeriesBuilder()
    builder.write(tmp_path / "scan")
    (tmp_path / "scan" / "loop").symlink_to(tmp_path)
    (tmp_path / "scan" / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "scan" / "pipe.dcm")
    np.testing.assert_array_equal(read_ct(tmp_path).hu, builder.hu)
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        find_cases(tmp_path / "scan" / "pipe.dcm")


def test_importing_io_and_reading_needs_neither_torch_nor_monai():
    import subprocess
    import sys

    code = "import sys, monai_lung.io as io; io.read_ct, io.replacing; print({'torch', 'monai'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(100)


def test_companions_that_macos_writes_are_no_cases(tmp_path, caplog):
    """ "._scan.nii.gz" took the name of the case, and failed (MONAI 8305, nnU-Net 240)."""
    write_nifti(tmp_path / "v" / "scan.nii.gz", body_hu(), np.eye(4))
    (tmp_path / "v" / "._scan.nii.gz").write_bytes(APPLE_DOUBLE)
    (tmp_path / "v" / "._odd.nii.gz").write_bytes((tmp_path / "v" / "scan.nii.gz").read_bytes())
    assert [c.path.name for c in find_cases(tmp_path / "v")] == ["._odd.nii.gz", "scan.nii.gz"]
    builder = SeriesBuilder()
    builder.write(tmp_path / "d")
    for k in range(12):
        (tmp_path / "d" / f"._{k:04d}.dcm").write_bytes(APPLE_DOUBLE)
    assert read_ct(tmp_path / "d").warnings == ()
    with zipfile.ZipFile(tmp_path / "mac.zip", "w") as archive:
        archive.writestr("__MACOSX/v/._scan.nii.gz", APPLE_DOUBLE)
        archive.write(tmp_path / "v" / "scan.nii.gz", "v/scan.nii.gz")
    assert [c.name for c in find_cases(tmp_path / "mac.zip")] == ["scan"]


def test_all_files_of_a_series_are_one_case(tmp_path):
    """`analyze dicom/*.dcm` made one analysis for each file (dcm2niix 840)."""
    from monai_lung.cli.analyze import _cases
    from monai_lung.cli.case_display import CaseDisplay

    first, second = SeriesBuilder(seed=1), SeriesBuilder(seed=2)
    first.write(tmp_path / "a")
    second.write(tmp_path / "a", [f"other{k}" for k in range(12)])
    second.write(tmp_path / "b")
    write_nifti(tmp_path / "scan.nii.gz", body_hu(), np.eye(4))
    files = sorted((tmp_path / "a").iterdir())
    batch = CaseDisplay(as_json=False, debug=False)
    assert {c.series.uid for c in _cases(files, None, batch)} == {first.uid, second.uid}
    repeated = [*files, tmp_path / "a", tmp_path / "scan.nii.gz", tmp_path / "b" / ".." / "scan.nii.gz"]
    assert [c.series.uid if c.series else c.name for c in _cases(repeated, None, batch)] == [
        *[c.series.uid for c in _cases(files, None, batch)],
        "scan",
    ]
    assert len(_cases([*files, tmp_path / "b"], None, batch)) == 3, "the same UID in another folder is another case"
    assert not batch.failed
