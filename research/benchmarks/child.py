"""One task in this process: what it costs to load, its first run with the input out of the cache, and further runs.

Started by `parent.py` with one argument, JSON: call ("module:function"), path, device, options, repeats, limit_s,
result (a file). Runs in the peers' environment too, so it needs nothing but the standard library.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

Run = Callable[[], Mapping[str, float] | None]
"""The timed function; it may give parts: seconds, or other figures, by name."""
OURS = ("monai-lung", "torch", "monai", "numpy", "scipy", "scikit-image", "SimpleITK", "pydicom", "nibabel")
THEIRS = ("itk-io", "lungmask", "dynamic-network-architectures", "TotalSegmentator", "nnunetv2", "torchvision")


@dataclass(frozen=True)
class Job:
    """The input of a task: its file, cpu or cuda, and the options of its row."""

    path: Path
    device: str = "cpu"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> list[Path]:
        """The input's files, sorted."""
        return sorted(p for p in self.path.rglob("*") if p.is_file())


def measure(job: Job, call: str, repeats: int, limit_s: float) -> dict[str, Any]:
    """Load a task and run it 1 + `repeats` times, fewer where that would take longer than `limit_s`.

    Returns:
        load_s (imports, networks, inputs that aren't timed), run_s (the first is cold: the input isn't in the page
        cache), cpu_s (of all threads), parts (of each run), loaded_mb and peak_mb of resident memory (10^6 bytes),
        gpu_mb, versions.
    """
    start = time.perf_counter()
    module, _, name = call.partition(":")
    run: Run = getattr(importlib.import_module(f"research.benchmarks.{module}"), name)(job)
    loaded = {"load_s": time.perf_counter() - start, "loaded_mb": peak_mb()}
    evict(job)
    run_s: list[float] = []
    cpu_s: list[float] = []
    parts: list[dict[str, float]] = []
    while len(run_s) <= repeats and (not run_s or sum(run_s) + run_s[-1] <= limit_s):
        cpu, start = time.process_time(), time.perf_counter()
        found = run()
        synchronize(job.device)
        run_s.append(time.perf_counter() - start)
        cpu_s.append(time.process_time() - cpu)
        parts.append(dict(found or {}))
    peaks = [p["peak_mb"] for p in parts if "peak_mb" in p]
    peak = {"peak_mb": max(peaks, default=peak_mb()), "gpu_mb": _gpu_mb()}
    return {**loaded, "run_s": run_s, "cpu_s": cpu_s, "parts": parts, **peak, "versions": dict(_versions())}


def peak_mb() -> float:
    """The most memory that this process has held so far, 10^6 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def evict(job: Job) -> None:
    """Ask the kernel to drop the input's files from its cache (it does for files that nobody writes)."""
    if hasattr(os, "posix_fadvise") and (job.path.is_dir() or job.path.is_file()):
        for path in job.files:
            handle = os.open(path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def synchronize(device: str) -> None:
    """Wait for what the GPU still does."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()


def _gpu_mb() -> float | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return float(torch.cuda.max_memory_allocated()) / 1e6


def _versions() -> Iterator[tuple[str, str]]:
    for name in OURS + THEIRS:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    job = Job(Path(given["path"]), given["device"], given["options"])
    found = measure(job, given["call"], given["repeats"], given["limit_s"])
    Path(given["result"]).write_text(json.dumps(found), encoding="utf-8")
