"""The machine on which the figures were measured."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path


def describe(device: str) -> dict[str, object]:
    """Processor with the instruction sets that matter, cores, memory, system, and with CUDA the GPU."""
    cpu = _cpu()
    flags = set(cpu.get("flags", "").split())
    found: dict[str, object] = {
        "processor": cpu.get("model name", platform.processor()),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "instructions": sorted(flags & {"avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16"}),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
    }
    if device.startswith("cuda"):
        query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        found["gpu"] = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    return found


def busy_cores(seconds: float = 0.25) -> float | None:
    """Cores that others keep busy while this process sleeps for so long; None where the system doesn't tell."""
    before = _ticks()
    time.sleep(seconds)
    after = _ticks()
    if before is None or after is None or after[1] == before[1]:
        return None
    return round((os.cpu_count() or 1) * (1 - (after[0] - before[0]) / (after[1] - before[1])), 2)


def _ticks() -> tuple[int, int] | None:
    """Idle ticks and all ticks of all cores since the start."""
    path = Path("/proc/stat")
    if not path.is_file():
        return None
    ticks = [int(v) for v in path.read_text(encoding="utf-8").splitlines()[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def _cpu() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
