from __future__ import annotations

import numpy as np
import pytest

from monai_lung.inference.networks import RateSettings
from monai_lung.inference.rate import calibrate
from monai_lung.training.calibration import fit_platt, fit_readers
from monai_lung.transforms.rating import TARGETS


def test_platt_finds_the_truth_again() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 3, 20000)
    malignant = rng.random(20000) < 1 / (1 + np.exp(-(0.5 * x - 0.7)))
    slope, offset = fit_platt(x, malignant)
    assert slope == pytest.approx(0.5, abs=0.02)
    assert offset == pytest.approx(-0.7, abs=0.05)


def test_separable_labels_stay_finite() -> None:
    slope, offset = fit_platt(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([False, False, True, True]))
    assert np.isfinite([slope, offset]).all()
    assert 0 < slope < 20


def test_one_kind_of_label_is_refused() -> None:
    with pytest.raises(ValueError, match="benign and malignant"):
        fit_platt(np.zeros(3), np.ones(3, bool))


def test_the_interval_holds_its_share_of_new_nodules() -> None:
    """The interval that a user gets, its bounds moved to 0, 1 and the probability; ratings as readers give them."""
    rng = np.random.default_rng(1)
    truth = rng.normal(0, 3, (2, 4000))
    score = 2 * truth + rng.normal(0, 2, truth.shape) + 1
    rating = np.round(16 / (1 + np.exp(-truth))) / 4 + 1  # means of four readers: many are 1 or 5
    assert ((rating == 1) | (rating == 5)).mean() > 0.2
    slope, offset = fit_platt(score[0], truth[0] > 0)
    values = fit_readers(score[0], rating[0], 1 / (1 + np.exp(-(slope * score[0] + offset))))
    names = ("reader_slope", "reader_offset", "spread")
    settings = RateSettings(
        (1.0, 1.0, 1.0), (8, 8, 8), slope=slope, offset=offset, min_nodule=0.5, **dict(zip(names, values, strict=True))
    )
    intervals = [calibrate(np.zeros(len(TARGETS)), x, settings).malignancy_interval for x in score[1]]
    inside = [low <= (mean - 1) / 4 <= high for (low, high), mean in zip(intervals, rating[1], strict=True)]
    assert np.mean(inside) == pytest.approx(0.9, abs=0.02)
    assert any(low > 0 and high < 1 for low, high in intervals)
