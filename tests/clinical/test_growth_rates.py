"""Volume change and doubling time, by hand-computed examples."""

from __future__ import annotations

import math

import pytest

from monai_lung.clinical.growth_rates import (
    doubling_days,
    lung_rads_growth,
    percent_volume_change,
    volume_status,
)
from monai_lung.errors import UsageError


@pytest.mark.parametrize(
    ("v1", "v2", "days", "doubling", "change", "status"),
    [
        (100, 200, 90, 90.00, 100, "growing"),
        (100, 125, 90, 279.57, 25, "growing"),
        (100, 125, 365, 1133.79, 25, "slow-growing"),
        (200, 450, 30, 25.64, 125, "growing"),
        (300, 400, 180, 433.70, 33.33, "growing"),
        (500, 1000, 400, 400.00, 100, "growing"),
        (250, 300, 100, 380.18, 20, "stable"),
        (162, 146, 365, -2432.92, -9.88, "stable"),
        (200, 150, 90, -216.84, -25, "shrinking"),
    ],
)
def test_doubling_time_and_class(
    v1: float, v2: float, days: float, doubling: float, change: float, status: str
) -> None:
    assert doubling_days(v1, v2, days) == pytest.approx(doubling, abs=0.01)
    assert percent_volume_change(v1, v2) == pytest.approx(change, abs=0.01)
    assert volume_status(v1, v2, days) == status


def test_no_change_never_doubles() -> None:
    assert doubling_days(100, 100, 90) == math.inf


def test_growth_without_a_date_is_never_slow() -> None:
    assert volume_status(100, 130, None) == "growing"
    assert volume_status(100, 130, 0) == "growing"


@pytest.mark.parametrize(
    ("d1", "d2", "days", "expected"),
    [
        (6.0, 7.5, 365, False),
        (6.0, 7.6, 365, True),
        (6.0, 7.6, 90, True),
        (6.0, 7.6, 730, None),
        (6.0, 7.6, None, None),
    ],
)
def test_lung_rads_growth(d1: float, d2: float, days: float | None, expected: bool | None) -> None:
    assert lung_rads_growth(d1, d2, days) is expected


@pytest.mark.parametrize("wrong", [(0, 1, 1), (1, -1, 1), (1, 1, 0), (1, math.nan, 1)])
def test_impossible_sizes_and_intervals_are_refused(wrong: tuple[float, float, float]) -> None:
    with pytest.raises(UsageError, match="above 0"):
        doubling_days(*wrong)
