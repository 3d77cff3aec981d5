"""The trainings of the paper's networks, each for an epoch of a few tiny patches, up to what the bundle then does."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from bundle_runs import cause_of, run, workflow

from monai_lung.data.backgrounds import Background, save_background
from monai_lung.errors import UsageError
from monai_lung.pipeline import Options, analyze
from monai_lung.training.paper import CLASSIFIERS, SEGMENTERS
from monai_lung.weights import save_weights

TRAININGS = [("train_segment.json", name) for name in SEGMENTERS]
TRAININGS += [("train_classify.json", name) for name in CLASSIFIERS]


@pytest.fixture(scope="module")
def lungs_dir(tmp_path_factory):
    """Two scans' lungs on the paper's grid, twice each."""
    folder = tmp_path_factory.mktemp("lungs")
    rng = np.random.default_rng(0)
    for name in ("a_s0", "a_s1", "b_s0", "b_s1"):
        hu = rng.normal(-850, 60, (56, 52, 30)).round().astype(np.int16)
        depth = np.zeros(hu.shape, np.uint8)
        for d in range(1, 10):
            depth[d : 56 - d, d : 52 - d, d : 30 - d] = d
        save_background(Background(name, hu, depth, np.zeros(hu.shape, bool), np.diag([1.5, 1.5, 3.0, 1.0])), folder)
    return folder


@pytest.fixture
def options(crop_dir, fold_file, lungs_dir, tmp_path):
    def of(config: str, **more):
        tiny = {"width": 2, "epochs": 1, "batch": 2, "samples": 4}
        tiny["patch"] = [32, 32, 16] if config == "train_segment.json" else [16, 16, 8]
        result = {
            "dataset_dir": str(crop_dir),
            "fold_file": str(fold_file),
            "lungs_dir": str(lungs_dir),
            "output_dir": str(tmp_path / "run"),
            "val_interval": 1,
            "device": "cpu",
            "precision": "float32",
            "exclude_backgrounds": ["b"],
            **{f"recipes#cpu#{key}": value for key, value in tiny.items()},
        }
        if config == "train_segment.json":
            result["validate#samples"] = 2
        return result | more

    return of


def losses(folder):
    with (folder / "loss.csv").open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize(("config", "name"), TRAININGS)
def test_a_resumed_training_ends_as_one_that_was_not_interrupted(bundles, options, tmp_path, config, name):
    two = {"recipes#cpu#epochs": 2, "architecture": name}
    run(bundles.paper, config, kind="train", **options(config, output_dir=str(tmp_path / "whole"), **two))
    half = options(config, output_dir=str(tmp_path / "half"), **two)
    run(bundles.paper, config, kind="train", **half, **{"train#trainer#max_epochs": 1})
    torch.manual_seed(9)
    run(bundles.paper, config, kind="train", **half, resume=True)
    assert np.isfinite(losses(tmp_path / "half")).all()
    assert losses(tmp_path / "half") == losses(tmp_path / "whole")
    ends = [torch.load(tmp_path / d / "resume.pt", weights_only=True)["network"] for d in ("whole", "half")]
    for key, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][key], rtol=0, atol=0)


def test_the_trainings_have_the_papers_settings(bundles):
    """Yu et al. 2021: what its text gives."""
    configs = [json.loads((bundles.paper / "configs" / f"train_{n}.json").read_text()) for n in ("segment", "classify")]
    for recipe in configs[0]["recipes"].values():
        assert (recipe["epochs"], recipe["batch"], recipe["rate"]) == (64, 6, 1e-2)
        steps_of_bce = recipe["bce_epochs"] * (recipe["samples"] // recipe["batch"])
        assert steps_of_bce == pytest.approx(3 * 900 // 6, abs=recipe["samples"] // recipe["batch"] / 2)
    assert configs[0]["recipes"]["paper"]["patch"] == [192, 192, 48]
    assert configs[0]["recipes"]["paper"]["samples"] == 900
    for recipe in configs[1]["recipes"].values():
        assert (recipe["epochs"], recipe["batch"], recipe["patch"]) == (52, 16, [48, 48, 16])
    rates = {name: recipe["rate"] for name, recipe in configs[1]["recipes"].items()}
    assert rates == {"paper": 1e-4, "cpu": 8e-4}  # a sixteenth of the steps
    for config, schedule in zip(configs, ("thirds", "constant"), strict=True):
        assert config["train"]["optimizer"]["_target_"] == "torch.optim.Adam"
        assert config["train"]["scheduler"]["kind"] == schedule


@pytest.mark.parametrize(("name", "first", "later"), [("res-unet", (1.0, 0.0), (0.0, 1.0)), ("unet", (0.0, 1.0), None)])
def test_the_loss_is_cross_entropy_then_dice(bundles, options, name, first, later):
    flow = workflow(
        bundles.paper, "train_segment.json", kind="train", **options("train_segment.json", architecture=name)
    )
    flow.initialize()
    loss = flow.parser.get_parsed_content("train#loss")
    assert (loss.bce_weight, loss.dice_weight) == first
    switches = [h for h in flow.parser.get_parsed_content("train#handlers") if type(h).__name__ == "SwitchLoss"]
    assert len(switches) == (later is not None)
    for switch in switches:
        assert switch.after == 22  # epochs of 20 steps, where the paper's three have 150
        assert (switch.loss_function.bce_weight, switch.loss_function.dice_weight) == later
    assert flow.check_properties() == []


def test_what_was_trained_becomes_the_bundles_weights(bundles, options, ct_dir, tmp_path):
    bundle = tmp_path / "lung_nodule_paper"
    shutil.copytree(bundles.paper, bundle)
    path = bundle / "configs" / "inference.json"
    config = json.loads(path.read_text())
    config["network_def"]["width"] = 2
    path.write_text(json.dumps(config))
    for training, file in (("train_segment.json", "model.pt"), ("train_classify.json", "classify.pt")):
        run(bundle, training, kind="train", **options(training, output_dir=str(tmp_path / file)))
        (final,) = (tmp_path / file).glob("model_final*.pt")
        save_weights(final, bundle, file)
    report = analyze(ct_dir / "one.nii.gz", Options(device="cpu", pipeline="paper", paper_dir=bundle))
    known = json.loads((bundle / "configs" / "metadata.json").read_text())["weights_sha256"]
    assert report.weights == {"segment": known["model.pt"], "classify": known["classify.pt"]}


@pytest.mark.parametrize(
    ("config", "wrong", "said"),
    [
        ("train_segment.json", {"architecture": "other"}, "choose one of res-unet, unet"),
        ("train_segment.json", {"exclude_backgrounds": ["a", "b"]}, "no lungs are left"),
        ("train_classify.json", {"labels": "other"}, "choose marks or nodules"),
        ("train_classify.json", {"architecture": "other"}, "choose one of nodule-resnet, resnet50"),
        ("train_classify.json", {"train_patients": ["P0"]}, "only one kind is here"),
        ("train_classify.json", {"train_patients": ["nobody"]}, "file of folds"),
    ],
)
def test_what_does_not_fit_is_said(bundles, options, config, wrong, said):
    with pytest.raises(RuntimeError) as caught:
        run(bundles.paper, config, kind="train", **options(config, **wrong))
    assert said in str(cause_of(caught.value, UsageError))
