"""The data of the study, and where its predictions are kept: tables are made from them again without training."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monai_lung.bundle.cases import ct_of
from monai_lung.data.crops import Crop, read_crop, read_table
from monai_lung.data.slices import NoduleSlice, read_slices
from monai_lung.data.splits import patient_folds
from monai_lung.errors import InputError
from monai_lung.io.output import replacing
from monai_lung.model import CT
from monai_lung.weights import bundle_dir, declared_weights
from research.study.budget import CPU, Budget, Task


@dataclass(frozen=True, eq=False)
class Study:
    """Data, folder of results, budget and device.

    Attributes:
        data: folder with `lidc_crops`, `lidc_slices`, and `ct` for whole scans.
        out: results; what is there isn't made again.
        fold_file: folds by patient.
    """

    data: Path
    out: Path
    budget: Budget = CPU
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    fold_file: Path = field(default_factory=lambda: bundle_dir("lung_nodule_segmentation") / "configs" / "folds.json")
    seed: int = 0

    @property
    def crop_folder(self) -> Path:
        """The folder of crops."""
        return self.data / "lidc_crops"

    @cached_property
    def crops(self) -> list[Crop]:
        """All nodules, in memory (840 take 34 MB).

        Raises:
            InputError: a patient is in no fold, or a crop is damaged.
            UsageError: there are none.
        """
        crops = [read_crop(self.crop_folder, row) for row in read_table(self.crop_folder)]
        lacking = {c.row.patient for c in crops} - set(self.folds)
        if lacking:
            raise InputError(f"{self.fold_file}: patient {min(lacking)} is in no fold; make the fold file again")
        return crops

    @cached_property
    def slices(self) -> list[NoduleSlice]:
        """The slices of all patients that are in a fold.

        Raises:
            UsageError: there are none.
            InputError: they are damaged.
        """
        return read_slices(self.data / "lidc_slices", self.folds)

    @cached_property
    def folds(self) -> dict[str, int]:
        """Patient to fold."""
        return patient_folds(self.fold_file)

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return max(self.folds.values()) + 1

    def fold_of(self, crop: Crop) -> int:
        """Fold of a nodule's patient."""
        return self.folds[crop.row.patient]

    def split(self, fold: int) -> tuple[list[Crop], list[Crop]]:
        """Nodules to train with, and those held out."""
        train = [c for c in self.crops if self.fold_of(c) != fold]
        return train, [c for c in self.crops if self.fold_of(c) == fold]

    def path(self, section: str, name: str, fold: int | str) -> Path:
        """File of a network's predictions for one fold."""
        return self.out / self.budget.name / section / name / f"fold-{fold}.npz"


def trained_key(task: Task, width: int) -> dict[str, float]:
    """The facts that tell a network's training from one by another budget."""
    return {"steps": task.steps, "width": width, "budget": float(zlib.crc32(repr((task, width)).encode()))}


@lru_cache
def installed_key() -> float:
    """The identity of the installed weights and their settings, as a fact of `Predictions`: bits of a digest."""
    digest = hashlib.sha256(repr(sorted(declared_weights().items())).encode())
    for bundle in ("lung_nodule_segmentation", "lung_nodule_classification"):
        config = json.loads((bundle_dir(bundle) / "configs" / "inference.json").read_text())
        decisive = {key: value for key, value in config.items() if key.endswith(("_def", "_settings"))}
        digest.update(json.dumps(decisive, sort_keys=True).encode())
    return float(int(digest.hexdigest()[:12], 16))


@dataclass(frozen=True)
class Predictions:
    """One fold of one network.

    Attributes:
        ids: of the nodules (or marks), in the order of `values`.
        values: arrays (n, ...) by name.
        loss: of each training step.
        facts: `steps`, `width`, `seconds`, `parameters`, and what else is worth a column.
    """

    ids: Sequence[str]
    values: Mapping[str, NDArray[Any]]
    loss: Sequence[float] = ()
    facts: Mapping[str, float] = field(default_factory=dict)

    @staticmethod
    def current(path: Path, facts: Mapping[str, float]) -> Predictions | None:
        """The content of `path`, if it has these facts: made with other steps or weights, it counts as missing.

        Raises:
            InputError: the file is damaged.
        """
        found = Predictions.load(path) if path.is_file() else None
        return found if found and facts.items() <= found.facts.items() else None

    def save(self, path: Path) -> None:
        """Write them, whole or not at all.

        Raises:
            OutputError: they can't be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {f"value/{k}": v for k, v in self.values.items()}
        arrays |= {f"fact/{k}": np.array(v) for k, v in self.facts.items()}
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, ids=np.array(self.ids), loss=np.array(self.loss, np.float32), **arrays)

    @staticmethod
    def load(path: Path) -> Predictions:
        """Read what `save` wrote.

        Raises:
            InputError: the file is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                values = {k[6:]: data[k] for k in data if k.startswith("value/")}
                facts = {k[5:]: float(data[k]) for k in data if k.startswith("fact/")}
                return Predictions([str(i) for i in data["ids"]], values, data["loss"].tolist(), facts)
        except Exception as error:  # zipfile, zlib, KeyError and ValueError
            raise InputError(f"{path}: no predictions ({error}); remove it, and the fold is done again") from error


def crop_ct(crop: Crop) -> CT:
    """The crop as a CT."""
    return ct_of(torch.from_numpy(crop.hu), torch.from_numpy(crop.affine_ras))
