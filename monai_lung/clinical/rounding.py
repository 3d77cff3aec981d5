"""One rounding for every number: half up, as a person rounds. What is measured is rounded once, where it arises."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal


def round_half_up(value: float, digits: int = 0) -> float:
    """`value` rounded half up: 8.5 -> 9, where Python's `round` gives 8.

    Noise of binary fractions (beyond the 9th decimal) is dropped first: 8.45 stays 8.45.

    >>> round_half_up(8.5), round_half_up(53.495, 2)
    (9.0, 53.5)
    """
    exact = Decimal(repr(round(float(value), 9)))  # float: numpy numbers write themselves otherwise
    return float(exact.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP))
