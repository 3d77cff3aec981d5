"""Sliding windows that lie where the lungs are, instead of on a fixed grid over the whole image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from scipy import ndimage
from torch import Tensor

from monai_lung.grid import Box

NOTHING = -20.0
"""Logit of what no window covers."""


class LungWindowInferer:
    """A network over the windows of `lung_windows`, blended with MONAI's Gaussian weights.

    The work of `monai.inferers.SlidingWindowInferer` with about half of its windows, for a network whose answer is only
    wanted in and at the lungs. It is called as MONAI's inferers are, but doesn't import them: MONAI takes longer to
    import than a CT's lungs to find.

    Args:
        inside: bool (X, Y, Z), where an answer is wanted, on the grid of the whole image.
        window: voxels of a window; the image is at least as large.
        overlap: share of the window's length that neighbours share at least.
        batch: windows at a time.
        progress: called with the share that is done, 0...1.
    """

    def __init__(
        self,
        inside: Tensor,
        window: Sequence[int],
        overlap: float,
        *,
        batch: int = 4,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self.window = (int(window[0]), int(window[1]), int(window[2]))
        self.boxes = lung_windows(inside, self.window, overlap)
        self.batch, self.progress = batch, progress

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Logits float32 (1, 1, X, Y, Z) of `inputs` (1, C, X, Y, Z); `NOTHING` where no window lies."""
        weight = gaussian(self.window).to(inputs.device)
        total = torch.zeros((1, 1, *inputs.shape[2:]), dtype=torch.float32, device=inputs.device)
        weights = torch.zeros_like(total)
        for n in range(0, len(self.boxes), self.batch):
            boxes = self.boxes[n : n + self.batch]
            windows = torch.cat([inputs[(..., *box)] for box in boxes])
            logits = network(windows.contiguous(memory_format=torch.channels_last_3d), *args, **kwargs).float()
            for one, box in zip(logits, boxes, strict=True):
                total[(..., *box)] += one * weight
                weights[(..., *box)] += weight
            if self.progress:
                self.progress(min(1.0, (n + self.batch) / len(self.boxes)))
        return torch.where(weights > 0, total / weights.clamp(min=1e-6), NOTHING)


def gaussian(window: tuple[int, int, int]) -> Tensor:
    """Weights float32 (X, Y, Z) of a window's voxels.

    Those of `monai.data.utils.compute_importance_map(window, mode="gaussian")`: standard deviations of an eighth of the
    sides, nowhere less than 0.001.
    """
    steps = (torch.arange(-(n - 1) / 2, (n - 1) / 2 + 1, dtype=torch.float32, device="cpu") for n in window)
    x, y, z = (torch.exp(step**2 / (-2 * (n / 8) ** 2)) for step, n in zip(steps, window, strict=True))
    return (x[:, None, None] * y[:, None] * z).clamp(min=1e-3)


def lung_windows(inside: Tensor, window: tuple[int, int, int], overlap: float) -> list[Box]:
    """Windows that cover `inside` (bool, (X, Y, Z)): layers along z, and in each the bounds of either lung.

    Where one box around both lungs of a layer needs no more windows than one around each, that one is taken.
    """
    image = (int(inside.shape[0]), int(inside.shape[1]), int(inside.shape[2]))
    boxes: list[Box] = []
    for z in _steps(inside.any(0).any(0), window[2], overlap):
        layer = inside[..., z].any(-1)
        if not layer.any():
            continue
        parts, _ = ndimage.label(layer.numpy())
        apart = [b for part in ndimage.find_objects(parts) for b in _cover(part, image, window, overlap)]
        together = _cover(ndimage.find_objects(layer.numpy().astype(int))[0], image, window, overlap)
        for x, y in together if len(together) <= len(apart) else apart:
            if inside[x, y, z].any():
                boxes.append((x, y, z))
    return boxes


def _cover(
    part: tuple[slice, slice], image: tuple[int, int, int], window: tuple[int, int, int], overlap: float
) -> list[tuple[slice, slice]]:
    sides = [_spread(p.start, p.stop, n, w, overlap) for p, n, w in zip(part, image[:2], window[:2], strict=True)]
    return [(x, y) for x in sides[0] for y in sides[1]]


def _steps(wanted: Tensor, window: int, overlap: float) -> list[slice]:
    index = torch.nonzero(wanted).flatten()
    if not len(index):
        return []
    return _spread(int(index[0]), int(index[-1]) + 1, len(wanted), window, overlap)


def _spread(start: int, stop: int, length: int, window: int, overlap: float) -> list[slice]:
    """Windows evenly over `start`...`stop` of an axis of `length`, their slack around it on both sides."""
    shared = round(window * overlap)
    count = max(1, -(-(stop - start - shared) // (window - shared)))
    covered = count * window - (count - 1) * shared
    low = min(max(0, start - (covered - (stop - start)) // 2), max(0, length - window))
    high = max(low, min(length, low + max(covered, stop - low)) - window)
    firsts = [low + round(n * (high - low) / max(1, count - 1)) for n in range(count)]
    return [slice(first, first + window) for first in dict.fromkeys(firsts)]
