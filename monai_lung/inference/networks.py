"""The networks with their settings and weights, of the installed bundles or of others, ready to run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from monai_lung.definitions import build_network, check_contract, read_config, settings
from monai_lung.errors import UsageError
from monai_lung.stages import (
    ALL_STAGES,
    CLASSIFICATION,
    SEGMENTATION,
    STAGES,
    CorrectSettings,
    DelineateSettings,
    FindSettings,
    RateSettings,
)
from monai_lung.weights import bundle_dir, load_weights, weights_of


@dataclass(frozen=True)
class Finder:
    """The input of `find`: its network and settings, on a device."""

    find: nn.Module
    find_settings: FindSettings
    device: torch.device


@dataclass(frozen=True)
class Delineator:
    """The input of `delineate`: its network and settings, on a device."""

    delineate: nn.Module
    delineate_settings: DelineateSettings
    device: torch.device


@dataclass(frozen=True)
class Rater:
    """The input of `rate`: the networks that say whether it's a nodule, and how likely malignant, on a device."""

    rate: nn.Module
    malignancy: nn.Module
    rate_settings: RateSettings
    device: torch.device


@dataclass(frozen=True)
class Corrector:
    """The input of `correct`: its network and settings, on a device, and the sha256 of its weights."""

    correct: nn.Module
    correct_settings: CorrectSettings
    device: torch.device
    weights: Mapping[str, str]


@dataclass(frozen=True)
class Networks(Finder, Delineator, Rater):
    """Networks on their device, ready to run, and the sha256 of their weights."""

    weights: Mapping[str, str]


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA where there is a device, else the CPU.

    Raises:
        UsageError: the name is unknown or its device isn't there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.split(":")[0] not in ("cpu", "cuda"):
        raise UsageError(f"device {name!r}: must be auto, cpu or cuda")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"device {name}: this torch sees no CUDA device; use --device cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"device {name!r}: must be like cpu, cuda or cuda:1") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {name}: this torch sees {torch.cuda.device_count()} CUDA devices, numbered from 0")
    return device


def load_networks(
    device: str = "auto",
    *,
    segmentation_dir: Path | None = None,
    classification_dir: Path | None = None,
    trust_bundle: bool = False,
) -> Networks:
    """The networks of two bundles (default: the installed ones).

    Only literal values and network classes of this package are taken from their `inference.json`; with `trust_bundle`
    any `_target_` is built as MONAI does, which can run any code.

    Raises:
        WeightsError: weights are missing, damaged or not those of the metadata.
        ConfigError: a config is damaged or asks for foreign code, or a network doesn't fit its stage.
        UsageError: the device isn't there.
    """
    target = choose_device(device)
    places = {SEGMENTATION: segmentation_dir, CLASSIFICATION: classification_dir}
    parts, weights = _load(STAGES, target, places, trust_bundle)
    return Networks(**parts, device=target, weights=weights)


def load_finder(device: torch.device, bundle: Path | None = None, *, trust_bundle: bool = False) -> Finder:
    """The network that finds alone; `bundle` and errors as `load_networks`."""
    return Finder(**_load(["find"], device, {SEGMENTATION: bundle}, trust_bundle)[0], device=device)


def load_delineator(device: torch.device, bundle: Path | None = None, *, trust_bundle: bool = False) -> Delineator:
    """The network that delineates alone; `bundle` and errors as `load_networks`."""
    return Delineator(**_load(["delineate"], device, {SEGMENTATION: bundle}, trust_bundle)[0], device=device)


def load_rater(device: torch.device, bundle: Path | None = None, *, trust_bundle: bool = False) -> Rater:
    """The two networks that rate; `bundle` and errors as `load_networks`."""
    return Rater(**_load(["rate", "malignancy"], device, {CLASSIFICATION: bundle}, trust_bundle)[0], device=device)


def load_corrector(device: torch.device, bundle: Path | None = None, *, trust_bundle: bool = False) -> Corrector | None:
    """The network that corrects outlines alone; `bundle` and errors as `load_networks`.

    A bundle without weights for it leaves it to the installed one; None where that has none either.
    """
    file = ALL_STAGES["correct"].weights
    places = [Path(bundle)] if bundle is not None else []
    place = next((p for p in (*places, bundle_dir(SEGMENTATION)) if file in weights_of(p)), None)
    if place is None:
        return None
    parts, weights = _load(["correct"], device, {SEGMENTATION: place}, trust_bundle)
    return Corrector(**parts, device=device, weights=weights)


def _load(
    names: Iterable[str], device: torch.device, places: Mapping[str, Path | None], trust_bundle: bool
) -> tuple[dict[str, Any], dict[str, str]]:
    """Networks and settings of stages, by their names, and the digests of the networks' weights."""
    parts: dict[str, Any] = {}
    weights = {}
    for name in names:
        stage = ALL_STAGES[name]
        bundle = Path(places[stage.bundle] or bundle_dir(stage.bundle))
        config = read_config(bundle)
        parts[stage.settings_key] = settings(stage.settings, config.get(stage.settings_key), bundle)
        network = build_network(config, stage.definition, bundle, trust_bundle=trust_bundle)
        weights[name] = load_weights(network, bundle, stage.weights)
        check_contract(network, stage, parts[stage.settings_key], bundle)
        parts[name] = ready_on(network, device)
    return parts, weights


def ready_on(network: nn.Module, device: torch.device) -> nn.Module:
    """`network` ready to run on `device`, its weights in the layout that convolutions are fastest in."""
    dimensions = {p.dim() for p in network.parameters()} & {4, 5}
    layouts: dict[tuple[int, ...], torch.memory_format] = {(4,): torch.channels_last, (5,): torch.channels_last_3d}
    layout = layouts.get(tuple(dimensions), torch.preserve_format)  # of both kinds: as it is
    return network.eval().to(device=device, memory_format=layout)  # type: ignore[call-overload]
