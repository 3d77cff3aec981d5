"""From the readers' ratings to classes: malignancy, texture, size."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from statistics import fmean, median
from typing import Literal

from monai_lung.errors import UsageError
from monai_lung.model import Texture

LabelRule = Literal["median", "mean", "reader"]
SIZE_BOUNDS_MM = (5.0, 10.0, 30.0)
SIZE_CLASSES = ("< 5 mm", "5-10 mm", "10-30 mm", ">= 30 mm")


def malignancy_labels(malignancy: Sequence[float], rule: LabelRule) -> list[bool | None]:
    """Labels of one nodule: True malignant, False benign, None to be left out (a rating of 3, indeterminate).

    Args:
        malignancy: a rating of 1 to 5 for each reader.
        rule: "median" and "mean" give one label for the nodule, "reader" one for each reader's mark (as in Yu 2021).

    Raises:
        UsageError: an unknown rule, or no rating.
    """
    if not malignancy:
        raise UsageError("no malignancy rating: a label needs one reader at least")
    if rule == "reader":
        return [_label(rating) for rating in malignancy]
    if rule in ("median", "mean"):
        return [_label(median(malignancy) if rule == "median" else fmean(malignancy))]
    raise UsageError(f"unknown label rule {rule!r}: take median, mean or reader")


def texture_class(texture: Sequence[int]) -> Texture:
    """Class of the readers' median texture: LIDC's scale has 1 for ground glass, 3 for part-solid, 5 for solid.

    Up to 2 is ground glass, from 4 on solid, between them part-solid.

    Raises:
        UsageError: no rating.
    """
    if not texture:
        raise UsageError("no texture rating: a class needs one reader at least")
    middle = median(texture)
    return "ground-glass" if middle <= 2 else "solid" if middle >= 4 else "part-solid"


def size_class(diameter_mm: float) -> str:
    """One of `SIZE_CLASSES`; a bound belongs to the class above it."""
    return SIZE_CLASSES[bisect_right(SIZE_BOUNDS_MM, diameter_mm)]


def _label(rating: float) -> bool | None:
    return None if rating == 3 else rating > 3
