"""Which scan is worth a radiologist's time next? This file needs no MONAI Label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def doubt(nodule_probabilities: Iterable[float]) -> float:
    """How many nodules of a scan the analysis is expected to call wrongly.

    A nodule of probability p, called by what is likelier, is called wrongly with probability min(p, 1 - p): 0.5 at
    most, 0 where the network is sure. The doubt of a scan is the sum over its nodules.
    """
    return sum(min(p, 1 - p) for p in nodule_probabilities)


def ranked(
    probabilities: Mapping[str, Sequence[float] | None], handed_out: Mapping[str, int] | None = None
) -> list[tuple[str, float]]:
    """Scans in the order in which to label them, each with its doubt; the same input gives the same order.

    A scan that was handed out before waits behind those that weren't (the longest ago first), so that asking again
    gives another one. Among equals the scan with the larger `doubt` comes first, then by name. Scans that weren't
    analysed yet, or can't be, come after those that were: nothing is known of them.

    Args:
        probabilities: a scan's name to the nodule probabilities of its analysis, None where there is none.
        handed_out: a scan's name to when it was handed out, in seconds; those that weren't are missing.
    """
    when = handed_out or {}

    def place(name: str) -> tuple[int, bool, float, str]:
        known = probabilities[name]
        return when.get(name, 0), known is None, -doubt(known or ()), name

    return [(name, doubt(probabilities[name] or ())) for name in sorted(probabilities, key=place)]
