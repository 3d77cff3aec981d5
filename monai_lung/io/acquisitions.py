"""One slice at each place: duplicates dropped, one acquisition of several kept."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from monai_lung.io.header import Header
from monai_lung.io.paths import shown
from monai_lung.io.pixels import stored_bytes
from monai_lung.io.plane import MIN_SLICES, SAME_Z_MM, along_normal, is_regular_grid, series_error


def one_acquisition(headers: tuple[Header, ...]) -> tuple[tuple[Header, ...], tuple[str, ...]]:
    """One slice a place, in order: duplicates dropped, of several acquisitions the most complete one."""
    headers = _ordered(headers)
    single = _without_duplicates(headers)
    warnings: tuple[str, ...] = ()
    if len(single) < len(headers):
        warnings = (f"{len(headers) - len(single)} duplicate slices were left out.",)
    z = along_normal(single)
    crowded = np.diff(z) < 2 * SAME_Z_MM
    if not crowded.any() and is_regular_grid(z):
        return single, warnings
    best, n = _most_complete(single)
    if best:
        kept = f"Acquisition with {len(best)} of {len(single)} slices used: the series holds {n} over each other."
        return best, (*warnings, kept)
    if crowded.any():
        at = single[int(np.argmax(crowded))]
        where = f"z = {(at.position or (0, 0, 0))[2]:.1f} mm, first {shown(at.path)}"
        raise series_error(single, f"has different slices at one place ({int(crowded.sum())} times, {where})")
    return single, warnings


def _ordered(headers: Sequence[Header]) -> tuple[Header, ...]:
    z = np.round(along_normal(headers) / SAME_Z_MM)
    return tuple(h for _, _, _, h in sorted(zip(z, (h.sop_uid for h in headers), range(len(z)), headers, strict=True)))


def _without_duplicates(headers: tuple[Header, ...]) -> tuple[Header, ...]:
    """Drop slices that have the pixels of another one at the same place."""
    z = along_normal(headers)
    kept: list[Header] = []
    start = 0
    for end in [*np.flatnonzero(np.diff(z) > SAME_Z_MM) + 1, len(headers)]:
        group = headers[start:end]
        kept.extend(group if len(group) == 1 else {(_place(h), _fingerprint(h)): h for h in reversed(group)}.values())
        start = int(end)
    return _ordered(kept)


def _place(header: Header) -> tuple[float, ...]:
    return tuple(round(x / SAME_Z_MM) for x in header.position or ())


def _fingerprint(header: Header) -> str:
    """Hash of the stored pixels (compressed ones as they are) and their rescale."""
    rescale = repr((header.slope, header.intercept)).encode()
    return hashlib.sha256(stored_bytes(header) + rescale).hexdigest()


def _most_complete(headers: tuple[Header, ...]) -> tuple[tuple[Header, ...], int]:
    """The acquisition with the most slices that is regular and covers 80 % of the series, and how many there are.

    Acquisitions are told apart by the first of: acquisition number, temporal position, cardiac phase, trigger time,
    acquisition time, kernel, image type.
    """
    z = along_normal(headers)
    keys = [tuple(h.acquisition[i] for h in headers) for i in range(len(headers[0].acquisition))]
    keys += [tuple(h.kernel for h in headers), tuple("\\".join(h.image_type) for h in headers)]
    for values in keys:
        names = sorted(set(values), key=_by_number)
        groups = [tuple(h for h, v in zip(headers, values, strict=True) if v == name) for name in names]
        if len(groups) < 2:
            continue
        best = max(groups, key=len)  # the first of the largest
        own = along_normal(best)
        if len(best) >= MIN_SLICES and is_regular_grid(own) and own[-1] - own[0] >= 0.8 * (z[-1] - z[0]):
            return best, len(groups)
    return (), 0


def _by_number(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return math.inf, text
