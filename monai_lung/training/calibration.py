"""From logits to probabilities that can be taken at their word, and an interval around them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from monai_lung.transforms.rating import SURE

COVERAGE = 0.9
"""Share of the nodules calibrated on whose readers' mean rating the interval holds."""


def fit_platt(logits: NDArray[np.float64], malignant: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset that make sigmoid(slope x + offset) fit the labels best (Platt 1999, with his smoothed targets).

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


def fit_readers(
    scores: NDArray[np.float64], mean_rating: NDArray[np.float64], probability: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Slope, offset and half-width, in logits, of an interval for the mean rating of a nodule's readers.

    A straight line predicts the mean rating's logit; with the half-width `COVERAGE` of the intervals, as
    `rate.calibrate` makes them, hold it: in the manner of split conformal prediction (Vovk et al. 2005) with the
    half-width that a nodule needs as score, but line and half-width come from the same nodules.

    Args:
        scores: (n,) the malignancy's logits.
        mean_rating: (n,) the readers' mean malignancy, 1...5.
        probability: (n,) the calibrated probability of malignancy, 0...1, which an interval always holds.
    """
    share = np.clip((mean_rating - 1) / 4, SURE, 1 - SURE)  # a bound beyond these is 0 or 1
    target = np.log(share / (1 - share))
    slope, offset = np.polyfit(scores, target, 1)
    above = slope * scores + offset - target  # how far the lower bound has to come down, the upper one if negative
    held = np.where(above > 0, probability <= share, probability >= share)
    needed = np.where(held, 0.0, np.abs(above))
    n = len(needed)
    spread = np.quantile(needed, min(1.0, np.ceil((n + 1) * COVERAGE) / n), method="higher")
    return float(slope), float(offset), float(spread)
