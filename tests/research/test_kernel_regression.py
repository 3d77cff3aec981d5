"""The kernel regression on measured features, a baseline of the malignancy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("sklearn", reason="what research needs isn't installed")

from research.study.malignancy import simple_scores


def _ring(n: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Points in the plane, of very different units; those in the middle are True, which no straight line tells."""
    x = np.random.default_rng(seed).standard_normal((n, 2))
    return x * [0.01, 500.0] + [3.0, -200.0], np.linalg.norm(x, axis=1) < 1.1


def test_it_learns_what_no_line_separates() -> None:
    features, labels = _ring(200, 1)
    scores = simple_scores("kernel", *_ring(300, 0), features)
    assert ((scores > 0) == labels).mean() > 0.93
    assert scores[labels].mean() > 0.5
    assert scores[~labels].mean() < -0.5


def test_beyond_the_examples_it_continues_as_they_end() -> None:
    sizes = np.linspace(-2, 2, 60)[:, None]
    near, far = simple_scores("kernel", sizes, sizes[:, 0] > 0, np.array([[2.0], [6.0]]))
    assert far > near > 0.7
