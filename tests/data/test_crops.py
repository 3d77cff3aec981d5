from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from monai_lung.data.crops import RATINGS, read_crop, read_table
from monai_lung.errors import InputError, UsageError

ROW = {"id": "n0", "patient": "P1", "n_readers": "3", "diameter_mm": "6.0", **dict.fromkeys(RATINGS, "3 4 3")}
AFFINE = np.diag([-0.7, -0.7, 2.0, 1.0])


def write(folder: Path, kind: str, shape: tuple[int, ...] = (6, 6, 4), bits: int = 7, shift_mm: float = 0) -> None:
    affine = AFFINE.copy()
    affine[0, 3] += shift_mm
    values = np.full(shape, bits, np.uint8) if kind == "readers" else np.full(shape, -850, np.int16)
    (folder / kind).mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, affine), folder / kind / "n0.nii.gz")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    table_of(tmp_path, ROW)
    write(tmp_path, "images")
    write(tmp_path, "readers")
    return tmp_path


def table_of(folder: Path, *rows: dict[str, str]) -> None:
    with (folder / "nodules.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def test_a_crop_is_read_with_its_votes(folder: Path) -> None:
    (row,) = read_table(folder)
    crop = read_crop(folder, row)
    assert (row.patient, row.ratings["malignancy"], row.diameter_mm) == ("P1", (3, 4, 3), 6.0)
    assert (crop.votes.min(), crop.share.max()) == (3, 1.0)
    np.testing.assert_allclose(crop.spacing_mm, [0.7, 0.7, 2.0])


def cut_off(folder: Path) -> None:
    path = folder / "images" / "n0.nii.gz"
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda f: (f / "images" / "n0.nii.gz").unlink(), r"images/n0\.nii\.gz: can't be read"),
        (lambda f: (f / "readers" / "n0.nii.gz").unlink(), r"readers/n0\.nii\.gz: can't be read"),
        (cut_off, r"images/n0\.nii\.gz: can't be read"),
        (lambda f: write(f, "readers", (6, 6, 5)), r"n0: image \(6, 6, 4\) and readers \(6, 6, 5\)"),
        (lambda f: (write(f, "readers", (6, 6)), write(f, "images", (6, 6))), r"n0: .* same 3D shape"),
        (lambda f: write(f, "readers", shift_mm=0.5), "n0: image and readers don't lie at the same place"),
        (lambda f: write(f, "readers", bits=8), "n0: marks of reader 4 of 3"),
    ],
)
def test_a_bad_crop_is_named(folder: Path, spoil: Callable[[Path], object], reason: str) -> None:
    (row,) = read_table(folder)
    spoil(folder)
    with pytest.raises(InputError, match=reason):
        read_crop(folder, row)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"malignancy": "3 4"}, "malignancy must have a value for each reader"),
        ({"n_readers": "0"}, "must have a value for each reader"),
        ({"n_readers": "three"}, "ValueError"),
        ({"texture": "3 0 3"}, "texture 0 is off LIDC's scale"),
        ({"calcification": "6 7 6"}, "calcification 7 is off LIDC's scale"),
        ({"malignancy_median": "5.0"}, r"malignancy_median 5\.0 isn't that of the readers"),
        ({"malignancy_median": "high"}, "ValueError"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, wrong: dict[str, str], reason: str) -> None:
    good = {**ROW, "malignancy_median": "3.0"}
    table_of(tmp_path, good, {**good, **wrong})
    with pytest.raises(InputError, match=rf"nodules\.csv line 3: .*{reason}"):
        read_table(tmp_path)


def test_absent_calcification_is_six(tmp_path: Path) -> None:
    table_of(tmp_path, {**ROW, "calcification": "6 6 6"})
    assert read_table(tmp_path)[0].ratings["calcification"] == (6, 6, 6)


def test_a_folder_without_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nodules\.csv: not found"):
        read_table(tmp_path)
