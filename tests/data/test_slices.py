from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from monai_lung.data.crops import RATINGS
from monai_lung.data.slices import read_slices
from monai_lung.errors import InputError, UsageError

ROW = {"patient": "P1", "n_readers": "2", "spacing_mm": "0.7", **dict.fromkeys(RATINGS, "3 4")}


def _folder(folder: Path, rows: list[dict[str, str]], n: int) -> Path:
    with (folder / "slices.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "row", *ROW])
        writer.writeheader()
        writer.writerows({"id": f"n{k}", **row} for k, row in enumerate(rows))
    hu = np.arange(n, dtype=np.int16)[:, None, None] * np.ones((1, 9, 9), np.int16)
    np.savez(folder / "slices.npz", image_hu=hu, readers=np.full((n, 9, 9), 3, np.uint8))
    return folder


def test_slices_of_the_patients_come_with_their_own_pixels(tmp_path: Path) -> None:
    folder = _folder(tmp_path, [ROW, {**ROW, "patient": "P2"}, ROW], 3)
    first, second = read_slices(folder, {"P1"})
    assert (first.row.id, second.row.id, second.row.n_readers, second.spacing_mm) == ("n0", "n2", 2, 0.7)
    assert (first.hu.max(), second.hu.min()) == (0, 2)
    assert second.row.ratings["texture"] == (3, 4)


def test_the_column_row_says_which_image(tmp_path: Path) -> None:
    rows = [{**ROW, "row": "1"}, {**ROW, "row": "0"}]
    first, second = read_slices(_folder(tmp_path, rows, 2), {"P1"})
    assert (first.hu.max(), second.hu.max()) == (1, 0)
    with pytest.raises(InputError, match=r"line 2.*out of range"):
        read_slices(_folder(tmp_path, [{**ROW, "row": "2"}, ROW], 2), {"P1"})


def test_damage_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"slices\.csv: not found"):
        read_slices(tmp_path, {"P1"})
    with pytest.raises(InputError, match="2 rows, images"):
        read_slices(_folder(tmp_path, [ROW, ROW], 3), {"P1"})
    for wrong in ({"n_readers": "many"}, {"n_readers": "3"}, {"n_readers": "0"}, {"spacing_mm": "-1"}):
        with pytest.raises(InputError, match=r"slices\.csv line 3"):
            read_slices(_folder(tmp_path, [ROW, {**ROW, **wrong}], 2), {"P1"})
    (tmp_path / "slices.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InputError, match=r"slices\.npz: can't be read"):
        read_slices(tmp_path, {"P1"})


def test_real_slices_are_the_crops_too(data_dir: Path) -> None:
    (known,) = [s for s in read_slices(data_dir / "lidc_slices", {"LIDC-IDRI-0001"}) if s.row.n_readers >= 3]
    assert known.hu.shape == (71, 71)
    assert known.hu[np.unpackbits(known.readers[..., None], axis=-1).sum(-1) >= 3].mean() > -200
