"""Ignite handler that scores the masks of an evaluation on crops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from numpy.typing import NDArray

from monai_lung.bundle.cases import item_pairs
from monai_lung.data.crops import CropRow
from monai_lung.data.ratings import SIZE_CLASSES, size_class, texture_class
from monai_lung.metrics.figures import figure, mean_of, write_metrics

THREE_READERS = 3
"""The paper's truth: voxels that at least so many readers marked."""
_TEXTURES = ("solid", "part-solid", "ground-glass")


@dataclass(frozen=True)
class Overlap:
    """How well a mask agrees with the readers.

    Attributes:
        dice: 3D, against at least half of the readers.
        dice_three_readers: 3D, against at least three readers, NaN where they agree on no voxel.
        dice_largest_slice: in the slice where half of the readers marked most.
        dice_slices: mean over the slices where half of the readers or the mask have a voxel.
        precision, recall: of voxels, against at least half of the readers.
        diameter_mm: of the sphere of the volume that half of the readers agree on.
    """

    dice: float
    dice_three_readers: float
    dice_largest_slice: float
    dice_slices: float
    precision: float
    recall: float
    diameter_mm: float


def overlap(mask: NDArray[np.bool_], votes: NDArray[np.uint8], n_readers: int, voxel_mm3: float) -> Overlap:
    """Score a mask (X, Y, Z) against the readers' votes on the same grid; an empty mask scores 0."""
    truth = 2 * votes.astype(int) >= n_readers
    three = votes >= THREE_READERS
    both = mask & truth
    area = truth.sum((0, 1))
    largest = int(area.argmax())
    used = [k for k in range(mask.shape[2]) if area[k] or mask[..., k].any()]
    return Overlap(
        dice=dice(mask, truth),
        dice_three_readers=dice(mask, three) if three.any() else float("nan"),
        dice_largest_slice=dice(mask[..., largest], truth[..., largest]),
        dice_slices=fmean(dice(mask[..., k], truth[..., k]) for k in used) if used else 0.0,
        precision=float(both.sum() / mask.sum()) if mask.any() else 0.0,
        recall=float(both.sum() / truth.sum()) if truth.any() else 0.0,
        diameter_mm=float((6 * truth.sum() * voxel_mm3 / np.pi) ** (1 / 3)),
    )


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Dice of two masks; 0 where either is empty."""
    total = a.sum() + b.sum()
    return float(2 * (a & b).sum() / total) if total else 0.0


class SegmentationScores:
    """Ignite handler: scores each crop's `pred` and writes `metrics.json` at the end.

    Args:
        rows: of the crops, in the order that items name.
        output_dir: where to.
        weights: file name to sha256 of what was evaluated.
        seed: of the bootstrap.
    """

    def __init__(
        self, rows: Sequence[CropRow], output_dir: Path | str, weights: Mapping[str, str], seed: int = 0
    ) -> None:
        self.rows, self.output_dir, self.weights, self.seed = rows, Path(output_dir), dict(weights), seed
        self._scored: list[tuple[CropRow, Overlap]] = []

    def attach(self, engine: Engine) -> None:
        """Score after each iteration, write when the run is complete."""
        engine.add_event_handler(Events.STARTED, lambda: self._scored.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def __call__(self, engine: Engine) -> None:
        """Score the items of one iteration."""
        for item, output in item_pairs(engine):
            row = self.rows[int(item["row"])]
            voxel_mm3 = abs(float(np.linalg.det(output["image"].affine[:3, :3].cpu().numpy())))
            mask = output["pred"][0].cpu().numpy() > 0
            self._scored.append((row, overlap(mask, item["votes"][0].cpu().numpy(), row.n_readers, voxel_mm3)))

    def write(self) -> None:
        """Write `metrics.json`.

        Raises:
            OutputError: the file can't be written.
        """
        protocol = {
            "seed": "the crop's centre",
            "truth": "voxels that at least half of the readers marked, on the crop's own grid; a mean over nodules",
            "dice_three_readers": "truth is the voxels that at least three readers marked",
            "empty": "a nodule without a prediction counts 0",
        }
        content = {"task": "segmentation", "protocol": protocol, "weights": self.weights, "seed": self.seed}
        write_metrics(self.output_dir / "metrics.json", {**content, "figures": self.figures()})

    def figures(self) -> dict[str, dict[str, Any]]:
        """Figure -> group of nodules -> value with interval."""
        names = ("dice", "dice_three_readers", "dice_largest_slice", "dice_slices", "precision", "recall")
        result: dict[str, dict[str, Any]] = {name: {} for name in names}
        for group, members in self._groups().items():
            patients = [row.patient for row, _ in members]
            for name in names if members else ():
                values = np.array([getattr(score, name) for _, score in members])
                known = ~np.isnan(values)
                if known.any():
                    chosen = [p for p, k in zip(patients, known, strict=True) if k]
                    result[name][group] = figure(mean_of(values[known]), chosen, seed=self.seed)
        return result

    def _groups(self) -> dict[str, list[tuple[CropRow, Overlap]]]:
        sizes = [row.diameter_mm or score.diameter_mm for row, score in self._scored]
        pairs = list(zip(self._scored, sizes, strict=True))
        groups = {"all": list(self._scored)}
        groups |= {name: [s for s, mm in pairs if size_class(mm) == name] for name in SIZE_CLASSES}
        groups["<= 10 mm"] = [s for s, mm in pairs if mm <= 10]
        groups["> 10 mm"] = [s for s, mm in pairs if mm > 10]
        for texture in _TEXTURES:
            groups[texture] = [
                s
                for s in self._scored
                if s[0].ratings.get("texture") and texture_class(s[0].ratings["texture"]) == texture
            ]
        return groups
