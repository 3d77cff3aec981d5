"""The zip of a bundle: what's in it, that MONAI loads it, and that its networks compute the same in every format."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runs import workflow
from monai.bundle import download, load

from monai_lung.bundle.packing import BUNDLES, TOLERANCE, pack, run_onnx
from monai_lung.definitions import build_network, read_config, settings
from monai_lung.errors import UsageError, WeightsError
from monai_lung.stages import ALL_STAGES, STAGES, stages_of
from monai_lung.version import __version__
from monai_lung.weights import bundle_dir, load_weights

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def packed(bundles, tmp_path_factory) -> Path:
    """The folder of the zips of narrow bundles."""
    pytest.importorskip("onnxruntime")
    out = tmp_path_factory.mktemp("zips")
    for bundle in (bundles.segmentation, bundles.classification, bundles.analysis, bundles.paper):
        pack(bundle, out)
    return out


def unpacked(packed: Path, name: str, folder: Path) -> Path:
    with zipfile.ZipFile(packed / f"{name}_v{__version__}.zip") as archive:
        archive.extractall(folder)
    return folder / name


def test_the_name_holds_the_version_and_one_folder_lies_in_it(packed, bundles):
    assert sorted(p.name for p in packed.iterdir()) == sorted(f"{name}_v{__version__}.zip" for name in BUNDLES)
    for path in packed.iterdir():
        names = set(zipfile.ZipFile(path).namelist())
        name = path.name.removesuffix(f"_v{__version__}.zip")
        assert {n.split("/")[0] for n in names} == {name}
        own = {
            p.relative_to(bundles.segmentation.parent).as_posix()
            for p in (bundles.segmentation.parent / name).rglob("*.*")
        }
        assert {n for n in own if "__pycache__" not in n} <= names
        weights = {n for n in names if Path(n).name in {stage.weights for stage in ALL_STAGES.values()}}
        assert weights or name == BUNDLES[2]
        assert {n.replace(".pt", suffix) for n in weights for suffix in (".ts", ".onnx")} <= names


def test_monai_downloads_and_loads_it(packed, bundles, tmp_path):
    name = "lung_nodule_classification"
    download(name=name, bundle_dir=tmp_path, url=(packed / f"{name}_v{__version__}.zip").as_uri(), progress=False)
    state = load(name, bundle_dir=tmp_path, workflow_type="none", device="cpu")
    assert state.keys() == torch.load(bundles.classification / "models" / "model.pt", weights_only=True).keys()
    network, metadata, extra = load(
        name, bundle_dir=tmp_path, load_ts_module=True, device="cpu", config_files=["inference.json"]
    )
    assert metadata["version"] == __version__
    assert json.loads(extra["inference.json"])["network_def"]["near_width"] == 2
    assert network(torch.rand(1, 9, 48, 48, 24)).shape == (1, 9)


def test_its_configs_find_their_own_weights(packed, ct_dir, tmp_path):
    bundle = unpacked(packed, "lung_nodule_segmentation", tmp_path)
    flow = workflow(bundle, "inference.json", dataset_dir=str(ct_dir))
    flow.initialize()
    assert flow.check_properties() == []


@pytest.mark.parametrize("size", [(2, 48, 48, 24), (1, 37, 50, 21)])
def test_every_format_computes_the_same_at_any_size(packed, bundles, tmp_path, size):
    for name in BUNDLES[:2]:
        bundle = unpacked(packed, name, tmp_path)
        for stage in stages_of(read_config(bundle)):
            file = stage.weights
            network = build_network(read_config(bundle), stage.definition, bundle).eval()
            load_weights(network, bundle, file)
            path = bundle / "models" / file
            channels = stage.takes(settings(stage.settings, read_config(bundle)[stage.settings_key], bundle))[1]
            image = torch.rand(size[0], channels, *size[1:], generator=torch.Generator().manual_seed(1))
            with torch.inference_mode():
                expected = network(image).numpy()
                scripted = torch.jit.load(path.with_suffix(".ts"))(image).numpy()
            assert np.ptp(expected) > 1e-3, "a network that answers the same everywhere proves nothing"
            np.testing.assert_allclose(scripted, expected, rtol=0, atol=TOLERANCE)
            np.testing.assert_allclose(run_onnx(path.with_suffix(".onnx"), image), expected, rtol=0, atol=TOLERANCE)


def test_a_bundle_that_is_none_or_has_other_weights_is_refused(bundles, tmp_path):
    pytest.importorskip("onnx")
    with pytest.raises(WeightsError, match="not a bundle"):
        pack(tmp_path, tmp_path / "out")
    copy = tmp_path / "lung_nodule_classification"
    shutil.copytree(bundles.classification, copy)
    (copy / "models" / "model.pt").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="sha256"):
        pack(copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_onnx_it_says_what_to_install(bundles, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=re.escape("monai-lung[onnx]")):
        pack(bundles.classification, tmp_path / "out")


@pytest.mark.slow
def test_the_shipped_networks_run_by_onnx_runtime(tmp_path):
    """On the batches that an analysis gives them."""
    pytest.importorskip("onnxruntime")
    pack(bundle_dir(BUNDLES[0]), tmp_path)
    pack(bundle_dir(BUNDLES[1]), tmp_path)
    for name, shape in (
        ("find", (4, 1, 64, 64, 32)),
        ("delineate", (8, 1, 48, 48, 24)),
        ("rate", (4, 3, 48, 48, 24)),
        ("malignancy", (4, 3, 48, 48, 5)),
    ):
        stage = STAGES[name]
        file = stage.weights.removesuffix(".pt")
        bundle = unpacked(tmp_path, stage.bundle, tmp_path / "unpacked")
        image = torch.rand(shape, generator=torch.Generator().manual_seed(2))
        network = build_network(read_config(bundle), stage.definition, bundle).eval()
        load_weights(network, bundle, stage.weights)
        with torch.inference_mode():
            expected = network(image).numpy()
        result = run_onnx(bundle / "models" / f"{file}.onnx", image)
        np.testing.assert_allclose(result, expected, rtol=0, atol=TOLERANCE)


CHECK = """
import sys, torch
from monai.bundle import load
name, folder, channels = sys.argv[1], sys.argv[2], int(sys.argv[3])
image = torch.rand(1, channels, 48, 48, 24)
network = load(name, bundle_dir=folder, workflow_type="inference", device="cpu")
scripted, metadata, _ = load(name, bundle_dir=folder, load_ts_module=True, device="cpu")
with torch.inference_mode():
    difference = (network.eval()(image) - scripted(image)).abs().max().item()
assert difference < 1e-3, difference
print("loaded", metadata["version"])
"""


@pytest.mark.slow
def test_a_fresh_environment_with_monai_and_this_package_only_loads_and_runs_it(ct_dir, tmp_path):
    """A venv of its own, the package built from this checkout without extras, the zips as they ship."""
    pytest.importorskip("onnxruntime")
    source = tmp_path / "source"
    for name in ("monai_lung", "bundles"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    python = tmp_path / "venv" / "bin" / "python"
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def call(*command: object) -> str:
        done = subprocess.run(
            [str(c) for c in command], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=1800
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    call(sys.executable, "-m", "venv", tmp_path / "venv")
    call(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", source)
    shutil.rmtree(source)
    listed = call(python, "-m", "pip", "list").lower()
    assert "highdicom" not in listed
    assert "onnx" not in listed
    for name, channels in zip(BUNDLES[:2], (1, 9), strict=True):
        zipped = pack(bundle_dir(name), tmp_path / "dist")
        folder = tmp_path / "downloaded"
        folder.mkdir(exist_ok=True)
        call(python, "-m", "monai.bundle", "download", "--name", name, "--bundle_dir", folder, "--url", zipped.as_uri())
        assert f"loaded {__version__}" in call(python, "-W", "ignore", "-c", CHECK, name, folder, channels)
    config = tmp_path / "downloaded" / BUNDLES[0] / "configs" / "inference.json"
    call(
        *(python, "-m", "monai.bundle", "run", "--config_file", config),
        *("--dataset_dir", ct_dir, "--output_dir", tmp_path / "out", "--device", "cpu"),
    )
    assert (tmp_path / "out" / "one" / "nodules.nii.gz").is_file()
