"""A bundle as the zip that `python -m monai.bundle download` and `load` and MONAI's model zoo take.

NAME_vVERSION.zip holds one folder NAME: the bundle's own files and, beside each network's weights, the network as
TorchScript (with the bundle's metadata in it, as `monai.bundle.load(load_ts_module=True)` wants) and as ONNX, both in
single precision and for any number of images and any size.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import save_net_with_metadata
from torch import Tensor, nn

from monai_lung.definitions import build_network, read_config
from monai_lung.errors import UsageError, WeightsError
from monai_lung.io.output import replacing
from monai_lung.stages import ANALYSIS, CLASSIFICATION, PAPER, SEGMENTATION, Stage, stages_of
from monai_lung.weights import bundle_dir, load_weights

BUNDLES = (SEGMENTATION, CLASSIFICATION, ANALYSIS, PAPER)
TOLERANCE = 1e-3
"""Largest difference of a logit between an exported network and its original."""
_OPSET = 18
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def pack(bundle: Path, out: Path, *, trust_bundle: bool = False) -> Path:
    """Write `out/NAME_vVERSION.zip`; the same bundle gives the same names and, but for the exports, the same bytes.

    Args:
        bundle: its folder.
        out: folder of the zip.
        trust_bundle: let its networks be of any class: their code runs.

    Returns:
        The zip.

    Raises:
        ConfigError: the config is damaged or asks for foreign code.
        WeightsError: the weights or the metadata are, or an exported network computes something else.
        UsageError: onnx or onnxruntime isn't installed.
        OutputError: the zip can't be written.
    """
    for module in ("onnx", "onnxruntime"):
        if find_spec(module) is None:
            raise UsageError(f'packing needs {module}: pip install "monai-lung[onnx]"')
    try:
        metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
        version = metadata["version"]
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{bundle}: not a bundle: its configs/metadata.json gives no version ({error})") from error
    archive = out / f"{bundle.name}_v{version}.zip"
    with tempfile.TemporaryDirectory(prefix="monai-lung-") as scratch:
        copy = Path(scratch) / bundle.name
        shutil.copytree(bundle, copy, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        for stage in stages_of(read_config(copy)):
            if (copy / "models" / stage.weights).is_file():
                own = metadata.get(stage.data_format, metadata["network_data_format"])
                _export(copy, stage, metadata | {"network_data_format": own}, trust_bundle)
        with replacing(archive) as temporary:
            _zip(copy, temporary)
    return archive


def _export(bundle: Path, stage: Stage, metadata: dict[str, Any], trust_bundle: bool) -> None:
    """Put a stage's network beside its weights, as .ts and .onnx, and run both."""
    config, file = read_config(bundle), stage.weights
    network = build_network(config, stage.definition, bundle, trust_bundle=trust_bundle).eval()
    load_weights(network, bundle, file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about these two exporters
        scripted = torch.jit.script(network)
        script, onnx = ((bundle / "models" / file).with_suffix(suffix) for suffix in (".ts", ".onnx"))
        inputs = metadata["network_data_format"]["inputs"]["image"]
        image = torch.rand(
            1, inputs["num_channels"], *inputs["spatial_shape"], generator=torch.Generator().manual_seed(0)
        )
        save_net_with_metadata(
            scripted,
            str(script),
            include_config_vals=False,
            append_timestamp=False,
            meta_values=metadata,
            more_extra_files={"inference.json": json.dumps(config).encode()},
        )
        export_onnx(scripted, image, onnx)
    own = type(network).__module__.startswith("monai_lung.")  # takes any size; one from elsewhere may not
    for tried in (image, (image[:, :, :-3, :-5, :-2] if own else image).repeat(2, 1, 1, 1, 1)):
        with torch.inference_mode():
            expected = network(tried).numpy()
            results = {script: torch.jit.load(script)(tried).numpy(), onnx: run_onnx(onnx, tried)}
        for path, result in results.items():
            if not np.allclose(result, expected, rtol=0, atol=TOLERANCE):
                raise WeightsError(
                    f"{path.name}: its results differ from those of {file}; export it with another version of torch"
                )


def export_onnx(network: nn.Module, image: Tensor, path: Path) -> None:
    """Write a network as ONNX: input `image` (n, channels, x, y, z), output `pred`, all but the channels of any size.

    Args:
        network: scripted (`torch.jit.script`), so that its branches on sizes stay.
        image: one that it takes.
        path: of the file.
    """
    with torch.inference_mode():
        dimensions = network(image).ndim
    axes = {0: "n", 2: "x", 3: "y", 4: "z"}
    torch.onnx.export(
        network,
        (image,),
        path,
        dynamo=False,
        opset_version=_OPSET,
        input_names=["image"],
        output_names=["pred"],
        dynamic_axes={"image": axes, "pred": axes if dimensions == 5 else {0: "n"}},
    )


def run_onnx(path: Path, image: Tensor) -> np.ndarray:
    """The output of ONNX Runtime for float32 `image` (n, channels, x, y, z), on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"image": image.numpy()})
    return np.asarray(result)


def _zip(folder: Path, path: Path) -> None:
    """All files of `folder` under its name, sorted, with one date."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            entry = zipfile.ZipInfo(f"{folder.name}/{file.relative_to(folder).as_posix()}", _ZIP_DATE)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, file.read_bytes())


def find_bundles(name: str) -> list[Path]:
    """Folders of the bundles called `name`: all, one of `BUNDLES`, or a bundle's folder.

    Raises:
        UsageError: there is none.
    """
    if name == "all":
        return [bundle_dir(known) for known in BUNDLES]
    if name in BUNDLES:
        return [bundle_dir(name)]
    if (Path(name) / "configs").is_dir():
        return [Path(name).resolve()]
    raise UsageError(f"{name}: not a bundle; give all, a bundle's folder, or one of {', '.join(BUNDLES)}")
