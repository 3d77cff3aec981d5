"""Bundles: weights that are damaged, foreign or programs, configs that ask for code or nonsense."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from corpus import Chest, kind

SEGMENTATION = "lung_nodule_segmentation"
CLASSIFICATION = "lung_nodule_classification"
MARK = "/tmp/monai-lung-hostile-code-ran"
"""What hostile code would make."""


def bundles(folder: Path) -> Path:
    """Copies of the installed bundles, to be broken."""
    from monai_lung.weights import bundle_dir

    for name in (SEGMENTATION, CLASSIFICATION):
        shutil.copytree(bundle_dir(name), folder / name)
    return folder


def use_broken_bundles() -> None:
    """Make a process take the bundles of `HOSTILE_BUNDLES` for the installed ones."""
    from monai_lung import weights
    from monai_lung.inference import networks

    def instead(name: str) -> Path:
        return Path(os.environ["HOSTILE_BUNDLES"]) / name

    weights.bundle_dir = networks.bundle_dir = instead


def weights(folder: Path, content: bytes | Callable[[bytes], bytes], known: bool = True) -> Path:
    """The bundles with another `find.pt`, its sha256 in the metadata where it's `known`."""
    bundle = bundles(folder) / SEGMENTATION
    path = bundle / "models" / "find.pt"
    path.write_bytes(content if isinstance(content, bytes) else content(path.read_bytes()))
    if known:
        metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
        metadata["weights_sha256"]["find.pt"] = hashlib.sha256(path.read_bytes()).hexdigest()
        (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata))
    return folder


def state(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The bundles with the state dict of `find.pt` changed (or replaced by what `change` returns)."""
    import io

    import torch

    def changed(content: bytes) -> bytes:
        tensors = torch.load(io.BytesIO(content), weights_only=True)
        result = change(tensors)
        file = io.BytesIO()
        torch.save(tensors if result is None else result, file)
        return file.getvalue()

    return weights(folder, changed)


def config(folder: Path, change: Callable[[dict[str, Any]], object], bundle: str = SEGMENTATION) -> Path:
    """The bundles with one's `inference.json` changed."""
    path = bundles(folder) / bundle / "configs" / "inference.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return folder


class Program:
    """An object whose unpickling runs a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {MARK}",)


@kind("weights", refused="sha256")
def weights_cut(chest: Chest, folder: Path) -> Path:
    """Weights that end early."""
    return weights(folder, lambda c: c[: len(c) // 2], known=False)


@kind("weights", refused="not weights of")
def weights_cut_and_known(chest: Chest, folder: Path) -> Path:
    """Weights that end early, with the sha256 to it."""
    return weights(folder, lambda c: c[: len(c) // 2])


@kind("weights", refused="sha256")
def weights_of_another_sha256(chest: Chest, folder: Path) -> Path:
    """Weights with one byte changed."""
    return weights(folder, lambda c: c[:-200] + bytes([c[-200] ^ 1]) + c[-199:], known=False)


@kind("weights", refused="not weights of")
def weights_empty(chest: Chest, folder: Path) -> Path:
    """An empty file."""
    return weights(folder, b"")


@kind("weights", refused="not weights of")
def weights_of_text(chest: Chest, folder: Path) -> Path:
    """Text."""
    return weights(folder, b"these are not weights")


@kind("weights", refused="not weights of")
def weights_are_a_program(chest: Chest, folder: Path) -> Path:
    """A pickle that runs a command."""
    return weights(folder, pickle.dumps({"a": Program()}))


@kind("weights", refused="not weights of")
def weights_hold_a_program(chest: Chest, folder: Path) -> Path:
    """Sound weights, in torch's own format, with an object that runs a command among them."""
    return state(folder, lambda s: {**s, "more": Program()})


@kind("weights", refused="not weights of")
def weights_of_another_network(chest: Chest, folder: Path) -> Path:
    """The weights of the rating network."""
    from monai_lung.weights import bundle_dir

    return weights(folder, (bundle_dir(CLASSIFICATION) / "models" / "model.pt").read_bytes())


@kind("weights", refused="not weights of")
def weights_with_another_shape(chest: Chest, folder: Path) -> Path:
    """One tensor has another shape."""

    def change(tensors: dict[str, Any]) -> None:
        key = next(iter(tensors))
        tensors[key] = tensors[key].flatten()[:1]

    return state(folder, change)


@kind("weights", refused="not weights of")
def weights_incomplete(chest: Chest, folder: Path) -> Path:
    """One tensor is missing."""
    return state(folder, lambda s: {key: s[key] for key in list(s)[1:]})


@kind("weights", refused="holds integers, NaN or")
def weights_of_whole_numbers(chest: Chest, folder: Path) -> Path:
    """All tensors are 32-bit integers."""
    return state(folder, lambda s: {k: v.int() for k, v in s.items()})


@kind("weights", refused="holds integers, NaN or")
def weights_no_numbers(chest: Chest, folder: Path) -> Path:
    """A tensor holds nan."""
    return state(folder, lambda s: next(iter(s.values())).fill_(float("nan")) is None or None)


@kind("weights", refused="not weights of")
def weights_of_strings(chest: Chest, folder: Path) -> Path:
    """A dict of words."""
    return state(folder, lambda s: dict.fromkeys(s, "word"))


@kind("weights", refused="no weights")
def weights_missing(chest: Chest, folder: Path) -> Path:
    """No file."""
    (bundles(folder) / SEGMENTATION / "models" / "find.pt").unlink()
    return folder


@kind("weights", refused="no weights")
def weights_are_a_pipe(chest: Chest, folder: Path) -> Path:
    """A pipe that nobody writes to."""
    path = bundles(folder) / SEGMENTATION / "models" / "find.pt"
    path.unlink()
    os.mkfifo(path)
    return folder


@kind("weights", refused="metadata")
def metadata_of_text(chest: Chest, folder: Path) -> Path:
    """The metadata, which has the sha256, is not valid JSON."""
    (bundles(folder) / SEGMENTATION / "configs" / "metadata.json").write_text("{")
    return folder


@kind("config", refused="asks for code")
def config_of_a_command(chest: Chest, folder: Path) -> Path:
    """The network's class is os.system."""
    return config(folder, lambda c: c.update(find_def={"_target_": "os.system", "command": f"touch {MARK}"}))


@kind("config", refused="asks for code")
def config_of_an_expression(chest: Chest, folder: Path) -> Path:
    """The network's class is an expression."""
    return config(folder, lambda c: c["find_def"].update(_target_=f"$__import__('os').system('touch {MARK}')"))


@kind("config", refused="asks for code")
def config_with_an_expression_within(chest: Chest, folder: Path) -> Path:
    """An argument of the network is an expression."""
    return config(folder, lambda c: c["find_def"].update(stem=f"$__import__('os').system('touch {MARK}')"))


@kind("config", refused="asks for code")
def config_with_a_class_within(chest: Chest, folder: Path) -> Path:
    """The network's class is another module's of this package."""
    return config(folder, lambda c: c["find_def"].update(_target_="monai_lung.networks.res_unet.torch.hub.load"))


@kind("config", refused="asks for code")
def config_of_a_loader(chest: Chest, folder: Path) -> Path:
    """The network's class is torch.load."""
    return config(folder, lambda c: c.update(find_def={"_target_": "torch.load", "f": "x", "weights_only": False}))


@kind("config", refused="weights|no network definition|doesn't fit|asks for code")
def config_of_a_reference(chest: Chest, folder: Path) -> Path:
    """The network is a reference to another key."""
    return config(folder, lambda c: c.update(find_def="@evaluator"))


@kind("config", refused="ml of lung")
def config_with_imports(chest: Chest, folder: Path) -> Path:
    """Keys that MONAI would run hold code: nothing runs, and the analysis continues (to a CT without lungs)."""

    def change(content: dict[str, Any]) -> None:
        content["imports"] = [f"$__import__('os').system('touch {MARK}')"]
        content["initialize"] = content["run"] = content["imports"]

    return config(folder, change)


@kind("config", refused="no readable config")
def config_of_text(chest: Chest, folder: Path) -> Path:
    """The config is not valid JSON."""
    (bundles(folder) / SEGMENTATION / "configs" / "inference.json").write_text("run: me")
    return folder


@kind("config", refused="no readable config")
def config_of_a_list(chest: Chest, folder: Path) -> Path:
    """The config is a list."""
    (bundles(folder) / SEGMENTATION / "configs" / "inference.json").write_text("[1, 2]")
    return folder


@kind("config", refused="no readable config")
def config_100000_deep(chest: Chest, folder: Path) -> Path:
    """The config is nested 100,000 deep."""
    (bundles(folder) / SEGMENTATION / "configs" / "inference.json").write_text("[" * 100_000 + "]" * 100_000)
    return folder


@kind("config", refused="no readable config")
def config_is_a_pipe(chest: Chest, folder: Path) -> Path:
    """The config is a pipe."""
    path = bundles(folder) / SEGMENTATION / "configs" / "inference.json"
    path.unlink()
    os.mkfifo(path)
    return folder


@kind("config", refused="doesn't fit")
def config_of_a_giant(chest: Chest, folder: Path) -> Path:
    """The network would have a billion levels."""
    return config(folder, lambda c: c["find_def"].update(levels=1_000_000_000))


@kind("config", refused="parameters, at most")
def config_of_many_parameters(chest: Chest, folder: Path) -> Path:
    """The network would have a trillion parameters."""
    return config(folder, lambda c: c["find_def"].update(width=9000))


@kind("config", refused="doesn't fit")
def config_of_nonsense(chest: Chest, folder: Path) -> Path:
    """The network's arguments are of other types."""
    return config(folder, lambda c: c["find_def"].update(width="many", nothing=3))


@kind("config", refused="no FindSettings")
def settings_missing(chest: Chest, folder: Path) -> Path:
    """No settings."""
    return config(folder, lambda c: c.pop("find_settings"))


@kind("config", refused="no FindSettings")
def settings_unknown(chest: Chest, folder: Path) -> Path:
    """An unknown setting."""
    return config(folder, lambda c: c["find_settings"].update(colour="blue"))


@kind("config", refused="threshold is 0")
def threshold_zero(chest: Chest, folder: Path) -> Path:
    """A threshold of 0: all would be nodule."""
    return config(folder, lambda c: c["find_settings"].update(threshold=0))


@kind("config", refused="threshold is 1")
def threshold_one(chest: Chest, folder: Path) -> Path:
    """A threshold of 1: nothing would be nodule, and its logit is infinite."""
    return config(folder, lambda c: c["delineate_settings"].update(threshold=1))


@kind("config", refused="threshold is nan")
def threshold_no_number(chest: Chest, folder: Path) -> Path:
    """A threshold of nan."""
    return config(folder, lambda c: c["find_settings"].update(threshold=float("nan")))


@kind("config", refused="threshold is")
def threshold_of_an_expression(chest: Chest, folder: Path) -> Path:
    """A threshold that is an expression."""
    return config(folder, lambda c: c["find_settings"].update(threshold=f"$__import__('os').system('touch {MARK}')"))


@kind("config", refused="size in voxels")
def window_huge(chest: Chest, folder: Path) -> Path:
    """A window of 100,000 voxels."""
    return config(folder, lambda c: c["find_settings"].update(window=[100_000, 64, 32]))


@kind("config", refused="a grid of")
def window_flat(chest: Chest, folder: Path) -> Path:
    """A window of two sizes."""
    return config(folder, lambda c: c["find_settings"].update(window=[64, 64]))


@kind("config", refused="spacing in mm")
def spacing_of_nothing(chest: Chest, folder: Path) -> Path:
    """A grid of 0 mm."""
    return config(folder, lambda c: c["find_settings"].update(spacing_mm=[0, 1, 1]))


@kind("config", refused="overlap")
def overlap_whole(chest: Chest, folder: Path) -> Path:
    """Windows that overlap entirely: there would be no end of them."""
    return config(folder, lambda c: c["find_settings"].update(overlap=1.0))


@kind("config", refused="slices is 2.5")
def part_of_a_slice(chest: Chest, folder: Path) -> Path:
    """A nodule that is rated on two and a half slices."""
    return config(folder, lambda c: c["rate_settings"].update(slices=2.5), CLASSIFICATION)


@kind("config", refused="1 to 64 members")
def ensemble_of_countless_members(chest: Chest, folder: Path) -> Path:
    """An ensemble of more members than any memory holds."""
    return config(folder, lambda c: c["malignancy_def"].update(members=99999), CLASSIFICATION)


@kind("config", refused="not weights of SliceResNet")
def ensemble_of_more_members(chest: Chest, folder: Path) -> Path:
    """An ensemble of more members than its weights have."""
    return config(folder, lambda c: c["malignancy_def"].update(members=9), CLASSIFICATION)
