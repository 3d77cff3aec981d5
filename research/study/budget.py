"""How long each network of the study is trained, and how wide it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """How the networks of one task are trained, all alike.

    Attributes:
        steps: optimizer steps a fold.
        batch: patches a step.
        spacing_mm, patch: voxel size, and voxels of a patch.
    """

    steps: int
    batch: int
    spacing_mm: tuple[float, float, float]
    patch: tuple[int, int, int]


@dataclass(frozen=True)
class Budget:
    """The budget of the study.

    Attributes:
        widths: of each network, by its name; chosen for comparable cost where steps are dear.
        ablation_folds: folds of the ablations; all others run on all.
        copies: lungs with nodules pasted into them.
    """

    name: str
    segmentation: Task
    rating: Task
    slices: Task
    widths: Mapping[str, int]
    ablation_folds: int
    copies: int


CPU = Budget(
    name="cpu",
    segmentation=Task(400, 4, (1.0, 1.0, 1.25), (32, 32, 24)),
    rating=Task(200, 8, (1.0, 1.0, 2.0), (32, 32, 16)),
    slices=Task(900, 32, (0.75, 0.75, 1.0), (48, 48, 1)),
    widths={
        "res-unet": 16,
        "unet": 24,
        "paper": 6,
        "v-net": 4,
        "fcn": 8,
        "pspnet": 16,
        "mss-unet": 6,
        "dyn-unet": 6,
        "slices": 32,
        "nodule-resnet": 16,
        "resnet50": 16,
    },
    ablation_folds=1,
    copies=8,
)
FULL = Budget(
    name="full",
    segmentation=Task(20_000, 16, (0.625, 0.625, 1.25), (48, 48, 24)),
    rating=Task(5_000, 32, (0.75, 0.75, 1.5), (48, 48, 24)),
    slices=Task(5_000, 64, (0.75, 0.75, 1.0), (48, 48, 1)),
    widths={
        "res-unet": 32,
        "unet": 48,
        "paper": 16,
        "v-net": 16,
        "fcn": 32,
        "pspnet": 32,
        "mss-unet": 32,
        "dyn-unet": 32,
        "slices": 32,
        "nodule-resnet": 32,
        "resnet50": 64,
    },
    ablation_folds=5,
    copies=48,
)
BUDGETS = {budget.name: budget for budget in (CPU, FULL)}
