"""The limits of this machine: convolutions, memory, disk, decoder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from research.benchmarks.child import Job, Run, evict, synchronize

_CONVOLUTIONS = ((16, 96), (32, 96), (64, 64), (128, 40), (256, 24))
"""Channels in and out, and the side of a cube: from what the networks begin with to where a processor is best."""
_TRIES = 3
_SHRINK = 8
"""Of the cubes' sides, in a quick run and for a precision that the processor has no hardware for."""


def convolutions(job: Job) -> Run:
    """GFLOP/s of 3 x 3 x 3 convolutions in both memory layouts; `hardware` is 0 for a precision that lacks its own."""
    dtype = getattr(torch, str(job.options["dtype"]))
    hardware = dtype is not torch.bfloat16 or _has_bfloat16(job.device)
    shrink = 1 if hardware and not job.options.get("quick") else _SHRINK

    def seconds(channels: int, side: int, layout: torch.memory_format) -> float:
        image = torch.rand(1, channels, side, side, side, device=job.device, dtype=dtype).to(memory_format=layout)
        weight = torch.rand(channels, channels, 3, 3, 3, device=job.device, dtype=dtype).to(memory_format=layout)
        return best(lambda: functional.conv3d(image, weight, padding=1), job.device)

    def run() -> dict[str, float]:
        figures = {}
        for channels, side in ((c, max(4, s // shrink)) for c, s in _CONVOLUTIONS):
            for name, layout in (("contiguous", torch.contiguous_format), ("channels_last", torch.channels_last_3d)):
                work = 2 * 27 * channels**2 * side**3 / 1e9
                figures[f"{channels}_{name}"] = work / seconds(channels, side, layout)
        return {**figures, "peak_gflops": max(figures.values()), "hardware": float(hardware)}

    return run


def products(job: Job) -> Run:
    """GFLOP/s of a square matrix product: the bound above the convolutions."""
    dtype = getattr(torch, str(job.options["dtype"]))
    side = int(job.options.get("side", 2048 if job.device == "cpu" else 8192))
    left, right = (torch.rand(side, side, device=job.device, dtype=dtype) for _ in range(2))
    return lambda: {"peak_gflops": 2 * side**3 / best(lambda: left @ right, job.device) / 1e9}


def memory(job: Job) -> Run:
    """GB/s of a copy of 256 MB, read and written bytes counted."""
    source = torch.zeros(256_000_000, dtype=torch.uint8, device=job.device)
    target = torch.empty_like(source)
    return lambda: {"gb_per_s": 2 * 0.256 / best(lambda: target.copy_(source), job.device)}


def disk(job: Job) -> Run:
    """MB/s of reading the input's files one after the other, from the disk and from the page cache."""

    def run() -> dict[str, float]:
        evict(job)
        cold_s, size_mb = _read(job)
        warm_s = min(_read(job)[0] for _ in range(_TRIES))
        return {"cold_s": cold_s, "warm_s": warm_s, "size_mb": size_mb, "cold_mb_per_s": size_mb / cold_s}

    return run


def decoder(job: Job) -> Run:
    """Decoding all slices with pydicom, one after the other, in one thread, headers parsed before."""
    from pydicom import dcmread

    def run() -> dict[str, float]:
        slices = [dcmread(path) for path in job.files]
        start = time.perf_counter()
        megapixels = sum(s.pixel_array.size for s in slices) / 1e6
        return {"decode_s": time.perf_counter() - start, "megapixels": megapixels}

    return run


def _has_bfloat16(device: str) -> bool:
    """Whether the networks compute in bfloat16 on this device."""
    from monai_lung.inference.precision import fast_precision

    kind = torch.device(device)
    with fast_precision(kind):
        return torch.is_autocast_enabled(kind.type)


def best(run: Callable[[], Tensor], device: str, tries: int = _TRIES) -> float:
    """The shortest of a few runs, seconds; the first run isn't counted."""
    times = []
    with torch.inference_mode():
        for _ in range(tries + 1):
            synchronize(device)
            start = time.perf_counter()
            run()
            synchronize(device)
            times.append(time.perf_counter() - start)
    return min(times[1:])


def _read(job: Job) -> tuple[float, float]:
    start, size = time.perf_counter(), 0
    for path in job.files:
        handle = os.open(path, os.O_RDONLY)
        while block := os.read(handle, 1 << 20):
            size += len(block)
        os.close(handle)
    return time.perf_counter() - start, size / 1e6
