"""Networks from elsewhere in the bundles: MONAI's DynUNet, and classes from a file of one's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from monai_lung.cli import cli
from monai_lung.definitions import build_network, read_config
from monai_lung.errors import ConfigError, WeightsError
from monai_lung.inference.networks import load_delineator, load_finder, load_rater
from monai_lung.pipeline import Analyzer, Options
from monai_lung.stages import STAGES, stages_of
from monai_lung.weights import save_weights

DYN = {
    "_target_": "DynUNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 1,
    "kernel_size": [3, 3, 3],
    "strides": [1, 2, 2],
    "upsample_kernel_size": [2, 2],
    "filters": [4, 8, 8],
}
OWN = """
import torch


class Mean(torch.nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.head = torch.nn.Linear(inputs, outputs)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(image.mean((2, 3, 4)))
"""


def changed(bundle: Path, folder: Path, **definitions: dict[str, Any]) -> Path:
    """A copy of a bundle with other networks, and a class of its own in `scripts`."""
    copy = folder / bundle.name
    shutil.copytree(bundle, copy)
    path = copy / "configs" / "inference.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | definitions))
    (copy / "scripts").mkdir()
    (copy / "scripts" / "mine.py").write_text(OWN)
    return copy


def stored(bundle: Path) -> Path:
    """The bundle with untrained weights of its networks."""
    config = read_config(bundle)
    for stage in stages_of(config):
        network = build_network(config, stage.definition, bundle, trust_bundle=True)
        save_weights(network, bundle, stage.weights, trust_bundle=True)
    return bundle


@pytest.fixture
def segmentation(bundles, tmp_path: Path) -> Path:
    return changed(bundles.segmentation, tmp_path, find_def=DYN, network_def=DYN)


@pytest.fixture
def classification(bundles, tmp_path: Path) -> Path:
    own = [{"_target_": "scripts.mine.Mean", "inputs": n, "outputs": m} for n, m in ((9, 9), (3, 8))]
    return changed(bundles.classification, tmp_path, network_def=own[0], malignancy_def=own[1])


def test_each_stage_takes_a_network_from_elsewhere(segmentation, classification, ct_dir) -> None:
    stored(segmentation), stored(classification)
    cpu = torch.device("cpu")
    assert type(load_finder(cpu, segmentation, trust_bundle=True).find).__name__ == "DynUNet"
    assert type(load_delineator(cpu, segmentation, trust_bundle=True).delineate).__name__ == "DynUNet"
    assert type(load_rater(cpu, classification, trust_bundle=True).malignancy).__name__ == "Mean"
    options = Options("cpu", segmentation_dir=segmentation, classification_dir=classification, trust_bundle=True)
    report = Analyzer(options).analyze(ct_dir / "one.nii.gz")
    assert list(report.weights) == list(STAGES)


def test_without_a_yes_nothing_of_theirs_runs(segmentation, classification, tmp_path) -> None:
    mark = tmp_path / "ran"
    for bundle in (segmentation, classification):
        (bundle / "scripts" / "mine.py").write_text(f"open({str(mark)!r}, 'w')\n" + OWN)
        config = read_config(bundle)
        theirs = [s for s in stages_of(config) if not config[s.definition]["_target_"].startswith("monai_lung.")]
        assert theirs
        for stage in theirs:
            with pytest.raises(ConfigError, match="use --trust-bundle"):
                build_network(read_config(bundle), stage.definition, bundle)
            with pytest.raises(ConfigError, match="use --trust-bundle"):
                save_weights(torch.nn.Linear(1, 1), bundle, stage.weights)
    assert not mark.exists()


@pytest.mark.parametrize("trusted", [False, True])
def test_the_command_takes_them_after_a_yes(segmentation, classification, ct_dir, tmp_path, trusted) -> None:
    stored(segmentation), stored(classification)
    words = ["analyze", str(ct_dir / "one.nii.gz"), "-o", str(tmp_path / "out"), "--format", "json"]
    words += ["--segmentation-bundle", str(segmentation), "--classification-bundle", str(classification)]
    end = CliRunner().invoke(cli, [*words, *["--trust-bundle"] * trusted])
    if trusted:
        assert end.exit_code == 0, end.output
    else:
        assert "--trust-bundle" in str(end.exception)
        assert not (tmp_path / "out" / "one").exists()


def test_a_folder_that_is_no_bundle_is_wrong_usage(tmp_path) -> None:
    end = CliRunner().invoke(cli, ["analyze", str(tmp_path), "-o", "out", "--segmentation-bundle", str(tmp_path)])
    assert end.exit_code == 2
    assert "is not a bundle" in " ".join(end.output.replace("│", " ").split())


def test_a_network_that_does_not_fit_its_stage_is_refused_in_a_line(bundles, tmp_path) -> None:
    two = changed(bundles.segmentation, tmp_path, network_def=DYN | {"out_channels": 2})
    weights = build_network(read_config(two), "network_def", two, trust_bundle=True)
    with pytest.raises(ConfigError, match=r"gives a tensor of \(1, 2, 48, 48, 24\).*wants \(1, 1, 48, 48, 24\)"):
        save_weights(weights, two, "model.pt", trust_bundle=True)
    shutil.rmtree(two)
    deep = changed(bundles.segmentation, tmp_path, network_def=DYN | {"in_channels": 3})
    weights = build_network(read_config(deep), "network_def", deep, trust_bundle=True)
    with pytest.raises(ConfigError, match=r"can't take \(1, 1, 48, 48, 24\), which 'delineate' gives it"):
        save_weights(weights, deep, "model.pt", trust_bundle=True)


def test_what_cannot_be_built_is_said_in_a_line(bundles, tmp_path) -> None:
    gone = changed(bundles.segmentation, tmp_path, network_def={"_target_": "scripts.gone.Network"})
    with pytest.raises(ConfigError, match=r"can't be built: .*gone"):
        build_network(read_config(gone), "network_def", gone, trust_bundle=True)
    no_network = changed(bundles.classification, tmp_path, network_def={"_target_": "builtins.dict", "a": 1})
    with pytest.raises(ConfigError, match="is a dict, not a network"):
        build_network(read_config(no_network), "network_def", no_network, trust_bundle=True)


def test_two_bundles_may_have_scripts_of_one_name(classification, bundles, tmp_path) -> None:
    other = changed(bundles.classification, tmp_path / "other", network_def={"_target_": "scripts.mine.Other"})
    (other / "scripts" / "mine.py").write_text("import torch\n\n\nclass Other(torch.nn.Module):\n    pass\n")
    names = [
        type(build_network(read_config(bundle), "network_def", bundle, trust_bundle=True)).__name__
        for bundle in (classification, other, classification)
    ]
    assert names == ["Mean", "Other", "Mean"]


def test_weights_of_a_class_of_ones_own_that_fit_are_known_by_their_digest(segmentation) -> None:
    stored(segmentation)
    path = segmentation / "models" / "find.pt"
    path.write_bytes(path.read_bytes() + b"0")
    with pytest.raises(WeightsError, match="sha256"):
        load_finder(torch.device("cpu"), segmentation, trust_bundle=True)
