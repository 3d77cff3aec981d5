"""Cross-validation folds: one file for nodule crops, slices and whole scans, split by patient.

A patient's nodules resemble each other and one nodule has up to eight marks, so only a split by patient measures what
a network does on new patients. The leaking splits, by nodule and by reader's mark, repeat published protocols; `leak`
says how much of a split is on both sides.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from monai_lung.data.ratings import malignancy_labels, size_class
from monai_lung.errors import InputError, UsageError
from monai_lung.io.output import replacing

SCHEMA = "monai-lung/folds/1"
_COLUMNS = ("id", "patient", "annotation_ids", "malignancy_median")
Unit = Literal["patient", "nodule", "mark"]
Stratum = tuple[str, ...]
Row = Mapping[str, str]
"""A row of `nodules.csv` or `slices.csv`: `id`, `patient`, `annotation_ids`, `malignancy_median`, `diameter_mm`."""


@dataclass(frozen=True)
class Folds:
    """Which fold each patient (or nodule, or mark) is in.

    Attributes:
        unit: what was dealt out; all but "patient" leak.
        fold_of: key of a unit (see `keys`) to its fold, 0 ... k - 1.
    """

    seed: int
    k: int
    unit: Unit
    fold_of: Mapping[str, int]


@dataclass(frozen=True)
class Leak:
    """The overlap of the two sides of a split.

    Attributes:
        patients: patients with marks in more than one fold.
        nodules: nodules whose patient has marks in another fold too.
        split_nodules: nodules whose own marks are in more than one fold.
    """

    patients: int
    nodules: int
    split_nodules: int

    def __str__(self) -> str:
        if not self.patients:
            return "no patient is in two folds"
        return (
            f"this split leaks: {self.patients} patients with {self.nodules} nodules are in more than one fold, "
            f"{self.split_nodules} nodules are themselves in more than one; its figures do not hold for new patients"
        )


def keys(row: Row, unit: Unit) -> tuple[str, ...]:
    """Keys of the units of one row: the patient, the nodule's id, or `id/annotation` for each reader's mark.

    A scan (`table` "scans") is of a patient, and no nodule: by nodule or mark it has none.
    """
    if unit == "patient":
        return (row["patient"],)
    if row.get("table") == "scans":
        return ()
    if unit == "nodule":
        return (row["id"],)
    return tuple(f"{row['id']}/{annotation}" for annotation in row["annotation_ids"].split())


def make_folds(rows: Iterable[Row], k: int = 5, seed: int = 0, unit: Unit = "patient") -> Folds:
    """Deal patients (or nodules, or marks) into k folds, stratified by malignancy and size.

    Greedy, the units with most nodules first: each goes to the fold that keeps the counts of each stratum (table x
    malignancy below, at or above 3 x size class) and of the units most even. The order among equals is a hash of the
    seed and the key, so the same input gives the same folds on every machine.

    Args:
        rows: of one nodule table or several; a nodule that is in two tables counts in both.
        k: number of folds, at least 2.
        seed: another seed, other folds.
        unit: "patient"; "nodule" and "mark" leak.

    Raises:
        UsageError: k is below 2, or above the number of units; there is only one unit.
    """
    strata: dict[str, Counter[Stratum]] = defaultdict(Counter)
    for row in rows:
        for key in keys(row, unit):
            strata[key][_stratum(row)] += 1
    for counts in strata.values():
        counts[("unit",)] = 1
    if len(strata) < 2:
        raise UsageError(f"{len(strata)} {unit} can't be split: give two or more")
    if not 2 <= k <= len(strata):
        choice = f"2 to {len(strata)}" if len(strata) > 2 else "2"
        raise UsageError(f"{k} folds of {len(strata)} {unit}s are not possible: choose {choice}")
    order = sorted(strata, key=lambda key: (-strata[key].total(), _hash(seed, key)))
    totals = sum(strata.values(), Counter[Stratum]())
    filled: list[Counter[Stratum]] = [Counter() for _ in range(k)]
    fold_of = {}
    for key in order:
        fold = min(range(k), key=lambda f: (_unevenness(filled[f], strata[key], totals), f))
        filled[fold] += strata[key]
        fold_of[key] = fold
    return Folds(seed, k, unit, dict(sorted(fold_of.items())))


def leak(folds: Folds, rows: Iterable[Row]) -> Leak:
    """Count what stands on both sides of a split."""
    of_patient: dict[str, set[int]] = defaultdict(set)
    of_nodule: dict[tuple[str, str], set[int]] = defaultdict(set)
    for row in rows:
        found = {folds.fold_of[key] for key in keys(row, folds.unit)}
        of_patient[row["patient"]] |= found
        if row.get("table") != "scans":
            of_nodule[row["patient"], row["id"]] |= found
    return Leak(
        patients=sum(len(found) > 1 for found in of_patient.values()),
        nodules=sum(len(of_patient[patient]) > 1 for patient, _ in of_nodule),
        split_nodules=sum(len(found) > 1 for found in of_nodule.values()),
    )


def write_folds(folds: Folds, path: Path | str) -> None:
    """Write the folds as JSON: `schema`, `seed`, `k` and `patients` (or `nodules`, `marks`): key to fold.

    Raises:
        OutputError: no space, no permission.
    """
    content = {"schema": SCHEMA, "seed": folds.seed, "k": folds.k, f"{folds.unit}s": dict(folds.fold_of)}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=0) + "\n", encoding="utf-8")


def read_folds(path: Path | str) -> Folds:
    """Read a fold file.

    Raises:
        UsageError: no such file.
        InputError: no JSON, another schema, or a fold outside 0 ... k - 1.
    """
    if not Path(path).is_file():
        raise UsageError(f"{path}: no such fold file; write one with `monai-lung lidc split`")
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a fold file ({error}): write one with `monai-lung lidc split`") from None
    content = content if isinstance(content, dict) else {}
    units: list[Unit] = [unit for unit in get_args(Unit) if isinstance(content.get(f"{unit}s"), dict)]
    if len(units) != 1 or content.get("schema") != SCHEMA:
        raise InputError(f"{path} is not a fold file of schema {SCHEMA}: write one with `monai-lung lidc split`")
    k, fold_of = content.get("k"), content[f"{units[0]}s"]
    if not isinstance(k, int) or any(fold not in range(k) for fold in fold_of.values()):
        raise InputError(f"{path}: a fold is outside 0 ... k - 1: write the file again with `monai-lung lidc split`")
    return Folds(content.get("seed", 0), k, units[0], fold_of)


def patient_folds(path: Path | str) -> dict[str, int]:
    """Patient to fold, from a fold file.

    Raises:
        UsageError: no such file.
        InputError: the file can't be read, or splits by nodule or mark.
    """
    folds = read_folds(path)
    if folds.unit != "patient":
        raise InputError(f"{path} splits by {folds.unit}, which leaks: give a fold file by patient")
    return dict(folds.fold_of)


def crop_rows(folder: Path | str) -> list[dict[str, str]]:
    """Rows of a crop folder's `nodules.csv`, with `table` set to "crops"."""
    return [{**row, "table": "crops"} for row in _table(Path(folder) / "nodules.csv")]


def slice_rows(folder: Path | str) -> list[dict[str, str]]:
    """Rows of a slice folder's `slices.csv`, with `table` "slices" and `diameter_mm` of the circle of the same area.

    The area is what at least half of the readers on the slice marked, or all of their marks where that's nothing.

    Raises:
        UsageError: `folder` lacks a file.
        InputError: table or images can't be read, or don't fit each other.
    """
    import numpy as np

    from monai_lung.data.slices import read_slices

    table = _table(Path(folder) / "slices.csv")
    slices = read_slices(folder, {row["patient"] for row in table})
    rows = []
    for row, nodule in zip(table, slices, strict=True):
        here = np.unpackbits(nodule.readers[..., None], axis=-1).sum(-1)
        try:
            readers = max(int(row.get("readers_on_slice") or nodule.row.n_readers), 1)
        except ValueError as error:
            raise InputError(f"{folder}: slice {row['id']}: readers_on_slice is not a number ({error})") from error
        pixels = int((2 * here >= readers).sum()) or int((here > 0).sum())
        diameter_mm = 2 * math.sqrt(pixels / math.pi) * nodule.spacing_mm
        rows.append({**row, "table": "slices", "diameter_mm": f"{diameter_mm:.2f}"})
    return rows


def table_rows(path: Path | str) -> list[dict[str, str]]:
    """Rows of all that a path holds: crops, slices, the scans of `lidc prepare`, or a table of `lidc index`.

    Raises:
        UsageError: no such file or folder.
        InputError: it holds none of them, or a table lacks a column.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder; give one with nodules.csv, slices.csv or manifest.csv")
    if path.is_file():
        return [{**row, "table": "index"} for row in _table(path)]
    rows: list[dict[str, str]] = []
    if (path / "nodules.csv").is_file():
        rows += crop_rows(path)
    if (path / "slices.csv").is_file():
        rows += slice_rows(path)
    if (path / "manifest.csv").is_file():
        rows += [
            {"id": row["scan_id"], "patient": row["patient"], "annotation_ids": "", "table": "scans"}
            for row in _table(path / "manifest.csv", ("scan_id", "patient", "status"))
            if row["status"] == "done"
        ]
    if not rows:
        raise InputError(f"{path} holds no nodule: give a folder with nodules.csv, slices.csv or manifest.csv")
    return rows


def _table(path: Path, needed: Sequence[str] = _COLUMNS) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} can't be read ({error}): give a folder that holds it") from None
    lacking = [name for row in rows for name in needed if row.get(name) is None]
    if lacking:
        raise InputError(f"{path} is not a table of nodules or scans: it lacks {lacking[0]}")
    return rows


def _stratum(row: Row) -> Stratum:
    if "malignancy_median" not in row:
        return (row.get("table", ""),)
    try:
        (malignant,) = malignancy_labels([float(row["malignancy_median"])], "median")
        return row.get("table", ""), str(malignant), size_class(float(row["diameter_mm"]))
    except (KeyError, ValueError) as error:
        raise InputError(
            f"nodule {row['id']}: {type(error).__name__} {error}; a table with malignancy_median needs numbers in it "
            "and in diameter_mm"
        ) from error


def _unevenness(filled: Counter[Stratum], added: Counter[Stratum], totals: Counter[Stratum]) -> float:
    """Growth of the sum over strata of (count in the fold)^2 / total, the chi-square distance from even folds."""
    return sum(n * (2 * filled[stratum] + n) / totals[stratum] for stratum, n in added.items())


def _hash(seed: int, key: str) -> str:
    return hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()
