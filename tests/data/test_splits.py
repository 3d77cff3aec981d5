"""Folds: no patient on two sides, even strata, the shipped file is what the code writes, and bad files."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from monai_lung.data import splits
from monai_lung.errors import InputError, UsageError

SHIPPED = Path(__file__).resolve().parents[2] / "bundles/lung_nodule_segmentation/configs/folds.json"


@pytest.fixture
def rows() -> list[dict[str, str]]:
    """300 nodules of 120 patients, each of 1 to 4 marks; the first patient has 12 nodules."""
    random.seed(7)
    rows = []
    for n in range(300):
        patient = f"P{0 if n < 12 else random.randrange(1, 120):03d}"
        marks = " ".join(str(1000 + 10 * n + i) for i in range(random.randint(1, 4)))
        median, diameter_mm = random.choice(["1.5", "3.0", "4.5"]), str(random.uniform(3, 40))
        rows.append(
            {
                "id": f"{patient}_n{n}",
                "patient": patient,
                "annotation_ids": marks,
                "malignancy_median": median,
                "diameter_mm": diameter_mm,
            }
        )
    return rows


def test_every_patient_has_a_fold_and_every_fold_patients(rows):
    folds = splits.make_folds(rows, k=5, seed=3)
    assert folds.fold_of.keys() == {row["patient"] for row in rows}  # each has one fold
    assert set(folds.fold_of.values()) == set(range(5))
    assert splits.leak(folds, rows) == splits.Leak(0, 0, 0)


def test_strata_and_patients_are_even(rows):
    folds = splits.make_folds(rows, k=4, seed=0)
    malignant = Counter(folds.fold_of[row["patient"]] for row in rows if row["malignancy_median"] == "4.5")
    large = Counter(folds.fold_of[row["patient"]] for row in rows if 10 <= float(row["diameter_mm"]) < 30)
    patients = Counter(folds.fold_of.values())
    for counts in (malignant, large):
        assert max(counts.values()) - min(counts.values()) <= 4
    assert max(patients.values()) - min(patients.values()) <= 4


def test_the_seed_decides_and_the_order_of_rows_does_not(rows):
    assert splits.make_folds(rows, seed=1) == splits.make_folds(rows[::-1], seed=1)
    assert splits.make_folds(rows, seed=1).fold_of != splits.make_folds(rows, seed=2).fold_of


def test_leaking_splits_say_what_leaks(rows):
    by_nodule = splits.leak(splits.make_folds(rows, unit="nodule"), rows)
    by_mark = splits.leak(splits.make_folds(rows, unit="mark"), rows)
    assert by_nodule.split_nodules == 0 < by_nodule.patients
    assert by_mark.split_nodules > 100
    assert f"{by_nodule.patients} patients with {by_nodule.nodules} nodules" in str(by_nodule)


def test_leak_by_hand():
    rows = [
        {"id": "A_n0", "patient": "A", "annotation_ids": "1 2"},
        {"id": "A_n1", "patient": "A", "annotation_ids": "3"},
        {"id": "B_n0", "patient": "B", "annotation_ids": "4"},
    ]
    by_nodule = splits.Folds(0, 2, "nodule", {"A_n0": 0, "A_n1": 1, "B_n0": 0})
    assert splits.leak(by_nodule, rows) == splits.Leak(patients=1, nodules=2, split_nodules=0)
    by_mark = splits.Folds(0, 2, "mark", {"A_n0/1": 0, "A_n0/2": 1, "A_n1/3": 1, "B_n0/4": 1})
    assert splits.leak(by_mark, rows) == splits.Leak(patients=1, nodules=2, split_nodules=1)


@pytest.mark.parametrize("unit", ["patient", "nodule", "mark"])
def test_file_round_trip(rows, tmp_path, unit):
    folds = splits.make_folds(rows, seed=5, unit=unit)
    splits.write_folds(folds, tmp_path / "folds.json")
    assert splits.read_folds(tmp_path / "folds.json") == folds
    if unit == "patient":
        assert splits.patient_folds(tmp_path / "folds.json") == folds.fold_of
    else:
        with pytest.raises(InputError, match="leaks"):
            splits.patient_folds(tmp_path / "folds.json")


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"schema": "monai-lung/folds/1", "k": 2}',
        '{"schema": "monai-lung/folds/2", "k": 2, "patients": {}}',
        '{"schema": "monai-lung/folds/1", "k": 2, "patients": ["A"]}',
        '{"schema": "monai-lung/folds/1", "k": 2, "patients": {"A": 2}}',
        '{"schema": "monai-lung/folds/1", "k": 2, "patients": {"A": 0}, "nodules": {"A_n0": 1}}',
    ],
)
def test_a_broken_file_is_refused(tmp_path, content):
    (tmp_path / "folds.json").write_text(content)
    with pytest.raises(InputError, match=r"folds\.json.*lidc split"):
        splits.read_folds(tmp_path / "folds.json")


def test_wrong_use_is_refused(rows, tmp_path):
    with pytest.raises(UsageError, match="1000 folds"):
        splits.make_folds(rows, k=1000)
    with pytest.raises(InputError, match="can't be read"):
        splits.crop_rows(tmp_path)


def test_shipped_folds_are_whole():
    content = json.loads(SHIPPED.read_text())
    assert content["k"] == 5
    assert set(splits.patient_folds(SHIPPED).values()) == set(range(5))


def test_shipped_folds_come_from_the_code_and_hold_every_patient(data_dir, tmp_path):
    crops, slices = splits.crop_rows(data_dir / "lidc_crops"), splits.slice_rows(data_dir / "lidc_slices")
    splits.write_folds(splits.make_folds(crops + slices, k=5, seed=0), tmp_path / "folds.json")
    assert (tmp_path / "folds.json").read_bytes() == SHIPPED.read_bytes()
    folds = splits.read_folds(SHIPPED)
    assert len(folds.fold_of) == len({row["patient"] for row in crops + slices}) == 732
    assert folds.fold_of.keys() == {row["patient"] for row in crops + slices}
    assert {"LIDC-IDRI-0001", "LIDC-IDRI-0003"} <= folds.fold_of.keys()


def test_slice_diameters_agree_with_the_crops(data_dir):
    volumes = {row["id"]: float(row["diameter_mm"]) for row in splits.crop_rows(data_dir / "lidc_crops")}
    ratios = sorted(
        float(row["diameter_mm"]) / volumes[row["id"]]
        for row in splits.slice_rows(data_dir / "lidc_slices")
        if row["id"] in volumes
    )
    assert len(ratios) == 839
    # The largest section of a sphere has the sphere's diameter.
    assert 0.9 < ratios[len(ratios) // 2] < 1.1


def slice_folder(folder: Path, columns: dict[str, str]) -> Path:
    """Two slices of two patients, a disc of 81 pixels each, as docs/how-to/train.md describes the format."""
    from monai_lung.data.crops import RATINGS

    rows = [{"id": f"n{n}", "patient": f"P{n}", "n_readers": "1", "spacing_mm": "0.7"} for n in range(2)]
    names = [*rows[0], *RATINGS, *columns]
    lines = [",".join([*row.values(), *["3"] * len(RATINGS), *columns.values()]) for row in rows]
    (folder / "slices.csv").write_text("\n".join([",".join(names), *lines]) + "\n")
    x, y = np.indices((71, 71)) - 35
    disc = np.repeat((x**2 + y**2 <= 25)[None], 2, axis=0)
    np.savez(folder / "slices.npz", image_hu=np.where(disc, 0, -850).astype(np.int16), readers=disc.astype(np.uint8))
    return folder


def test_slices_as_they_are_documented_are_split(tmp_path):
    rows = splits.table_rows(slice_folder(tmp_path, {"annotation_ids": "1", "malignancy_median": "3"}))
    assert [row["diameter_mm"] for row in rows] == ["7.11", "7.11"]
    assert set(splits.make_folds(rows, k=2).fold_of.values()) == {0, 1}


def test_damaged_slices_are_named(tmp_path):
    folder = slice_folder(tmp_path, {"annotation_ids": "1", "malignancy_median": "3"})
    (folder / "slices.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InputError, match=r"slices\.npz: can't be read"):
        splits.table_rows(folder)


def test_a_median_without_a_diameter_is_named(rows):
    del rows[3]["diameter_mm"]
    with pytest.raises(InputError, match=f"{rows[3]['id']}.*diameter_mm"):
        splits.make_folds(rows)


def test_what_is_not_there_is_wrong_usage(tmp_path):
    for read in (splits.read_folds, splits.table_rows):
        with pytest.raises(UsageError, match="gone: no such"):
            read(tmp_path / "gone")
