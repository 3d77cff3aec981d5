"""Networks and settings as a bundle's `inference.json` defines them. Nothing in it is run without an explicit yes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from monai_lung import networks
from monai_lung.errors import ConfigError
from monai_lung.foreign import build_foreign
from monai_lung.stages import Stage

Settings = TypeVar("Settings")
_MAX_PARAMETERS = 100_000_000
"""Twenty times what the shipped networks have."""


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
        json.loads(json.dumps(arguments), parse_int=_small_int)
        with torch.device("meta"):  # counts before any memory is taken
            size = sum(p.numel() for p in getattr(networks, name)(**arguments).parameters())
        if size > _MAX_PARAMETERS:
            raise ValueError(f"{size} parameters, at most {_MAX_PARAMETERS} are allowed")
        with torch.device("cpu"):  # whatever default the calling program has set
            return getattr(networks, name)(**arguments).float()
    except Exception as error:  # torch and MONAI raise nearly anything at arguments that don't fit
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{bundle}/configs/inference.json: {key!r} doesn't fit {name}: {reason}") from error


def _small_int(digits: str) -> int:
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
