"""A program that has set torch's defaults otherwise gets the same answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_lung.inference import delineate, find, load_networks, rate
from monai_lung.model import CT, Lungs, Rating, Seed


@pytest.fixture
def restored() -> Iterator[None]:
    """torch's defaults as they were."""
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    yield
    torch.set_default_dtype(dtype)
    torch.set_default_device(device if device.type != "cpu" else None)


def ball() -> tuple[CT, Lungs]:
    """A ball of tissue in lung."""
    hu = np.full((64, 64, 32), -850, np.int16)
    i, j, k = np.indices(hu.shape)
    hu[(i - 32) ** 2 + (j - 32) ** 2 + (2 * (k - 16)) ** 2 < 36] = 40
    ct = CT(hu, np.diag([1.0, 1.0, 2.0, 1.0]), "ball", Path("ball"))
    return ct, Lungs(np.ones(hu.shape, np.uint8), 1000, 1000)


def answers() -> tuple[list[Seed], list[Rating]]:
    ct, lungs = ball()
    networks = load_networks("cpu")
    seed = Seed((32.0, 32.0, 32.0), 0.9, 12.0)
    return find(ct, lungs, networks), rate(ct, delineate(ct, [seed], networks), networks)


@pytest.mark.parametrize(("dtype", "device"), [(torch.float64, None), (torch.float32, "meta"), (torch.float16, "meta")])
def test_defaults_of_the_calling_program_change_nothing(restored: None, dtype: torch.dtype, device: str | None) -> None:
    seeds, ratings = answers()
    torch.set_default_dtype(dtype)
    torch.set_default_device(device)
    again, rated_again = answers()
    assert again == seeds
    assert rated_again == ratings
