"""Classes from ratings."""

from __future__ import annotations

import pytest

from monai_lung.data.ratings import SIZE_CLASSES, malignancy_labels, size_class, texture_class
from monai_lung.errors import UsageError


@pytest.mark.parametrize(
    ("ratings", "rule", "labels"),
    [
        ([1, 2, 5], "median", [False]),
        ([2, 3, 3, 5], "median", [None]),
        ([2, 3, 3, 5], "mean", [True]),
        ([3, 4], "median", [True]),
        ([1, 5], "mean", [None]),
        ([1, 3, 4, 5], "reader", [False, None, True, True]),
    ],
)
def test_malignancy(ratings, rule, labels):
    assert malignancy_labels(ratings, rule) == labels


@pytest.mark.parametrize(
    ("ratings", "texture"),
    [
        ([1, 1, 5], "ground-glass"),
        ([2, 2], "ground-glass"),
        ([2, 3], "part-solid"),
        ([3, 4], "part-solid"),
        ([4, 4, 1], "solid"),
    ],
)
def test_texture(ratings, texture):
    assert texture_class(ratings) == texture


def test_size():
    assert [size_class(d) for d in (3, 4.99, 5, 9.9, 10, 29.9, 30, 60)] == [
        SIZE_CLASSES[i] for i in (0, 0, 1, 1, 2, 2, 3, 3)
    ]


def test_wrong_use_is_refused():
    with pytest.raises(UsageError, match="'mode'"):
        malignancy_labels([3], "mode")
    with pytest.raises(UsageError, match="no malignancy rating"):
        malignancy_labels([], "mean")
    with pytest.raises(UsageError, match="no texture rating"):
        texture_class([])
