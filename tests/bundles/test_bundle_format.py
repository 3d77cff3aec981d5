"""What MONAI and its tools ask of a bundle."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from bundle_runs import cause_of, run, workflow
from monai.bundle import ckpt_export, onnx_export, verify_metadata, verify_net_in_out

from monai_lung.errors import UsageError, WeightsError
from monai_lung.networks import ResUNet3d
from monai_lung.weights import load_weights, save_weights

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
NAMES = ("segmentation", "classification", "analysis", "paper")
WITH_NETWORKS = ("segmentation", "classification", "paper")
EVALUATED = WITH_NETWORKS[:2]
TRAININGS = {
    "segmentation": ("train", "train_find", "train_correct"),
    "classification": ("train_rate", "train_malignancy"),
}


def folder(name: str) -> Path:
    return BUNDLES / f"lung_nodule_{name}"


@pytest.mark.parametrize("name", NAMES)
def test_the_metadata_keep_the_schema(name, tmp_path):
    schema = tmp_path / "schema.json"
    shutil.copy(BUNDLES / "metadata.schema.json", schema)
    verify_metadata(meta_file=str(folder(name) / "configs" / "metadata.json"), filepath=str(schema))
    metadata = json.loads((folder(name) / "configs" / "metadata.json").read_text())
    assert metadata["schema"].endswith("meta_schema_20240725.json")
    broken = tmp_path / "metadata.json"
    del metadata["network_data_format"]["outputs"]
    broken.write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="Failed validating"):
        verify_metadata(meta_file=str(broken), filepath=str(schema))


@pytest.mark.parametrize("name", WITH_NETWORKS)
def test_the_network_takes_and_gives_what_the_metadata_say(name):
    configs = folder(name) / "configs"
    verify_net_in_out("network_def", str(configs / "metadata.json"), str(configs / "inference.json"), device="cpu")


@pytest.mark.parametrize("name", WITH_NETWORKS)
def test_the_network_exports_to_torchscript(bundles, name, tmp_path):
    bundle = getattr(bundles, name)
    configs = bundle / "configs"
    path = tmp_path / "model.ts"
    ckpt_export(
        "network_def",
        filepath=str(path),
        ckpt_file=str(bundle / "models" / "model.pt"),
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / "inference.json"),
    )
    channels = json.loads((configs / "metadata.json").read_text())["network_data_format"]["inputs"]["image"]
    image = torch.rand(1, channels["num_channels"], *channels["spatial_shape"])
    network = workflow(bundle, "inference.json")
    network.initialize()
    eager = network.network_def
    load_weights(eager, bundle, "model.pt")
    with torch.inference_mode():
        torch.testing.assert_close(torch.jit.load(path)(image), eager.eval()(image), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_NETWORKS)
def test_the_network_exports_to_onnx(bundles, name, tmp_path):
    """By MONAI's own command, as the model zoo calls it."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime isn't installed")
    pytest.importorskip("onnx", reason="onnx isn't installed")
    bundle = getattr(bundles, name)
    configs, path = bundle / "configs", tmp_path / "model.onnx"
    sizes = json.loads((configs / "metadata.json").read_text())["network_data_format"]["inputs"]["image"]
    shape = (1, sizes["num_channels"], *sizes["spatial_shape"])
    onnx_export(
        "network_def",
        filepath=str(path),
        ckpt_file=str(bundle / "models" / "model.pt"),
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / "inference.json"),
        input_shape=list(shape),
        converter_kwargs={"dynamo": False, "input_names": ["image"], "output_names": ["pred"]},
    )
    network = workflow(bundle, "inference.json")
    network.initialize()
    eager = network.network_def
    load_weights(eager, bundle, "model.pt")
    image = torch.rand(shape)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = eager.eval()(image)
    torch.testing.assert_close(
        torch.from_numpy(session.run(None, {"image": image.numpy()})[0]), expected, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("name", NAMES)
def test_inference_has_the_properties(bundles, name, ct_dir, tmp_path):
    bundle = getattr(bundles, name)
    paths = {"dataset_dir": str(ct_dir), "mask_dir": str(tmp_path)}
    (tmp_path / "one").mkdir()
    shutil.copy(ct_dir / "one.nii.gz", tmp_path / "one" / "nodules.nii.gz")
    flow = workflow(bundle, "inference.json", **paths)
    flow.initialize()
    assert flow.check_properties() == []
    assert flow.bundle_root == str(bundle)
    assert len(flow.dataset) == 1


@pytest.mark.parametrize("name", EVALUATED)
def test_evaluation_has_the_properties(bundles, name, crop_dir):
    bundle = getattr(bundles, name)
    flow = workflow(
        bundle, "evaluate.json", dataset_dir=str(crop_dir), segmentation_dir=str(bundles.segmentation), device="cpu"
    )
    flow.initialize()
    assert flow.check_properties() == []


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("segmentation", "train.json"),
        ("segmentation", "train_find.json"),
        ("segmentation", "train_correct.json"),
        ("classification", "train_malignancy.json"),
    ],
)
def test_training_has_the_properties(bundles, name, config, crop_dir, slice_dir, fold_file, background_dir):
    options = {"dataset_dir": str(crop_dir), "fold_file": str(fold_file), "background_dir": str(background_dir / "cpu")}
    options["recipes#best#batch"] = 2  # of the few crops
    if config == "train_malignancy.json":
        options["slice_dir"] = str(slice_dir)
    if config == "train_correct.json":  # starts as the bundle's own network that delineates
        own = json.loads((bundles.segmentation / "configs" / "inference.json").read_text())["network_def"]
        options |= {f"recipes#best#{key}": own[key] for key in ("width", "levels") if key in own}
    flow = workflow(getattr(bundles, name), config, kind="train", **options)
    flow.initialize()
    assert flow.check_properties() == []
    assert flow.max_epochs == flow.parser.get_parsed_content("settings")["epochs"]


@pytest.mark.parametrize("name", NAMES)
def test_every_file_of_a_bundle_is_there(name):
    present = {p.relative_to(folder(name)).as_posix() for p in folder(name).rglob("*") if p.is_file()}
    needed = {"LICENSE", "docs/data_license.txt", "docs/README.md"}
    needed |= {f"configs/{n}" for n in ("metadata.json", "inference.json", "logging.conf")}
    if name in EVALUATED:
        needed |= {f"configs/{n}.json" for n in (*TRAININGS[name], "evaluate", "multi_gpu_train")}
    assert needed <= present
    log = configparser.ConfigParser(interpolation=None)
    log.read(folder(name) / "configs" / "logging.conf")
    assert {"loggers", "handlers", "formatters"} <= set(log.sections())


ZOO_FILE_BYTES = 25 * 2**20
"""What the model zoo takes as a file; a larger one is named in large_files.yml instead."""
ZOO_INFERENCE = {"bundle_root", "device", "network_def", "inferer", "output_dir"}
ZOO_TRAIN = {
    "train": {"trainer", "dataset", "handlers", "preprocessing", "inferer"},
    "validate": {"evaluator", "dataset", "handlers", "preprocessing", "postprocessing", "inferer", "key_metric"},
}


@pytest.mark.parametrize("name", NAMES)
def test_the_zoo_finds_the_files_versions_and_keys_that_it_asks_for(name):
    """Beside the schema, the network's shapes and TorchScript, which tests of their own hold."""
    large = [p.name for p in folder(name).rglob("*") if p.is_file() and p.stat().st_size > ZOO_FILE_BYTES]
    assert not large, "they belong into large_files.yml, with a link"
    configs = folder(name) / "configs"
    metadata = json.loads((configs / "metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]
    assert metadata["name"]
    assert set(json.loads((configs / "inference.json").read_text())) >= ZOO_INFERENCE
    if name in EVALUATED:
        assert (folder(name) / "models" / "model.pt").is_file()
        for training in TRAININGS[name]:
            train = json.loads((configs / f"{training}.json").read_text())
            assert set(train) >= {"bundle_root", "device", "output_dir", "val_interval"}
            assert "max_epochs" in train["train"]["trainer"]
            for section, keys in ZOO_TRAIN.items():
                assert set(train[section]) >= keys
                assert "data" in train[section]["dataset"]


def test_network_definitions_and_settings_are_plain_values():
    for name, keys in (
        (
            "segmentation",
            ("find_def", "network_def", "correct_def", "find_settings", "delineate_settings", "correct_settings"),
        ),
        ("classification", ("network_def", "malignancy_def", "rate_settings")),
        ("paper", ("network_def", "classify_def", "segment_settings", "classify_settings")),
    ):
        config = json.loads((folder(name) / "configs" / "inference.json").read_text())
        for key in keys:
            assert not re.search(r'"[$@%]', json.dumps(config[key]))


def test_configs_name_no_place_of_one_machine():
    for path in BUNDLES.rglob("configs/*.json"):
        assert not re.search(r'"(/|~|[A-Z]:\\\\)', path.read_text()), path


def test_weights_that_are_not_those_of_the_metadata_are_refused(tmp_path):
    network = small_bundle(tmp_path)
    digest = save_weights(network, tmp_path, "model.pt")
    assert load_weights(network, tmp_path, "model.pt") == digest
    assert save_weights(network, tmp_path, "model.pt") == digest, "the same weights are the same file"
    path = tmp_path / "models" / "model.pt"
    path.write_bytes(path.read_bytes() + b"0")
    with pytest.raises(WeightsError, match="sha256"):
        load_weights(network, tmp_path, "model.pt")
    with torch.no_grad():
        next(network.parameters()).fill_(1e6)
    with pytest.raises(WeightsError, match="finite"):
        save_weights(network, tmp_path, "model.pt")


def test_weights_of_another_network_are_not_stored(tmp_path):
    network = small_bundle(tmp_path)
    digest = save_weights(network, tmp_path, "model.pt")
    torch.save({"model": ResUNet3d(width=8).state_dict()}, tmp_path / "wider.pt")
    for other in (torch.nn.Linear(2, 2), ResUNet3d(width=8), tmp_path / "wider.pt"):
        with pytest.raises(WeightsError, match="not weights of the ResUNet3d of network_def"):
            save_weights(other, tmp_path, "model.pt")
    torch.save({"iteration": 3, "network": network.state_dict()}, tmp_path / "resume.pt")
    with pytest.raises(WeightsError, match=r"resume\.pt: not weights of the ResUNet3d"):
        save_weights(tmp_path / "resume.pt", tmp_path, "model.pt")
    with pytest.raises(WeightsError, match=r"modell\.pt: the weights of .* are model\.pt"):
        save_weights(network, tmp_path, "modell.pt")
    assert load_weights(network, tmp_path, "model.pt") == digest


def small_bundle(folder: Path) -> ResUNet3d:
    """A bundle of one small network in `folder`; the network."""
    (folder / "configs").mkdir()
    (folder / "configs" / "metadata.json").write_text("{}")
    definition = {"_target_": "monai_lung.networks.ResUNet3d", "width": 4}
    settings = {"spacing_mm": [1.0, 1.0, 2.0], "patch": [16, 16, 8], "threshold": 0.5}
    config = {"network_def": definition, "delineate_settings": settings}
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    return ResUNet3d(width=4)


def test_the_command_line_runs_in_the_bundles_folder_and_takes_overrides(bundles, ct_dir, tmp_path):
    """As in MONAI's zoo: `bundle_root` is ".", and options reach any part of the config."""
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    command += ["--dataset_dir", str(ct_dir), "--output_dir", str(tmp_path / "out"), "--device", "cpu"]
    command += ["--inferer#overlap", "0.5", "--inferer#sw_batch_size", "8"]
    command += ["--preprocessing#transforms#6#margin_mm", "20"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=bundles.segmentation, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "out" / "one" / "nodules.nii.gz").is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_overrides_reach_the_objects(bundles, ct_dir):
    options = {"inferer#overlap": 0.5, "inferer#sw_batch_size": 8, "preprocessing#transforms#6#margin_mm": 20}
    network = {"_target_": "monai_lung.networks.ResUNet3d", "width": 8}
    flow = workflow(bundles.segmentation, "inference.json", dataset_dir=str(ct_dir), network_def=network, **options)
    flow.initialize()
    assert (flow.inferer.overlap, flow.inferer.sw_batch_size) == (0.5, 8)
    assert flow.preprocessing.transforms[6].margin_mm == 20
    assert flow.network_def.head.in_channels > 0


def test_a_run_that_does_not_find_its_bundle_says_how(bundles, ct_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError) as caught:
        run(bundles.segmentation, "inference.json", dataset_dir=str(ct_dir), bundle_root=".")
    assert "run in the bundle's folder, or give its path" in str(cause_of(caught.value, UsageError))
