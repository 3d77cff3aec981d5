"""The corpus of broken input: what a kind is, and the chest that all kinds start from.

A kind is a function that makes one broken (or just odd) input in an empty folder and returns what is given to the
command line. It states its own outcome: refused with a line that matches, or read as the very same chest, in silence
or with a warning that matches. `docs/robustness.md` lists them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from dicom_series import SeriesBuilder
from numpy.typing import NDArray

SPACING_MM = (5.2, 5.2, 7.5)
ORIGIN_MM = (-184.6, -184.6, -146.25)
"""The image's middle is at 0, where a reader puts an image that says nothing of its place."""


@dataclass(frozen=True)
class Chest:
    """The sound chest: HU int16 (X, Y, Z) with the affine of `SPACING_MM` and `ORIGIN_MM`, slices upwards."""

    hu: NDArray[np.int16]

    def series(self, **elements: object) -> SeriesBuilder:
        """Its DICOM series, to be broken."""
        return SeriesBuilder(self.hu, origin=ORIGIN_MM, spacing=SPACING_MM, **elements)  # type: ignore[arg-type]

    @property
    def affine_lps(self) -> NDArray[np.float64]:
        affine = np.diag([*SPACING_MM, 1.0])
        affine[:3, 3] = ORIGIN_MM
        return affine

    @property
    def affine_ras(self) -> NDArray[np.float64]:
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ self.affine_lps


@dataclass(frozen=True)
class Kind:
    """One kind of broken input.

    Attributes:
        group: the area that it belongs to.
        make: (chest, empty folder) -> the path that is given to the command line.
        refused: pattern of the error's line; "" where the input is read.
        warned: pattern of a warning that the result carries; "" where it carries none of this input's.
        code: exit code.
        noise: pattern of lines that a library writes to stderr beside ours; "" for none.
        volume_error: how far from its lungs' volumes those found may be, as a share.
    """

    group: str
    make: Callable[[Chest, Path], Path]
    refused: str
    warned: str
    code: int
    noise: str = ""
    volume_error: float = 0.02

    @property
    def name(self) -> str:
        return self.make.__name__

    @property
    def what(self) -> str:
        """What is broken, in a line."""
        return " ".join((self.make.__doc__ or "").split())

    @property
    def outcome(self) -> str:
        """Its result, for the table."""
        if self.refused:
            return f"error, exit {self.code}: {_readable(self.refused)}"
        return f"read, warned: {_readable(self.warned)}" if self.warned else "read as the same chest"


KINDS: list[Kind] = []


def kind(
    group: str,
    *,
    refused: str = "",
    warned: str = "",
    code: int | None = None,
    noise: str = "",
    volume_error: float = 0.02,
) -> Callable[..., object]:
    """Register a maker of broken input with its outcome."""

    def register(make: Callable[[Chest, Path], Path]) -> Callable[[Chest, Path], Path]:
        end = code if code is not None else int(bool(refused))
        KINDS.append(Kind(group, make, refused, warned, end, noise, volume_error))
        return make

    return register


def _readable(pattern: str) -> str:
    return re.sub(r"\\(.)", r"\1", pattern.replace(".*", " ... ").replace(r"\d+", "N"))
