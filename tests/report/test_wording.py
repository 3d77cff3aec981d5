"""Findings in words."""

from __future__ import annotations

import datetime

import pytest

from monai_lung.model import Growth, Rating
from monai_lung.report import wording


@pytest.mark.parametrize(
    ("rating", "said"),
    [
        (Rating(1.0, 0.4321, (0.3, 0.6)), "43 % (30 to 60 %)"),
        (Rating(1.0, 0.999, (0.74, 1.0)), "> 95 % (74 to > 95 %)"),
        (Rating(1.0, 1.0, (0.99, 1.0)), "> 95 % (> 95 %)"),
        (Rating(1.0, 0.004, (0.0, 0.05)), "< 1 % (< 1 to 5 %)"),
        (Rating(1.0, 0.061, (0.06, 0.52)), "6 % (6 to 52 %)"),
    ],
)
def test_no_probability_is_certain(rating, said):
    assert wording.malignancy(rating) == said


@pytest.mark.parametrize(
    ("growth", "said"),
    [
        (Growth("new", prior_visible=False), "new, not visible before"),
        (Growth("new", prior_visible=None), "new"),
        (Growth("not-covered"), "not covered by the prior"),
        (Growth("same-day"), "prior of the same day"),
        (
            Growth(
                "growing",
                prior_volume_mm3=500.0,
                prior_mean_diameter_mm=9.8,
                volume_change_percent=60.0,
                doubling_days=214.0,
                prior_date=datetime.date(2019, 5, 6),
            ),
            "growing, volume +60 %, doubling time 214 days, was 9.8 mm, 500 mm³ on 2019-05-06",
        ),
    ],
)
def test_change_in_a_phrase(growth, said):
    assert wording.change(growth) == said
