"""How the networks compute: the precision that the processor is good at."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager

import torch


@functools.cache
def _cpu_has_bfloat16() -> bool:
    """True where the processor multiplies bfloat16 in hardware; elsewhere torch's bfloat16 is 100 times slower."""
    cpu = torch.cpu
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(cpu, name)() for name in checks if hasattr(cpu, name))


def fast_precision(device: torch.device) -> AbstractContextManager[None]:
    """An autocast context: bfloat16 where `device` has it in hardware, float32 elsewhere."""
    enabled = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else _cpu_has_bfloat16()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)
