"""The networks with their settings, as the installed bundles (or others) define them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args

import torch
from torch import nn

from monai_lung import networks
from monai_lung.errors import ConfigError, UsageError
from monai_lung.inference.limits import check_grid, check_number, check_open
from monai_lung.model import OperatingPoint, Sensitivity
from monai_lung.weights import bundle_dir, load_weights

Settings = TypeVar("Settings")
_MAX_PARAMETERS = 100_000_000
"""Twenty times what the shipped networks have."""


@dataclass(frozen=True)
class FindSettings:
    """Grid, window and thresholds of the network that finds.

    `threshold` is the voxel probability that makes a seed's component; seeds score the highest probability in it.
    A mass fills the network's window and is lost in it; so the network looks a second time at voxels twice as large,
    and what it finds there counts from `mass_mm` on.
    """

    spacing_mm: tuple[float, float, float]
    window: tuple[int, int, int]
    overlap: float
    threshold: float
    min_score: float
    mass_mm: float = 20.0

    def __post_init__(self) -> None:
        """Refuse what can't be.

        Raises:
            ValueError: a value is out of range.
        """
        check_grid(self.spacing_mm, self.window)
        check_number("overlap", self.overlap, 0, 0.75)
        check_open("threshold", self.threshold)
        check_number("min_score", self.min_score, 0, 1)
        check_number("mass_mm", self.mass_mm, 0)


@dataclass(frozen=True)
class DelineateSettings:
    """Grid and patch of the network that delineates; `threshold` is the probability that makes a voxel nodule.

    It was chosen on training patients; outlines carry probabilities shifted so that 0.5 is there.
    """

    spacing_mm: tuple[float, float, float]
    patch: tuple[int, int, int]
    threshold: float

    def __post_init__(self) -> None:
        """Refuse what can't be.

        Raises:
            ValueError: a value is out of range.
        """
        check_grid(self.spacing_mm, self.patch)
        check_open("threshold", self.threshold)


@dataclass(frozen=True)
class RateSettings:
    """Grids and thresholds of the networks that rate, and the calibration of the malignancy.

    One network sees a `region` of voxels of `spacing_mm` and says whether it's a nodule; where `wide_spacing_mm` is
    given it sees as many voxels of that size around it as well (`inference.looks`). Its logit y is calibrated to
    sigmoid(nodule_slope y + nodule_offset), the nodule probability. The other sees `slices` slices
    of `slice_pixels` by as many pixels of `slice_mm`, and its malignancy logit is x. That is calibrated to
    sigmoid(slope x + offset) (Platt 1999). The interval is where the mean rating of the readers would lie,
    sigmoid(reader_slope x + reader_offset -+ spread), widened to hold the probability itself; a bound beyond
    `transforms.rating.SURE` is then 0 or 1. With `spread` nine of ten such intervals hold the mean rating
    (`training.calibration.fit_readers`). `operating_points` has the nodule probability from which on findings are
    reported, for each sensitivity ("high", "standard", "low"); one that isn't there is `min_nodule`. What is rated
    below all of them is dropped, what lies between is a candidate.
    """

    spacing_mm: tuple[float, float, float]
    region: tuple[int, int, int]
    slope: float
    offset: float
    spread: float
    min_nodule: float
    reader_slope: float = 1.0
    reader_offset: float = 0.0
    wide_spacing_mm: tuple[float, float, float] | None = None
    nodule_slope: float = 1.0
    nodule_offset: float = 0.0
    slice_mm: float = 0.75
    slice_pixels: int = 48
    slices: int = 5
    operating_points: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what can't be.

        Raises:
            ValueError: a value is out of range.
        """
        check_grid(self.spacing_mm, self.region)
        if self.wide_spacing_mm is not None:
            check_grid(self.wide_spacing_mm, self.region)
        check_grid((self.slice_mm,) * 3, (self.slice_pixels,) * 3)
        check_number("slices", self.slices, 1, 64)
        if not isinstance(self.slices, int):
            raise ValueError(f"slices is {self.slices!r}, a whole number is needed")
        for name in ("slope", "offset", "reader_slope", "reader_offset", "nodule_slope", "nodule_offset"):
            check_number(name, getattr(self, name))
        check_number("spread", self.spread, 0)
        check_number("min_nodule", self.min_nodule, 0, 1)
        unknown = set(self.operating_points) - set(get_args(Sensitivity))
        if unknown:
            raise ValueError(f"operating_points: {', '.join(sorted(unknown))} is unknown")
        for name, probability in self.operating_points.items():
            check_number(f"operating_points.{name}", probability, 0, 1)
        high, standard, low = (self.operating_point(n).min_nodule_probability for n in get_args(Sensitivity))
        if not high <= standard <= low:
            raise ValueError(f"operating_points: high {high}, standard {standard}, low {low} must not fall")

    @property
    def least_nodule(self) -> float:
        """The lowest nodule probability of what is kept at all."""
        return min(self.min_nodule, *self.operating_points.values(), 1.0)

    def operating_point(self, name: Sensitivity) -> OperatingPoint:
        """From which nodule probability on findings are reported.

        Raises:
            UsageError: there is no such sensitivity.
        """
        if name not in get_args(Sensitivity):
            raise UsageError(f"sensitivity {name!r}: choose among {', '.join(get_args(Sensitivity))}")
        return OperatingPoint(name, self.operating_points.get(name, self.min_nodule))


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
class Networks(Finder, Delineator):
    """Networks on their device, ready to run, and the sha256 of their weights."""

    rate: nn.Module
    malignancy: nn.Module
    rate_settings: RateSettings
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
    trust_config: bool = False,
) -> Networks:
    """The networks of two bundles (default: the installed ones).

    Only literal values and network classes of this package are taken from their `inference.json`; with `trust_config`
    any `_target_` is built as MONAI does, which can run any code.

    Raises:
        WeightsError: weights are missing, damaged or not those of the metadata.
        ConfigError: a config is damaged or asks for foreign code.
        UsageError: the device isn't there.
    """
    target = choose_device(device)
    segmentation = Path(segmentation_dir or bundle_dir("lung_nodule_segmentation"))
    classification = Path(classification_dir or bundle_dir("lung_nodule_classification"))
    seg, cls = read_config(segmentation), read_config(classification)
    built, weights = {}, {}
    for name, bundle, config, key, file in (
        ("find", segmentation, seg, "find_def", "find.pt"),
        ("delineate", segmentation, seg, "network_def", "model.pt"),
        ("rate", classification, cls, "network_def", "model.pt"),
        ("malignancy", classification, cls, "malignancy_def", "malignancy.pt"),
    ):
        network = build_network(config, key, bundle, trust_config=trust_config)
        weights[name] = load_weights(network, bundle, file)
        built[name] = placed(network, target)
    return Networks(
        **built,
        find_settings=settings(FindSettings, seg.get("find_settings"), segmentation),
        delineate_settings=settings(DelineateSettings, seg.get("delineate_settings"), segmentation),
        rate_settings=settings(RateSettings, cls.get("rate_settings"), classification),
        device=target,
        weights=weights,
    )


def build_network(config: Mapping[str, Any], key: str, bundle: Path, *, trust_config: bool = False) -> nn.Module:
    """The network that `config[key]` describes: `_target_`, a class of `monai_lung.networks`, and literal arguments.

    Raises:
        ConfigError: the entry is missing, damaged, or asks for other code without `trust_config`.
    """
    definition = config.get(key)
    if not isinstance(definition, Mapping) or "_target_" not in definition:
        raise ConfigError(f"{bundle}/configs/inference.json: no network definition {key!r}")
    if trust_config:
        from monai.bundle import ConfigParser

        return ConfigParser(dict(config)).get_parsed_content(key)
    module, _, name = str(definition["_target_"]).rpartition(".")
    arguments = {k: v for k, v in definition.items() if k != "_target_"}
    foreign = module != "monai_lung.networks" or name not in networks.__all__ or "$" in json.dumps(arguments)
    if foreign:
        raise ConfigError(
            f"{bundle}/configs/inference.json: {key!r} asks for code that isn't a network of this package "
            f"({definition['_target_']}); use --trust-config if you trust whoever wrote it"
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


def placed(network: nn.Module, device: torch.device) -> nn.Module:
    """`network` ready to run on `device`, its weights in the layout that convolutions are fastest in."""
    flat = any(isinstance(layer, nn.Conv2d) for layer in network.modules())
    layout = torch.channels_last if flat else torch.channels_last_3d
    return network.eval().to(device=device, memory_format=layout)  # type: ignore[call-overload]


def load_malignancy(bundle: Path, device: torch.device) -> nn.Module:
    """The network of a classification bundle that gives the malignancy: slices (N, 3, X, Y, slices) -> logits (N, T).

    Raises:
        WeightsError: its weights are missing or damaged.
        ConfigError: the config is, or asks for other code.
    """
    network = build_network(read_config(bundle), "malignancy_def", bundle)
    load_weights(network, bundle, "malignancy.pt")
    return placed(network, device)


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
