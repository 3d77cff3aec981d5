"""However a scan is stored, its findings are the same: places in the patient, volumes, probabilities."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_series import SeriesBuilder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import UID
from stand_ins import networks as stand_ins

from monai_lung.io import read_ct
from monai_lung.model import Report
from monai_lung.phantom import Phantom, PhantomNodule, PhantomSpec, make_phantom
from monai_lung.pipeline import Analyzer

SPEC = PhantomSpec(
    size=96,
    slices=60,
    pixel_mm=3.2,
    spacing_mm=5.0,
    nodules=(PhantomNodule((-72, -10, 45), 24), PhantomNodule((80, 40, 10), 20)),
)
AXES = ((0, 1, 2), (1, 0, 2), (2, 0, 1), (0, 2, 1), (1, 2, 0), (2, 1, 0))


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    one = Analyzer()
    one._networks = stand_ins()
    return one


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(SPEC)


@pytest.fixture(scope="module")
def plain(phantom: Phantom, analyzer: Analyzer, tmp_path_factory: pytest.TempPathFactory) -> Report:
    report = analyzer.analyze(series(phantom).write(tmp_path_factory.mktemp("plain")))
    assert len(report.nodules) >= 2
    return report


def series(phantom: Phantom) -> SeriesBuilder:
    """Its slices as stored: head first, from above."""
    affine = phantom.affine_lps
    spacing = tuple(float(v) for v in np.linalg.norm(affine[:3, :3], axis=0))
    columns, rows = affine[:3, 0] / spacing[0], affine[:3, 1] / spacing[1]
    builder = SeriesBuilder(
        phantom.hu,
        origin=tuple(affine[:3, 3]),
        orientation=(*columns, *rows),
        spacing=spacing,
        shear=tuple(affine[:3, 2] - np.cross(columns, rows) * spacing[2]),
    )
    np.testing.assert_allclose(builder.affine, affine, atol=1e-6)
    return builder


def assert_same(found: Report, expected: Report) -> None:
    assert found.lungs.right_ml == pytest.approx(expected.lungs.right_ml, rel=1e-3)
    assert found.lungs.left_ml == pytest.approx(expected.lungs.left_ml, rel=1e-3)
    assert len(found.nodules) == len(expected.nodules)
    for a, b in zip(found.nodules, expected.nodules, strict=True):
        np.testing.assert_allclose(a.measurements.center_mm, b.measurements.center_mm, atol=0.05)
        for name in ("volume_mm3", "long_axis_mm", "short_axis_mm", "mean_hu"):
            assert getattr(a.measurements, name) == pytest.approx(getattr(b.measurements, name), rel=0.01), name
        assert (a.measurements.side, a.measurements.third, a.measurements.texture) == (
            b.measurements.side,
            b.measurements.third,
            b.measurements.texture,
        )
        assert a.rating.malignancy_probability == pytest.approx(b.rating.malignancy_probability, abs=1e-3)
        assert a.guidelines["lung_rads_2022"].category == b.guidelines["lung_rads_2022"].category


def check_packaging(
    builder: SeriesBuilder, plain: Report, analyzer: Analyzer, folder: Path, order: int, package: str, **flips: bool
) -> None:
    """Store the scan in another way, and analyse it."""
    names = [f"{n}" for n in np.random.default_rng(order).permutation(len(builder.datasets))]
    if flips["columns"] or flips["rows"]:
        turn(builder, **flips)
    given_path: Any = folder / "ct"
    if package == "nested":
        builder.write(given_path, [f"{int(n) % 3}/{n}" for n in names])
    else:
        builder.write(given_path, names)
    if package == "zip":
        with zipfile.ZipFile(folder / "ct.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in given_path.iterdir():
                archive.write(file, f"a/b/{file.name}.dcm")
        given_path = folder / "ct.zip"
    if package == "one file":
        given_path = given_path / names[0]
    assert_same(analyzer.analyze(given_path), plain)


def turn(builder: SeriesBuilder, columns: bool, rows: bool) -> None:
    """Store pixels mirrored, with directions and positions that say so."""
    for data in builder.datasets:
        pixels = np.frombuffer(data.PixelData, np.int16).reshape(data.Rows, data.Columns)
        orientation = np.reshape([float(v) for v in data.ImageOrientationPatient], (2, 3))
        position = np.array([float(v) for v in data.ImagePositionPatient])
        if columns:
            pixels = pixels[:, ::-1]
            position = position + orientation[0] * float(data.PixelSpacing[1]) * (data.Columns - 1)
            orientation[0] *= -1
        if rows:
            pixels = pixels[::-1]
            position = position + orientation[1] * float(data.PixelSpacing[0]) * (data.Rows - 1)
            orientation[1] *= -1
        data.PixelData = np.ascontiguousarray(pixels).tobytes()
        data.ImageOrientationPatient = [float(v) for v in orientation.ravel()]
        data.ImagePositionPatient = [float(f"{v:.6f}") for v in position]


STORED = {
    "order": st.integers(0, 1000),
    "package": st.sampled_from(["folder", "nested", "zip", "one file"]),
    "columns": st.booleans(),
    "rows": st.booleans(),
}
QUIET = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]}


@pytest.mark.parametrize(
    ("package", "columns", "rows"), [("nested", True, False), ("zip", False, True), ("one file", True, True)]
)
def test_any_storage_of_a_series(phantom, plain, analyzer, tmp_path, package, columns, rows):
    check_packaging(series(phantom), plain, analyzer, tmp_path, 5, package, columns=columns, rows=rows)


@pytest.mark.slow
@settings(max_examples=40, **QUIET)
@given(**STORED)
def test_many_storages_of_a_series(phantom, plain, analyzer, tmp_path_factory, **how):
    check_packaging(series(phantom), plain, analyzer, tmp_path_factory.mktemp("stored"), **how)


def check_volume(phantom, plain, analyzer, folder, axes, flips, suffix) -> None:
    """The scan as a volume file whose axes are in any order and run any way."""
    image = nibabel.Nifti1Image(phantom.hu, np.diag([-1.0, -1.0, 1.0, 1.0]) @ phantom.affine_lps)
    ornt = np.array([(axes.index(n), -1 if flips[n] else 1) for n in range(3)], float)
    path = export(image.as_reoriented(ornt), folder / f"ct{suffix}")
    ct = read_ct(path)
    assert_same(analyzer.analyze(replace(ct, name="ct")), plain)


def export(image: nibabel.Nifti1Image, path: Path) -> Path:
    """The image as a volume file of the kind that the path ends with."""
    if ".nii" in path.suffixes:
        nibabel.save(image, path)
        return path
    import SimpleITK as sitk

    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    volume = sitk.GetImageFromArray(np.ascontiguousarray(np.asarray(image.dataobj).T))
    volume.SetSpacing(spacing.tolist())
    volume.SetOrigin(affine[:3, 3].tolist())
    volume.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    sitk.WriteImage(volume, str(path), useCompression=True)
    return path


VOLUMES = {
    "axes": st.sampled_from(AXES),
    "flips": st.tuples(st.booleans(), st.booleans(), st.booleans()),
    "suffix": st.sampled_from([".nii", ".nii.gz", ".nrrd", ".mha"]),
}


@pytest.mark.parametrize(
    ("axes", "flips", "suffix"),
    [
        pytest.param((0, 1, 2), (False, True, False), ".nii", id="another chord of equal length"),
        pytest.param((2, 0, 1), (True, False, True), ".nrrd", id="head to foot first"),
    ],
)
def test_any_axes_of_a_volume(phantom, plain, analyzer, tmp_path, axes, flips, suffix):
    check_volume(phantom, plain, analyzer, tmp_path, axes, flips, suffix)


@pytest.mark.slow
@settings(max_examples=40, **QUIET)
@given(**VOLUMES)
def test_many_axes_of_a_volume(phantom, plain, analyzer, tmp_path_factory, axes, flips, suffix):
    check_volume(phantom, plain, analyzer, tmp_path_factory.mktemp("axes"), axes, flips, suffix)


LOSSLESS = {
    "implicit": "1.2.840.10008.1.2",
    "deflated": "1.2.840.10008.1.2.1.99",
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
}


def transcode(source: Path, target: Path, syntax: str) -> Path:
    """Copies of plain DICOM files in another lossless transfer syntax, under names in another order."""
    target.mkdir(parents=True)
    files = sorted(source.rglob("*.dcm"))
    for number, file in zip(np.random.default_rng(5).permutation(len(files)), files, strict=True):
        data = pydicom.dcmread(file)
        if UID(syntax).is_encapsulated:
            data.compress(syntax, generate_instance_uid=False)
        data.file_meta.TransferSyntaxUID = UID(syntax)
        data.save_as(target / f"{number}", implicit_vr=syntax == LOSSLESS["implicit"], little_endian=True)
    return target


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n == "RLE" else [pytest.mark.slow]) for n in LOSSLESS])
def test_any_lossless_syntax(name, phantom, plain, analyzer, tmp_path):
    transcoded = transcode(series(phantom).write(tmp_path / "plain"), tmp_path / "other", LOSSLESS[name])
    assert_same(analyzer.analyze(transcoded), plain)


def copies(scan: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """A real scan stored in other ways: shuffled in an archive, transcoded, exported in another orientation."""
    files = sorted(scan.rglob("*.dcm"))
    with zipfile.ZipFile(folder / "any.zip", "w") as archive:
        for number, file in zip(np.random.default_rng(3).permutation(len(files)), files, strict=True):
            archive.write(file, f"{number % 7}/{number}")
    yield "zip", folder / "any.zip"
    yield "RLE", transcode(scan, folder / "rle", LOSSLESS["RLE"])
    ct = read_ct(scan)
    image = nibabel.Nifti1Image(ct.hu, np.diag([-1.0, -1.0, 1.0, 1.0]) @ ct.affine_lps)
    exports = (((1, 2, 0), (0, 1, 1), ".nii.gz"), ((2, 0, 1), (1, 0, 1), ".nrrd"), ((1, 0, 2), (1, 1, 0), ".mha"))
    for axes, flips, suffix in exports:
        ornt = np.array([(axes.index(n), -1 if flips[n] else 1) for n in range(3)], float)
        yield suffix, export(image.as_reoriented(ornt), folder / f"ct{suffix}")


@pytest.mark.slow
@pytest.mark.parametrize("scan", ["cip_ct64/dicom", "LIDC-IDRI-0001/dicom"])
def test_copies_of_a_real_scan_have_the_same_findings(scan, data_dir, tmp_path):
    """With the networks that ship: in world coordinates, within the tolerances of `assert_same`."""
    analyzer = Analyzer()
    plain = unpacked(data_dir / "ct" / scan, tmp_path / "plain")
    expected = analyzer.analyze(plain)
    for name, path in copies(plain, tmp_path):
        found = analyzer.analyze(path)
        try:
            assert_same(found, expected)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


def unpacked(scan: Path, folder: Path) -> Path:
    """The scan as plain DICOM."""
    folder.mkdir()
    for file in sorted(scan.rglob("*.dcm")):
        data = pydicom.dcmread(file)
        if data.file_meta.TransferSyntaxUID.is_encapsulated:
            data.decompress(generate_instance_uid=False)
        data.save_as(folder / file.name)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("degrees", [-15, 8, 20])
def test_a_tilted_gantry_finds_the_same_nodules(degrees, plain, analyzer, tmp_path):
    """The same chest scanned with a tilt: other voxels, so the same but for sampling."""
    from monai_lung.phantom import write_phantom

    folder = write_phantom(make_phantom(replace(SPEC, tilt_deg=degrees)), tmp_path / "tilted")
    found = analyzer.analyze(folder)
    assert found.lungs.right_ml + found.lungs.left_ml == pytest.approx(
        plain.lungs.right_ml + plain.lungs.left_ml, rel=0.05
    )
    centers = np.array([n.measurements.center_mm for n in found.nodules])
    for nodule in SPEC.nodules:
        distance = np.linalg.norm(centers - nodule.center_mm, axis=1)
        assert distance.min() < 2.5
        near = found.nodules[int(distance.argmin())].measurements
        same = min(
            plain.nodules, key=lambda n: float(np.linalg.norm(np.subtract(n.measurements.center_mm, nodule.center_mm)))
        )
        assert near.volume_mm3 == pytest.approx(same.measurements.volume_mm3, rel=0.2)
