"""One slice at each place: duplicates dropped, one acquisition of several kept."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from monai_lung.io.header import Header
from monai_lung.io.paths import shown
from monai_lung.io.pixels import stored_bytes
from monai_lung.io.plane import MIN_SLICES, SAME_Z_MM, along_normal, is_regular_grid, series_error

_MOST_JOINS = 3
"""More changes of the acquisition number are those of a scanner that moves step by step."""


def one_acquisition(headers: tuple[Header, ...]) -> tuple[tuple[Header, ...], tuple[str, ...]]:
    """One slice for each place, in order, and warnings.

    Duplicates are dropped. Of several acquisitions over each other the most complete one is kept, of passes that
    overlap by half or more the longest; of those that overlap less each slice that lies beyond the longer ones.
    """
    headers = _ordered(headers)
    single = _without_duplicates(headers)
    warnings: tuple[str, ...] = ()
    if len(single) < len(headers):
        warnings = (f"{len(headers) - len(single)} duplicate slices were left out.",)
    z = along_normal(single)
    crowded = np.diff(z) < 2 * SAME_Z_MM
    if not crowded.any() and is_regular_grid(z):
        return single, warnings + _join_warnings(single)
    best, n = _most_complete(single)
    if best:
        kept = (
            f"The acquisition with {len(best)} of the {len(single)} slices was used: the series holds {n} that overlap."
        )
        return best, (*warnings, kept)
    if passes := _passes(single):
        kept_slices, pass_warnings = _without_overlap(passes)
        return kept_slices, warnings + pass_warnings + _join_warnings(kept_slices)
    if crowded.any():
        at = single[int(np.argmax(crowded))]
        where = f"z = {(at.position or (0, 0, 0))[2]:.1f} mm, first {shown(at.path)}"
        raise series_error(single, f"has different slices at one place ({int(crowded.sum())} times, {where})")
    return single, warnings


def _passes(headers: tuple[Header, ...]) -> list[tuple[Header, ...]]:
    """The passes of which a series consists, the longest first, where they overlap and each is regular; else []."""
    for groups in _groupings(headers):
        places = [along_normal(group) for group in groups]
        if any(len(group) < MIN_SLICES or not is_regular_grid(z) for group, z in zip(groups, places, strict=True)):
            continue
        ends = sorted((z[0], z[-1]) for z in places)
        if any(later[0] < earlier[1] for earlier, later in pairwise(ends)):
            return sorted(groups, key=len, reverse=True)
    return []


def _without_overlap(passes: list[tuple[Header, ...]]) -> tuple[tuple[Header, ...], tuple[str, ...]]:
    """The longest pass, and of the others what lies beyond it where they overlap by less than half; warnings."""
    kept, warnings = list(passes[0]), []
    for other in passes[1:]:
        z, own = along_normal(kept), along_normal(other)
        margin = 0.5 * float(np.median(np.diff(own)))
        beyond = (own < z.min() - margin) | (own > z.max() + margin)
        if 2 * beyond.sum() > len(own):
            kept += [h for h, out in zip(other, beyond, strict=True) if out]
            continue
        lost = [(h.position or (0, 0, 0))[2] for h, out in zip(other, beyond, strict=True) if out]
        where = f": {min(lost):.0f} to {max(lost):.0f} mm along z is missing from the result" if lost else ""
        share = 100 * (1 - beyond.mean())
        warnings.append(
            f"Two passes overlap by {share:.0f} %: the longer, of {len(passes[0])} slices, was used, the other, of "
            f"{len(own)}, was left out{where}."
        )
    return _ordered(kept), tuple(warnings)


def _join_warnings(headers: tuple[Header, ...]) -> tuple[str, ...]:
    """A warning where a few passes (by acquisition number) were put on top of each other."""
    numbers = [h.acquisition[0] for h in headers]
    joins = [k for k in range(1, len(numbers)) if numbers[k] != numbers[k - 1]]
    lengths = np.diff([0, *joins, len(numbers)])
    if not 1 <= len(joins) <= _MOST_JOINS or lengths.min() < MIN_SLICES:
        return ()
    where = ", ".join(f"{(headers[k].position or (0, 0, 0))[2]:.1f}" for k in joins)
    what = f"The series joins {len(lengths)} passes (at z = {where} mm)"
    return (f"{what}: if the patient breathed between them, a nodule may be missing, cut or seen twice.",)


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
    """The acquisition with the most slices that is regular and covers 80 % of the series, and how many there are."""
    z = along_normal(headers)
    for groups in _groupings(headers):
        best = max(groups, key=len)  # the first of the largest
        own = along_normal(best)
        if len(best) >= MIN_SLICES and is_regular_grid(own) and own[-1] - own[0] >= 0.8 * (z[-1] - z[0]):
            return best, len(groups)
    return (), 0


def _groupings(headers: tuple[Header, ...]) -> Iterator[list[tuple[Header, ...]]]:
    """Ways to tell acquisitions apart, each with at least two of them.

    By acquisition number, temporal position, cardiac phase, trigger time, acquisition time, kernel, image type, frame
    of reference.
    """
    keys = [tuple(h.acquisition[i] for h in headers) for i in range(len(headers[0].acquisition))]
    keys += [tuple(h.kernel for h in headers), tuple("\\".join(h.image_type) for h in headers)]
    keys += [tuple(h.frame_of_reference_uid for h in headers)]
    for values in keys:
        names = sorted(set(values), key=_by_number)
        if len(names) > 1:
            yield [tuple(h for h, v in zip(headers, values, strict=True) if v == name) for name in names]


def _by_number(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return math.inf, text
