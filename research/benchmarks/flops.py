"""How much the networks compute, and how long they take for it."""

from __future__ import annotations

import copy
import time
from collections import Counter
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from monai_lung.inference import Networks
from research.benchmarks.child import synchronize

NAMES = ("find", "delineate", "rate", "malignancy")


class NetworkWatch:
    """Seconds and input shapes of each network's forward passes."""

    def __init__(self, networks: Networks, device: str) -> None:
        self.device = device
        self.networks: dict[str, nn.Module] = {name: getattr(networks, name) for name in NAMES}
        self.clear()
        for name, network in self.networks.items():
            network.register_forward_pre_hook(lambda *_, name=name: self._start())
            network.register_forward_hook(lambda net, given, out, name=name: self._end(name, given[0]))

    def clear(self) -> None:
        """Forget what was seen."""
        self.seconds = dict.fromkeys(NAMES, 0.0)
        self.shapes: dict[str, Counter[tuple[int, ...]]] = {name: Counter() for name in NAMES}

    def _start(self) -> None:
        synchronize(self.device)
        self.started = time.perf_counter()

    def _end(self, name: str, image: Tensor) -> None:
        synchronize(self.device)
        self.seconds[name] += time.perf_counter() - self.started
        self.shapes[name][tuple(image.shape)] += 1

    def figures(self) -> dict[str, float]:
        """NAME_net_s and NAME_gflop of what was seen."""
        found: dict[str, float] = {}
        for name, network in self.networks.items():
            found[f"{name}_net_s"] = self.seconds[name]
            found[f"{name}_gflop"] = sum(n * gflop(network, shape) for shape, n in self.shapes[name].items())
        return found


@cache
def gflop(network: nn.Module, shape: tuple[int, ...]) -> float:
    """10^9 floating-point operations of the convolutions and products in one pass; a multiply-add counts two."""
    shadow: Any = copy.deepcopy(network)
    for module in shadow.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        shadow.to("meta")(torch.empty(shape, device="meta"))
    return counter.get_total_flops() / 1e9
