"""From logits to probabilities that can be taken at their word, and an interval around them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logit

from monai_lung.transforms.rating import SURE

COVERAGE = 0.9
"""Share of the nodules calibrated on, and one more, whose readers' mean rating the interval holds."""
DIGITS = 4
"""Decimals of what is fitted: it goes into a config that people read."""


def fit_platt(logits: NDArray[np.float64], malignant: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset that make sigmoid(slope x + offset) fit the labels best (Platt 1999, with smoothed targets).

    Args:
        logits: (n,) of the network.
        malignant: (n,) labels, at least one of each kind.

    Raises:
        ValueError: only one kind of label.
    """
    positives, n = int(malignant.sum()), len(malignant)
    if not 0 < positives < n:
        raise ValueError(f"calibration needs benign and malignant nodules, got {positives} malignant of {n}")
    targets = np.where(malignant, (positives + 1) / (positives + 2), 1 / (n - positives + 2))

    def loss(parameters: NDArray[np.float64]) -> float:
        x = parameters[0] * logits + parameters[1]
        return float(np.mean(np.logaddexp(0, x) - targets * x))

    slope, offset = minimize(loss, np.array([1.0, 0.0]), method="BFGS").x
    return float(slope), float(offset)


def fit_readers(scores: NDArray[np.float64], mean_rating: NDArray[np.float64]) -> tuple[float, float, float]:
    """How far the readers' mean rating lies from what the network says: slope, offset and half-width, in logits.

    A straight line predicts the mean rating's logit. The half-width is the smallest within which `COVERAGE` of the mean
    ratings lie: split conformal prediction (Vovk et al. 2005) with the distance from the line as the score, but for
    line and half-width coming from the same nodules. Readers who are all sure count as `SURE` or 1 - `SURE`.

    Args:
        scores: (n,) the malignancy's logits, not all the same.
        mean_rating: (n,) the readers' mean malignancy, 1...5.

    Returns:
        Slope, offset and half-width, to `DIGITS` decimals, the half-width rounded up.
    """
    target = logit(np.clip((mean_rating - 1) / 4, SURE, 1 - SURE))
    line = np.polyfit(scores, target, 1).round(DIGITS)
    needed = np.sort(np.abs(np.polyval(line, scores) - target))
    decisive = needed[min(len(needed), math.ceil((len(needed) + 1) * COVERAGE)) - 1]
    spread = math.floor(decisive * 10**DIGITS + 1) / 10**DIGITS
    return float(line[0]), float(line[1]), spread
