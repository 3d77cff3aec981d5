"""Where memory runs out there are fewer windows at once, then one clear error."""

from __future__ import annotations

import pytest
import torch

from monai_lung.errors import OutOfMemoryError, out_of_memory
from monai_lung.inference.memory import within_memory

CPU = torch.device("cpu")
ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError("Unable to allocate 3. GiB for an array"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried ..."),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_half_of_the_batch_until_it_fits(error):
    tried = []

    def run(batch):
        tried.append(batch)
        if batch > 1:
            raise error
        return "done"

    assert within_memory(run, 4, CPU) == "done"
    assert tried == [4, 2, 1]


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_one_that_does_not_fit_is_an_error_of_ours(error, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)

    def run(batch):
        raise error

    with pytest.raises(OutOfMemoryError, match=device) as caught:
        within_memory(run, 4, torch.device(device))
    assert "\n" not in str(caught.value)
    assert ("--device cpu" in str(caught.value)) == device.startswith("cuda")


def test_other_errors_pass():
    def run(batch):
        raise RuntimeError("shapes don't fit")

    with pytest.raises(RuntimeError, match="shapes"):
        within_memory(run, 4, CPU)


def test_torch_says_so_when_a_cpu_has_too_little():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**62, dtype=torch.uint8)
    assert out_of_memory(caught.value)
