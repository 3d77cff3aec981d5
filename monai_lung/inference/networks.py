"""The networks with their settings, as the installed bundles (or others) define them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from monai_lung import networks
from monai_lung.errors import ConfigError, UsageError
from monai_lung.inference.foreign import build_foreign
from monai_lung.stages import CLASSIFICATION, SEGMENTATION, STAGES, DelineateSettings, FindSettings, RateSettings, Stage
from monai_lung.weights import bundle_dir, load_weights

Settings = TypeVar("Settings")
_MAX_PARAMETERS = 100_000_000
"""Twenty times what the shipped networks have."""


@dataclass(frozen=True)
class Finder:
    """What `find` needs: its network and settings, on a device."""

    find: nn.Module
    find_settings: FindSettings
    device: torch.device


@dataclass(frozen=True)
class Delineator:
    """What `delineate` needs: its network and settings, on a device."""

    delineate: nn.Module
    delineate_settings: DelineateSettings
    device: torch.device


@dataclass(frozen=True)
class Rater:
    """What `rate` needs: the networks that say whether it's a nodule, and how likely malignant, on a device."""

    rate: nn.Module
    malignancy: nn.Module
    rate_settings: RateSettings
    device: torch.device


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
        raise UsageError(f"device {name}: this torch sees only {torch.cuda.device_count()}, counted from 0")
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


def _load(
    names: Iterable[str], device: torch.device, places: Mapping[str, Path | None], trust_bundle: bool
) -> tuple[dict[str, Any], dict[str, str]]:
    """Networks and settings of stages, by their names, and the digests of the networks' weights."""
    parts: dict[str, Any] = {}
    weights = {}
    for name in names:
        stage = STAGES[name]
        bundle = Path(places[stage.bundle] or bundle_dir(stage.bundle))
        config = read_config(bundle)
        parts[stage.settings_key] = settings(stage.settings, config.get(stage.settings_key), bundle)
        network = build_network(config, stage.definition, bundle, trust_bundle=trust_bundle)
        weights[name] = load_weights(network, bundle, stage.weights)
        check_contract(network, stage, parts[stage.settings_key], bundle)
        parts[name] = placed(network, device)
    return parts, weights


def build_network(config: Mapping[str, Any], key: str, bundle: Path, *, trust_bundle: bool = False) -> nn.Module:
    """The network that `config[key]` describes.

    Args:
        config: a bundle's `inference.json`.
        key: of a definition: `_target_`, a class of `monai_lung.networks`, and literal arguments.
        bundle: its folder; named in errors, and where classes of its own are looked for.
        trust_bundle: let it be any class with any arguments, which MONAI then evaluates: that runs as code.

    Raises:
        ConfigError: the entry is missing, damaged, or asks for other code without `trust_bundle`.
    """
    definition = config.get(key)
    if not isinstance(definition, Mapping) or "_target_" not in definition:
        raise ConfigError(f"{bundle}/configs/inference.json: no network definition {key!r}")
    module, _, name = str(definition["_target_"]).rpartition(".")
    arguments = {k: v for k, v in definition.items() if k != "_target_"}
    foreign = module != "monai_lung.networks" or name not in networks.__all__ or "$" in json.dumps(arguments)
    if foreign and trust_bundle:
        return build_foreign(config, key, bundle)
    if foreign:
        raise ConfigError(
            f"{bundle}/configs/inference.json: {key!r} asks for code that isn't a network of this package "
            f"({definition['_target_']}); use --trust-bundle if you trust whoever wrote it"
        )
    try:
        json.loads(json.dumps(arguments), parse_int=_modest)
        with torch.device("meta"):  # counts before any memory is taken
            size = sum(p.numel() for p in getattr(networks, name)(**arguments).parameters())
        if size > _MAX_PARAMETERS:
            raise ValueError(f"{size} parameters, at most {_MAX_PARAMETERS} are allowed")
        return getattr(networks, name)(**arguments)
    except Exception as error:  # torch and MONAI raise nearly anything at arguments that don't fit
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{bundle}/configs/inference.json: {key!r} doesn't fit {name}: {reason}") from error


def _modest(digits: str) -> int:
    """A number of a network's definition; ValueError where it's larger than any network's."""
    if len(digits) > 5:
        raise ValueError(f"{digits[:20]} is too large")
    return int(digits)


def check_contract(network: nn.Module, stage: Stage, values: Any, bundle: Path) -> None:
    """Try a network from elsewhere on an empty image of its stage; this package's own are known to fit.

    Args:
        network: on the CPU.
        stage: what it's for.
        values: the stage's settings.
        bundle: named in the error.

    Raises:
        ConfigError: it can't take what the stage gives it, or gives something else than the stage wants.
    """
    if all(type(part).__module__.partition(".")[0] in ("monai_lung", "torch") for part in network.modules()):
        return
    where = f"{bundle}/configs/inference.json: {stage.definition!r} ({type(network).__name__})"
    takes, wants = stage.takes(values), stage.gives(values)
    try:
        with torch.inference_mode():
            result = network.eval()(torch.zeros(takes))
    except Exception as error:  # a foreign network raises what it likes
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{where} can't take {takes}, which {stage.name!r} gives it: {reason}") from error
    gives = tuple(getattr(result, "shape", ()))
    if gives != wants:
        what = f"a tensor of {gives}" if gives else f"a {type(result).__name__}"
        raise ConfigError(f"{where} gives {what} for {takes}, {stage.name!r} wants {wants}")


def placed(network: nn.Module, device: torch.device) -> nn.Module:
    """`network` ready to run on `device`, its weights in the layout that convolutions are fastest in."""
    dimensions = {p.dim() for p in network.parameters()} & {4, 5}
    layouts = {(4,): torch.channels_last, (5,): torch.channels_last_3d}
    layout = layouts.get(tuple(dimensions), torch.preserve_format)  # of both kinds: as it is
    return network.eval().to(device=device, memory_format=layout)  # type: ignore[call-overload]


def read_config(bundle: Path) -> dict[str, Any]:
    """A bundle's `inference.json` as it's written: nothing in it is run.

    Raises:
        ConfigError: it's missing or no JSON.
    """
    path = bundle / "configs" / "inference.json"
    try:
        if not path.is_file():  # a pipe would be waited for
            raise OSError("not a file")
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("not an object")
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path}: no readable config ({error}); reinstall monai-lung or name another bundle"
        ) from error
    return config


def settings(kind: type[Settings], values: Mapping[str, Any] | None, bundle: Path) -> Settings:
    """The settings that a bundle's config gives as an object, lists as tuples.

    Raises:
        ConfigError: a value is missing, unknown or out of range.
    """
    try:
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in (values or {}).items()})
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"{bundle}/configs/inference.json: no {kind.__name__}: {error}") from error
