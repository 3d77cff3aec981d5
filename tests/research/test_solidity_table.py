from __future__ import annotations

import numpy as np

from monai_lung.training.candidates import FALSE, LESION, TRUE, Candidates
from research.branching import table


def _candidates(masks: list[np.ndarray], kinds: list[int]) -> Candidates:
    n = len(masks)
    empty = np.zeros((n, 64, 64, 32))
    near = np.stack([mask.astype(np.uint8) * 255 for mask in masks])
    return Candidates(
        near_hu=empty.astype(np.int16),
        near_mask=near,
        wide_hu=empty.astype(np.int16),
        wide_mask=empty.astype(np.uint8),
        wide_inside=empty.astype(np.uint8),
        kind=np.array(kinds),
        label=np.zeros((n, 2, 1), np.float32),
        scan=np.array(["scan"] * n),
        id=np.array([LESION if kind == TRUE else "" for kind in kinds]),
        score=np.ones(n),
        center_mm=np.zeros((n, 3)),
        diameter_mm=np.full(n, 18.0),
        nodule_mm=np.full(n, np.nan),
        nodule_hu=np.full(n, np.nan),
    )


def test_a_cross_is_counted_as_branching_and_a_ball_is_not() -> None:
    x, y, z = np.meshgrid(
        *[(np.arange(k) - (k - 1) / 2) * s for k, s in ((64, 0.75), (64, 0.75), (32, 1.5))], indexing="ij"
    )
    ball = x**2 + y**2 + z**2 <= 9**2
    cross = ((x**2 + y**2 <= 9) | (x**2 + z**2 <= 9) | (y**2 + z**2 <= 9)) & (x**2 + y**2 + z**2 <= 18**2)
    lines = table(_candidates([ball, ball, cross], [TRUE, FALSE, FALSE]))
    assert next(line for line in lines if line.startswith("| 15-20")) == (
        "| 15-20 | 1 | 2 | 0, 0, 1 | 0, 0, 1 | 0, 0, 1 | 0, 0, 1 | 0, 0, 1 | 0, 0, 1 |"
    )
