"""Where networks run: each name that can't be is refused in one line."""

from __future__ import annotations

import pytest
import torch

from monai_lung.errors import UsageError
from monai_lung.inference.networks import choose_device


@pytest.mark.parametrize(
    ("devices", "name", "found"),
    [(0, "auto", "cpu"), (0, "cpu", "cpu"), (2, "auto", "cuda"), (2, "cuda", "cuda"), (2, "cuda:1", "cuda:1")],
)
def test_what_is_there_is_taken(monkeypatch: pytest.MonkeyPatch, devices: int, name: str, found: str) -> None:
    machine_of(monkeypatch, devices)
    assert choose_device(name) == torch.device(found)


@pytest.mark.parametrize(
    ("devices", "name", "message"),
    [
        (0, "cuda", "sees no CUDA device"),
        (0, "tpu", "must be auto, cpu or cuda"),
        (2, "cuda:2", "sees 2 CUDA devices, numbered from 0"),
        (2, "cuda:one", "must be like cpu, cuda or cuda:1"),
        (0, "cpu:x", "must be like cpu"),
    ],
)
def test_what_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, devices: int, name: str, message: str) -> None:
    machine_of(monkeypatch, devices)
    with pytest.raises(UsageError, match=f"device .?{name}.?: .*{message}"):
        choose_device(name)


def machine_of(monkeypatch: pytest.MonkeyPatch, devices: int) -> None:
    """A machine with so many CUDA devices, as far as torch says."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
