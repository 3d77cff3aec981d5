"""The quickest way to take a training step on this machine: in which precision, compiled or not."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from monai_lung.errors import UsageError

logger = logging.getLogger(__name__)

PRECISIONS = ("auto", "float32", "bfloat16")
_WARM_UP, _TIMED = 1, 3
_WORTH_IT = 0.9
"""Another way than plain float32 is taken where a step takes at most this share of its time."""


class Autocast(nn.Module):
    """`network` under autocast: its products in `dtype`, its weights and its output in float32.

    Its parameters are those of `network`, so an optimizer, a running average and checkpoints keep to `network`.

    Example:
        >>> steps = Autocast(nn.Conv3d(1, 2, 3), torch.bfloat16)
        >>> steps(torch.zeros(1, 1, 4, 4, 4)).dtype
        torch.float32
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype

    def forward(self, image: Tensor) -> Tensor:
        """As `network`'s."""
        with torch.autocast(image.device.type, self.dtype):
            output: Tensor = self.network(image)
        return output.float()


def quickest(
    network: nn.Module,
    shape: Sequence[int],
    device: torch.device,
    *,
    precision: str = "auto",
    compiled: bool = False,
) -> nn.Module:
    """`network` as its training steps should call it: on a CPU in bfloat16 where that is quicker.

    Processors with AMX or AVX512-BF16 multiply bfloat16 several times faster, others slower than float32: so a few
    steps (forward and backward) of both are timed. Where the processor can't multiply it at all (AVX2), a step takes
    minutes and isn't tried. On CUDA MONAI's own `amp` does it, and `network` comes back.

    Args:
        network: one tensor in, one out.
        shape: of a batch, (N, C, X, Y, Z).
        device: that it is on.
        precision: `auto`, or `float32` or `bfloat16` without timing.
        compiled: through `torch.compile`, which fuses what lies between the convolutions. It takes half a minute at
            the start and a C++ compiler; where none is found, this is said and left.

    Raises:
        UsageError: unknown `precision`.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision}: choose one of {', '.join(PRECISIONS)}")
    if device.type != "cpu":
        return network
    if compiled and shutil.which("g++") is None and shutil.which("clang++") is None:
        logger.warning("compiled: no C++ compiler (g++, clang++) is found here, so the steps are not compiled")
        compiled = False
    ways: dict[str, nn.Module] = {}
    if precision != "bfloat16":
        ways["float32"] = network
    if precision == "bfloat16" or (precision == "auto" and _multiplies_bfloat16()):
        ways["bfloat16"] = Autocast(network, torch.bfloat16)
    if compiled:
        for name, way in ways.items():
            ways[name] = cast(nn.Module, torch.compile(way))
    if len(ways) == 1:
        return next(iter(ways.values()))
    seconds = {name: _step_seconds(way, shape) for name, way in ways.items()}
    chosen = "bfloat16" if seconds["bfloat16"] <= _WORTH_IT * seconds["float32"] else "float32"
    logger.info("a step takes %s: %s", ", ".join(f"{s:.3f} s in {name}" for name, s in seconds.items()), chosen)
    return ways[chosen]


def _multiplies_bfloat16() -> bool:
    """Whether this processor's instructions do; where they don't, it is emulated, a hundred times slower."""
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)  # a torch without MKLDNN lacks it
    return supported is not None and bool(supported())


def _step_seconds(way: nn.Module, shape: Sequence[int]) -> float:
    """The quickest of a few steps; gradients are left as they were, and so are running statistics."""
    network = way.network if isinstance(way, Autocast) else way
    kept = {key: value.clone() for key, value in network.state_dict().items()}
    grads = [parameter.grad for parameter in network.parameters()]
    image = torch.rand(tuple(shape), generator=torch.Generator().manual_seed(0))
    times = []
    with torch.random.fork_rng(devices=[]):  # dropout draws too
        for _ in range(_WARM_UP + _TIMED):
            start = time.perf_counter()
            way(image).square().mean().backward()
            times.append(time.perf_counter() - start)
    for parameter, grad in zip(network.parameters(), grads, strict=True):
        parameter.grad = grad
    network.load_state_dict(kept)
    return min(times[_WARM_UP:])
