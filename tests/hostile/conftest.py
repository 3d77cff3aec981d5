"""The sound chest that all broken input is made from, and the processes that take it in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_TESTS = Path(__file__).resolve().parents[1]
sys.path += [str(_TESTS / "io"), str(_TESTS / "e2e")]  # the builder of DICOM series, stand-ins for networks

from cage import Cage  # noqa: E402
from corpus import SPACING_MM, Chest  # noqa: E402


@pytest.fixture(scope="session")
def chest() -> Chest:
    """A coarse phantom without nodules."""
    from monai_lung.phantom import PhantomSpec, make_phantom

    spec = PhantomSpec(size=72, slices=40, pixel_mm=SPACING_MM[0], spacing_mm=SPACING_MM[2], nodules=())
    return Chest(make_phantom(spec).hu[:, :, ::-1])


@pytest.fixture(scope="module")
def cage() -> Iterator[Cage]:
    """Runs commands that need no network."""
    modules = ("nibabel", "pydicom.pixels", "SimpleITK", "monai_lung.cli", "monai_lung.io.reader")
    with Cage(*modules, "monai_lung.io.volumes", "monai_lung.lungs.segment") as one:
        yield one
