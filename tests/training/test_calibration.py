from __future__ import annotations

import numpy as np
import pytest

from monai_lung.inference.networks import RateSettings
from monai_lung.inference.rate import calibrate, rating_as_probability
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


@pytest.mark.parametrize("seed", range(5))
def test_the_half_width_is_the_smallest_whose_intervals_hold_their_share(seed: int) -> None:
    """The intervals that a user gets, against ratings as readers give them, on the probability's scale."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 3, (2, 4000))
    score = 2 * truth + rng.normal(0, 2, truth.shape) + 1
    rating = np.round(16 / (1 + np.exp(-truth))) / 4 + 1  # means of four readers: many are 1 or 5
    assert min((rating == 1).mean(), (rating == 5).mean()) > 0.05
    slope, offset = fit_platt(score[0], truth[0] > 0)
    line = fit_readers(score[0], rating[0])

    def held(side: int, spread: float) -> int:
        settings = RateSettings((1.0,) * 3, (8,) * 3, slope, offset, spread, 0.5, line[0], line[1])
        intervals = [calibrate(np.zeros(len(TARGETS)), x, settings).malignancy_interval for x in score[side]]
        shares = [rating_as_probability(one, settings) for one in rating[side]]
        return sum(low <= share <= high for (low, high), share in zip(intervals, shares, strict=True))

    assert held(0, line[2]) >= 3601  # 0.9 of 4001, rounded up
    assert held(0, line[2] - 2e-4) < 3601
    assert held(1, line[2]) / 4000 == pytest.approx(0.9, abs=0.02)
