"""Finding the bundles and loading their weights safely."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from monai_lung.errors import WeightsError

if TYPE_CHECKING:
    from torch import nn


def bundle_dir(name: str) -> Path:
    """Folder of a bundle: in the installed package, or beside it in a checkout.

    Raises:
        WeightsError: there is no such bundle.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "bundles" / name, package.parent / "bundles" / name):
        if (folder / "configs" / "metadata.json").is_file() or (folder / "configs" / "train.json").is_file():
            return folder
    raise WeightsError(f"bundle {name}: not found beside the package {package}; reinstall monai-lung")


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def load_weights(network: nn.Module, bundle: Path, file: str) -> str:
    """Load `bundle/models/file` into `network` and return the file's sha256.

    The file is a state dict, half or single precision, and is read with `weights_only=True`, so that nothing in it
    runs. Its sha256 must be the one in the bundle's metadata.json (`weights_sha256`).

    Raises:
        WeightsError: the file is missing, damaged, not the one that the metadata names, or of another network.
    """
    import torch

    path = bundle / "models" / file
    if not path.is_file():
        raise WeightsError(f"{path}: no weights; train them or reinstall monai-lung")
    digest = sha256(path)
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    known = metadata.get("weights_sha256", {}).get(file)
    if known != digest:
        raise WeightsError(f"{path}: sha256 {digest[:12]}… isn't that of the bundle's metadata; reinstall monai-lung")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict({key: value.float() for key, value in state.items()})
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, KeyError, EOFError …
        raise WeightsError(f"{path}: not weights of {type(network).__name__}; reinstall monai-lung") from error
    return digest


def resume(network: nn.Module, path: Path | str) -> nn.Module:
    """`network` with the state dict at `path` (a training checkpoint, `{"model": …}` or bare); "" leaves it as it is.

    Raises:
        WeightsError: the file is missing, damaged or of another network.
    """
    if not path:
        return network
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(state.get("model", state))
    except Exception as error:
        raise WeightsError(f"{path}: no weights of {type(network).__name__} to start from ({error})") from error
    return network
