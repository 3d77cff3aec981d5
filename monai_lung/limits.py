"""Limits of a bundle's settings: values that no network of this package has are refused before anything is built."""

from __future__ import annotations

import math
from collections.abc import Sequence

_MM = (0.1, 40.0)
_VOXELS = (4, 512)


def check_grid(spacing_mm: Sequence[float], voxels: Sequence[int]) -> None:
    """Refuse a grid that isn't three distances of 0.1 to 40 mm and three sizes of 4 to 512 voxels.

    Raises:
        ValueError: what is wrong with it.
    """
    three = all(isinstance(values, Sequence) and len(values) == 3 for values in (spacing_mm, voxels))
    if not three:
        raise ValueError(f"a grid of {spacing_mm!r} mm and {voxels!r} voxels: three numbers each are needed")
    for value in spacing_mm:
        check_number("a spacing in mm", value, *_MM)
    for count in voxels:
        if not isinstance(count, int):
            raise ValueError(f"a size of {count!r} voxels: a whole number is needed")
        check_number("a size in voxels", count, *_VOXELS)


def check_number(what: str, value: object, low: float = -1e6, high: float = 1e6) -> None:
    """Refuse what isn't a number in `low` ... `high`.

    Raises:
        ValueError: it isn't.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not (math.isfinite(value) and low <= value <= high):  # type: ignore[arg-type,operator]
        raise ValueError(f"{what} is {value!r}, it must be a number in {low:g} ... {high:g}")


def check_open(what: str, value: object) -> None:
    """Refuse what isn't a probability strictly between 0 and 1.

    Raises:
        ValueError: it isn't.
    """
    check_number(what, value, 0, 1)
    if value in (0, 1):
        raise ValueError(f"{what} is {value!r}, it must lie between 0 and 1")
