from __future__ import annotations

import numpy as np
import pytest

from monai_lung.training.calibration import fit_platt, fit_readers


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
    rng = np.random.default_rng(1)
    truth = rng.normal(0, 1, (2, 4000))
    calibrated = truth + rng.normal(0, 0.7, truth.shape)
    rating = 1 + 4 / (1 + np.exp(-truth))
    slope, offset, spread = fit_readers(2 * calibrated[0] + 1, rating[0])
    inside = np.abs(slope * (2 * calibrated[1] + 1) + offset - truth[1]) <= spread
    assert inside.mean() == pytest.approx(0.9, abs=0.02)
