"""Finding the bundles and loading their weights safely."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_lung.errors import WeightsError
from monai_lung.stages import ALL_STAGES, CLASSIFICATION, PAPER, PAPER_STAGES, SEGMENTATION, STAGES, stages_of

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


def declared_weights(segmentation: Path | None = None, classification: Path | None = None) -> dict[str, str]:
    """Network to the sha256 of its weights, as the metadata of two bundles (default: the installed ones) say.

    Raises:
        WeightsError: a bundle or its metadata is missing or damaged.
    """
    places = {SEGMENTATION: segmentation, CLASSIFICATION: classification}
    known = {name: _metadata(Path(place or bundle_dir(name)))["weights_sha256"] for name, place in places.items()}
    return {name: str(known[stage.bundle].get(stage.weights) or "") for name, stage in STAGES.items()}


def declared_paper_weights(bundle: Path | None = None) -> dict[str, str]:
    """`declared_weights` of the paper's two networks, of another bundle than the installed if it's given.

    Raises:
        WeightsError: the bundle or its metadata is missing or damaged.
    """
    known = _metadata(Path(bundle or bundle_dir(PAPER)))["weights_sha256"]
    return {name: str(known.get(stage.weights) or "") for name, stage in PAPER_STAGES.items()}


def weights_of(bundle: Path) -> dict[str, str]:
    """File to the sha256 of its weights, as a bundle's metadata say.

    Raises:
        WeightsError: the bundle or its metadata is missing or damaged.
    """
    return {str(file): str(digest) for file, digest in _metadata(bundle)["weights_sha256"].items()}


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _metadata(bundle: Path) -> dict[str, Any]:
    """The bundle's metadata.json, with a dict `weights_sha256` in it."""
    path = bundle / "configs" / "metadata.json"
    try:
        metadata: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {**metadata, "weights_sha256": {**metadata.get("weights_sha256", {})}}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{path}: no metadata of a bundle ({reason}); reinstall monai-lung") from error


def load_weights(network: nn.Module, bundle: Path, file: str) -> str:
    """Load `bundle/models/file` into `network` and return the file's sha256.

    The file is a state dict, half or single precision, and is read with `weights_only=True`, so that nothing in it
    runs. Its sha256 must be the one in the bundle's metadata.json (`weights_sha256`).

    Raises:
        WeightsError: the file or the metadata is missing or damaged, they don't fit, or it's of another network.
    """
    import torch

    path = bundle / "models" / file
    if not path.is_file():
        raise WeightsError(f"{path}: no weights; train them or reinstall monai-lung")
    try:
        content = path.read_bytes()  # once: what is loaded is what was hashed
    except OSError as error:
        raise WeightsError(f"{path}: can't be read ({error.strerror}); reinstall monai-lung") from error
    digest = hashlib.sha256(content).hexdigest()
    if _metadata(bundle)["weights_sha256"].get(file) != digest:
        raise WeightsError(f"{path}: sha256 {digest[:12]}… isn't that of the bundle's metadata; reinstall monai-lung")
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        own = network.state_dict()
        wrong = [key for key in own if own[key].is_floating_point() and not state[key].is_floating_point()]
        unsound = wrong or [key for key, value in state.items() if not torch.isfinite(value).all()]
        if not unsound:
            network.load_state_dict({key: value.to(own[key].dtype) for key, value in state.items()})
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, KeyError, EOFError …
        raise WeightsError(f"{path}: not weights of {type(network).__name__}; reinstall monai-lung") from error
    if unsound:
        raise WeightsError(f"{path}: {unsound[0]} holds integers, NaN or infinite values; reinstall monai-lung")
    return digest


def save_weights(source: nn.Module | Path | str, bundle: Path, file: str, *, trust_bundle: bool = False) -> str:
    """Store weights as `bundle/models/file`, in half precision, with their sha256 in the bundle's metadata.

    Args:
        source: a network, or the path of a training checkpoint (`{"model": …}` or a bare state dict).
        bundle: folder of the bundle.
        file: `model.pt`, `find.pt`, `correct.pt` or `malignancy.pt`.
        trust_bundle: let the network that the bundle describes be of any class: its code runs.

    Returns:
        The sha256.

    Raises:
        WeightsError: the checkpoint or the metadata is missing or damaged, a weight isn't finite in half precision, or
            they aren't of the network that the bundle's `inference.json` describes.
        ConfigError: that is missing or damaged, or asks for foreign code without `trust_bundle`; or its network doesn't
            take or give what its stage does.
        OutputError: the files can't be written.
    """
    import torch

    from monai_lung.io.json_text import json_text
    from monai_lung.io.output import replacing

    if isinstance(source, Path | str):
        checkpoint = read_checkpoint(source)
        state = checkpoint.get("model", checkpoint)
    else:
        state = source.state_dict()
    name = f"{source}" if isinstance(source, Path | str) else "these weights"
    _check_network(state, Path(bundle), file, name, trust_bundle)
    half = {k: v.detach().cpu().half() if v.is_floating_point() else v.detach().cpu() for k, v in state.items()}
    wrong = [key for key, value in half.items() if not torch.isfinite(value).all()]
    if wrong:
        raise WeightsError(f"{bundle / 'models' / file}: {wrong[0]} isn't finite in half precision; train it again")
    metadata = _metadata(bundle)
    content = io.BytesIO()  # a file's name goes into what torch writes: the same weights would get another digest
    torch.save(half, content)
    with replacing(bundle / "models" / file) as temporary:
        temporary.write_bytes(content.getvalue())
    digest = sha256(bundle / "models" / file)
    metadata["weights_sha256"][file] = digest
    with replacing(bundle / "configs" / "metadata.json") as temporary:
        temporary.write_text(json_text(metadata), encoding="utf-8")
    return digest


def _check_network(state: Mapping[str, Any], bundle: Path, file: str, name: str, trust_bundle: bool) -> None:
    """Refuse weights that aren't of the network that the bundle's `inference.json` has for `file`.

    Raises:
        WeightsError: they aren't, or a bundle has no such file.
        ConfigError: the config is missing or damaged, or its network is foreign or doesn't fit its stage.
    """
    from monai_lung.definitions import build_network, check_contract, read_config, settings

    config = read_config(bundle)
    if not (stages := stages_of(config)):
        keys = ", ".join(dict.fromkeys(stage.settings_key for stage in ALL_STAGES.values()))
        raise WeightsError(
            f"{bundle / 'configs' / 'inference.json'}: no stage's settings ({keys}); see docs/how-to/add-a-network.md"
        )
    stage = next((stage for stage in stages if stage.weights == file), None)
    if stage is None:
        raise WeightsError(f"{file}: the weights of {bundle} are {', '.join(stage.weights for stage in stages)}")
    network = build_network(config, stage.definition, bundle, trust_bundle=trust_bundle)
    check_contract(network, stage, settings(stage.settings, config.get(stage.settings_key), bundle), bundle)
    try:
        network.load_state_dict({**state})
    except Exception as error:  # torch raises many kinds
        what = f"{type(network).__name__} of {stage.definition} in {bundle / 'configs' / 'inference.json'}"
        raise WeightsError(f"{name}: not weights of the {what}; set width or members there, or give others") from error


def resume(network: nn.Module, path: Path | str) -> nn.Module:
    """`network` with the state dict at `path` (a training checkpoint, `{"model": …}` or bare); "" leaves it as it is.

    Raises:
        WeightsError: the file is missing, damaged or of another network.
    """
    if not path:
        return network
    checkpoint = read_checkpoint(path)
    try:
        network.load_state_dict(checkpoint.get("model", checkpoint))
    except Exception as error:  # torch raises many kinds
        raise WeightsError(
            f"{path}: not weights of {type(network).__name__}, or of another width ({_first_line(error)})"
        ) from error
    return network


def read_checkpoint(path: Path | str) -> dict[str, Any]:
    """The saved result of a training: weights under `model`, or bare. Nothing in the file runs (`weights_only=True`).

    Raises:
        WeightsError: the file is missing, damaged or no checkpoint.
    """
    import torch

    try:
        checkpoint: dict[str, Any] = {**torch.load(path, map_location="cpu", weights_only=True)}
    except OSError as error:
        raise WeightsError(f"{path}: can't be read ({error.strerror}); give a training checkpoint") from error
    except Exception as error:  # torch raises many kinds, and advises to load what isn't safe
        raise WeightsError(f"{path}: damaged or no training checkpoint ({type(error).__name__})") from error
    return checkpoint


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].strip(": ")
