"""`read_ct` and MONAI's reader: what comes with the voxels, and real scans against other readers."""

import datetime
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_series import SeriesBuilder, assert_same_world, body_hu, save
from monai.data import PydicomReader
from monai.transforms import Compose, LoadImage, LoadImaged, Orientationd, Spacingd

from monai_lung.errors import GeometryError, UsageError
from monai_lung.io import CTReader, find_cases, read_ct, write_nifti

RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def test_what_a_ct_carries(tmp_path, monkeypatch):
    builder = SeriesBuilder()
    builder.write(tmp_path)
    ct = read_ct(tmp_path)
    assert ct.hu.dtype == np.int16
    assert ct.study_date == datetime.date(2024, 1, 31)
    assert ct.frame_of_reference_uid == builder.datasets[0].FrameOfReferenceUID
    assert [s.sop_instance_uid for s in ct.slices] == [d.SOPInstanceUID for d in builder.datasets]
    assert ct.patient == ("Test^Patient", "P-1")
    assert "P-1" not in ct.patient_key
    monkeypatch.setenv("MONAI_LUNG_SALT", "another hospital")
    assert read_ct(tmp_path).patient_key != ct.patient_key
    for data in builder.datasets:
        data.PatientID = ""
    builder.write(tmp_path)
    assert read_ct(tmp_path).patient_key == ""


@pytest.mark.parametrize("implicit", [False, True])
def test_series_and_images_have_the_numbers_that_a_workstation_lists(tmp_path, implicit):
    builder = SeriesBuilder()
    for number, data in enumerate(builder.datasets, start=41):
        data.SeriesNumber, data.InstanceNumber = 12, number
        save(data, tmp_path / f"{number}.dcm", "1.2.840.10008.1.2" if implicit else "")
    ct = read_ct(tmp_path)
    assert ct.series.number == 12
    assert [s.image_number for s in ct.slices] == [d.InstanceNumber for d in builder.datasets]


def test_a_case_made_by_hand_is_read(tmp_path):
    from dataclasses import replace

    builder = SeriesBuilder()
    builder.write(tmp_path)
    case = replace(find_cases(tmp_path)[0], headers=())
    np.testing.assert_array_equal(read_ct(case).hu, builder.hu)


@pytest.mark.parametrize("reader", ["monai_lung.io.CTReader", CTReader, CTReader()])
def test_load_image_with_this_reader(tmp_path, reader):
    builder = SeriesBuilder(spacing=(0.6, 0.9, 2.0))
    builder.write(tmp_path)
    image = LoadImaged("image", reader=reader, ensure_channel_first=True)({"image": tmp_path})["image"]
    np.testing.assert_array_equal(image[0], builder.hu)
    np.testing.assert_allclose(image.affine, RAS @ builder.affine, atol=1e-5)
    np.testing.assert_allclose(image.meta["original_affine"], RAS @ builder.affine, atol=1e-5)
    assert tuple(image.meta["spatial_shape"]) == builder.hu.shape
    assert image.meta["space"] == "RAS"
    assert image.meta["filename_or_obj"] == str(tmp_path)


def test_load_image_of_volumes_agrees_with_monai(tmp_path):
    affine = np.diag([0.7, 0.8, 2.0, 1.0])
    write_nifti(tmp_path / "a.nii.gz", body_hu(), affine)
    ours = LoadImage(reader=CTReader)(tmp_path / "a.nii.gz")
    theirs = LoadImage()(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-6)
    chain = Compose(
        [
            LoadImaged("i", reader=CTReader, ensure_channel_first=True),
            Orientationd("i", "RAS", labels=None),
            Spacingd("i", (1.5, 1.5, 3.0)),
        ]
    )
    assert chain({"i": tmp_path / "a.nii.gz"})["i"].shape[0] == 1


def test_load_image_does_not_fall_back_to_readers_that_check_nothing(tmp_path):
    """MONAI's PydicomReader reads a series with a gap as if there was none."""
    builder = SeriesBuilder()
    del builder.datasets[5]
    builder.write(tmp_path)
    with pytest.raises(GeometryError, match="misses 1 slices"):
        LoadImage(reader=CTReader)(tmp_path)
    assert LoadImage(reader=CTReader(allow_gaps=True))(tmp_path).shape == builder.hu.shape
    with pytest.raises(UsageError, match="2 paths"):
        LoadImage(reader=CTReader)([tmp_path, tmp_path])


def pydicom_reader(path):
    image = LoadImage(reader=PydicomReader(), image_only=True, dtype=np.int16)(path)
    return np.maximum(np.asarray(image), -1024), RAS @ np.asarray(image.affine)


def sitk_reader(path):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path)))
    return reader.Execute()


def check_against_other_readers(path):
    ct = read_ct(path)
    image = sitk_reader(path)
    np.testing.assert_array_equal(ct.hu.T, np.maximum(sitk.GetArrayViewFromImage(image), -1024))
    corners = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * (np.array(ct.hu.shape) - 1)
    for corner in corners:
        world = image.TransformIndexToPhysicalPoint([int(c) for c in corner])
        np.testing.assert_allclose(ct.to_world(corner), world, atol=1e-2)
    theirs, affine = pydicom_reader(path)
    turn = np.linalg.inv(affine) @ ct.affine_lps  # MONAI orders by instance number: z may run the other way
    if turn[2, 2] < 0:
        theirs = theirs[:, :, ::-1]
    np.testing.assert_array_equal(ct.hu, theirs)
    return ct


def test_same_voxels_and_world_as_other_readers(tmp_path):
    builder = SeriesBuilder(spacing=(0.6, 0.9, 2.5))
    for k, data in enumerate(builder.datasets):
        data.InstanceNumber = 12 - k
    builder.write(tmp_path)
    assert_same_world(check_against_other_readers(tmp_path), builder)


@pytest.mark.parametrize("name", ["LIDC-IDRI-0001/dicom", "LungDx-A0001/B", "cip_ct64/dicom"])
def test_same_voxels_and_world_as_other_readers_on_real_scans(unpacked, data_dir, name):
    folder = unpacked / name if (unpacked / name).is_dir() else data_dir / "ct" / name
    ct = check_against_other_readers(folder)
    assert ct.hu.min() >= -1024


def test_packed_and_unpacked_scan_agree(unpacked, data_dir):
    packed = read_ct(data_dir / "ct" / "LIDC-IDRI-0001" / "dicom")
    plain = read_ct(unpacked / "LIDC-IDRI-0001")
    np.testing.assert_array_equal(packed.hu, plain.hu)
    np.testing.assert_array_equal(packed.affine_lps, plain.affine_lps)
    assert packed.name == plain.name


def test_softer_kernel_of_two_reconstructions(data_dir):
    cases = find_cases(data_dir / "ct" / "LungDx-A0001")
    assert [c.series.kernel for c in cases] == ["B"]


def test_real_volumes(data_dir):
    for name in (
        "cip_ct64/ct-64.nrrd",
        "imlab/id001_ct.nii.gz",
        "elastix_lung/3DCT_lung_baseline.mha",
        "abdomen/ct.nii.gz",
    ):
        ct = read_ct(data_dir / "ct" / name)
        assert ct.hu.min() >= -1024
        assert ct.hu.ndim == 3
    dicom, nrrd = read_ct(data_dir / "ct" / "cip_ct64" / "dicom"), read_ct(data_dir / "ct" / "cip_ct64" / "ct-64.nrrd")
    np.testing.assert_allclose(dicom.to_world((3, 4, 5)), nrrd.to_world((3, 4, 5)), atol=0.05)
    np.testing.assert_array_equal(dicom.hu, nrrd.hu)


def fastest(function, repeats):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.slow
def test_not_slower_than_simpleitk(unpacked):
    """With all checks; both in one run, alternating, the fastest of each."""
    folder = unpacked / "LIDC-IDRI-0001" / "dicom"
    pairs = [(fastest(lambda: read_ct(folder), 2), fastest(lambda: sitk_reader(folder), 1)) for _ in range(4)]
    ours, theirs = (min(times) for times in zip(*pairs, strict=True))
    assert ours <= theirs


PEAK = """
import sys
from pathlib import Path

def field(name):
    return next(int(s.split()[1]) for s in Path("/proc/self/status").read_text().splitlines() if s.startswith(name))

folder = Path(sys.argv[1])
{setup}
Path("/proc/self/clear_refs").write_text("5")
before = field("VmRSS")
kept = {work}
print(field("VmHWM") - before)
"""
"""Memory beyond what a process of its own held before, at its highest, in KiB."""


def peak_kib(setup, work, folder):
    words = [sys.executable, "-W", "ignore", "-c", PEAK.format(setup=setup, work=work), folder]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def test_less_memory_than_monais_reader(unpacked):
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("no /proc here to measure memory")
    folder = unpacked / "LIDC-IDRI-0001" / "dicom"
    ours = peak_kib("from monai_lung.io import read_ct", "read_ct(folder)", folder)
    monai = "from monai.data import PydicomReader; reader = PydicomReader()"
    theirs = peak_kib(monai, "reader.get_data(reader.read(folder))", folder)
    assert ours > 133 * 512 * 512 * 2 / 1024
    assert ours < 0.6 * theirs
