"""The training configs, each for an epoch of a few tiny patches."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from bundle_runs import cause_of, run, workflow
from ignite.engine import Engine, Events

from monai_lung.errors import MonaiLungError, UsageError, WeightsError
from monai_lung.training.handlers import BestCheckpoint, Resumable, StopEarly, SwitchLoss
from monai_lung.weights import resume, save_weights

TRAINED = [("segmentation", "train.json"), ("segmentation", "train_find.json"), ("classification", "train.json")]


@pytest.fixture
def options(crop_dir, fold_file, background_dir, tmp_path):
    """A tiny cpu recipe."""

    def of(name: str, recipe: str = "cpu", **more):
        recipes = f"recipes#{recipe}#"
        tiny = {"width": 4, "epochs": 1, "batch": 2, "patch": [16, 16, 16]}
        if name != "train.json":
            tiny["samples"] = 4
        result = {
            "dataset_dir": str(crop_dir),
            "fold_file": str(fold_file),
            "output_dir": str(tmp_path / "run"),
            "recipe": recipe,
            "val_interval": 1,
            "device": "cpu",
            **{recipes + key: value for key, value in tiny.items()},
        }
        if name == "train_find.json":
            result |= {"background_dir": str(background_dir / recipe), "validate#dataset#samples": 2}
        return result | more

    return of


def losses(folder):
    with (folder / "loss.csv").open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("recipe", ["cpu", "best", "paper"])
@pytest.mark.parametrize(("kind", "name"), TRAINED)
def test_an_epoch_gives_a_checkpoint_that_loads(bundles, options, tmp_path, kind, name, recipe):
    bundle = getattr(bundles, kind)
    flow = workflow(bundle, name, kind="train", **options(name, recipe))
    flow.initialize()
    before = {k: v.clone() for k, v in flow.parser.get_parsed_content("network").state_dict().items()}
    flow.run()
    (found,) = losses(tmp_path / "run")
    assert np.isfinite(found)
    finals = list((tmp_path / "run").glob("model_final*.pt"))
    assert len(finals) == 1
    assert (tmp_path / "run" / "model_best.pt").is_file()
    after = flow.parser.get_parsed_content("network").state_dict()
    assert any(not torch.equal(v, after[k]) for k, v in before.items())
    resume(flow.parser.get_parsed_content("network_def"), finals[0])


@pytest.mark.parametrize(("kind", "name"), TRAINED[:1] + TRAINED[2:])
def test_a_resumed_training_ends_as_one_that_was_not_interrupted(bundles, options, tmp_path, kind, name):
    bundle = getattr(bundles, kind)
    two = {"recipes#cpu#epochs": 2}  # each with a validation
    whole = options(name, **two, output_dir=str(tmp_path / "whole"))
    run(bundle, name, kind="train", **whole)
    half = options(name, **two, output_dir=str(tmp_path / "half"))
    run(bundle, name, kind="train", **half, **{"train#trainer#max_epochs": 1})
    torch.manual_seed(99)
    run(bundle, name, kind="train", **half, resume=True)
    assert losses(tmp_path / "half") == losses(tmp_path / "whole")
    ends = [torch.load(tmp_path / d / "resume.pt", weights_only=True) for d in ("whole", "half")]
    assert ends[0]["epoch"] == ends[1]["epoch"] == 2
    assert ends[0]["best"] == ends[1]["best"]
    for part in ("network", "ema"):
        for key, value in ends[0][part].items():
            torch.testing.assert_close(value, ends[1][part][key], rtol=0, atol=0)


def test_backgrounds_of_another_grid_are_refused(bundles, options, background_dir):
    wrong = options("train_find.json", background_dir=str(background_dir / "paper"))
    with pytest.raises(RuntimeError) as caught:
        run(bundles.segmentation, "train_find.json", kind="train", **wrong)
    assert "voxels" in str(cause_of(caught.value, UsageError))


def test_the_loss_switches_after_its_epochs():
    class Engine:
        loss_function = "bce"

        class state:
            epoch = 3

    engine, switch = Engine(), SwitchLoss("dice", after=3)
    switch(engine)
    assert engine.loss_function == "bce"
    engine.state.epoch = 4
    switch(engine)
    assert engine.loss_function == "dice"


def test_the_best_network_is_kept_and_training_ends_when_it_gets_no_better(tmp_path):
    network = torch.nn.Linear(1, 1)
    best = BestCheckpoint(tmp_path, network)
    validator, trainer = Engine(lambda engine, batch: None), Engine(lambda engine, batch: None)
    metrics = iter([0.3, 0.6, 0.5, 0.4, 0.9])
    best.attach(validator)

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine):
        network.weight.data.fill_(engine.state.epoch)
        validator.state.metrics = {"dice": next(metrics)}
        validator.state.key_metric_name = "dice"
        validator.state.epoch = engine.state.epoch
        best(validator)

    StopEarly(best, patience=2).attach(trainer)
    trainer.run([0], max_epochs=5)
    assert trainer.state.epoch == 4
    assert best.state_dict() == {"metric": 0.6, "epoch": 2}
    assert torch.load(tmp_path / "model_best.pt", weights_only=True)["model"]["weight"].item() == 2
    again = BestCheckpoint(tmp_path, network)
    again.load_state_dict(best.state_dict())
    again(validator)  # 0.4
    assert torch.load(tmp_path / "model_best.pt", weights_only=True)["model"]["weight"].item() == 2


def test_a_loss_that_is_no_number_stops_the_training(bundles, options, tmp_path):
    flow = workflow(bundles.segmentation, "train.json", kind="train", **options("train.json"))
    flow.initialize()
    state = flow.parser.get_parsed_content("network_def").state_dict()
    torch.save({key: torch.full_like(value, float("nan")) for key, value in state.items()}, tmp_path / "nan.pt")
    with pytest.raises(RuntimeError) as caught:
        run(bundles.segmentation, "train.json", kind="train", **options("train.json", start=str(tmp_path / "nan.pt")))
    assert "epoch 1, iteration 1" in str(cause_of(caught.value, MonaiLungError))
    assert not (tmp_path / "run" / "resume.pt").exists()


def test_a_damaged_resume_file_says_so(tmp_path):
    (tmp_path / "resume.pt").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="without resume"):
        Resumable(tmp_path, {}, resume=True).load(None)


def test_a_trained_checkpoint_can_be_sealed_and_evaluated(bundles, options, crop_dir, tmp_path):
    run(bundles.segmentation, "train.json", kind="train", **options("train.json"))
    (final,) = (tmp_path / "run").glob("model_final*.pt")
    run(
        bundles.segmentation,
        "evaluate.json",
        dataset_dir=str(crop_dir),
        output_dir=str(tmp_path / "eval"),
        checkpoint=str(final),
        device="cpu",
    )
    metrics = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    assert metrics["figures"]["dice"]["all"]["n"] == 6
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "metadata.json").write_text("{}")
    digest = save_weights(final, tmp_path, "model.pt")
    assert json.loads((tmp_path / "configs" / "metadata.json").read_text()) == {"weights_sha256": {"model.pt": digest}}
    state = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    assert all(v.dtype == torch.float16 for v in state.values() if v.is_floating_point())


@pytest.mark.slow
def test_two_processes_train_as_one(bundles, options, tmp_path):
    """The loss of torchrun with two gloo processes is that of one process with twice the batch, within tolerance."""
    name = "train.json"
    shared = {"recipes#cpu#epochs": 2, "train#dataloader#shuffle": False}
    one = options(name, **shared, output_dir=str(tmp_path / "one"))
    two = options(name, **shared, output_dir=str(tmp_path / "two")) | {
        "recipes#cpu#batch": 1,
        "train#sampler#shuffle": False,
    }
    configs = [str(bundles.segmentation / "configs" / n) for n in (name, "multi_gpu_train.json")]
    run(bundles.segmentation, name, kind="train", **one)
    arguments = [x for key, value in two.items() for x in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "monai.bundle", "run", "--bundle_root", str(bundles.segmentation)]
    command += ["--config_file", str(configs), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=400, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    weights = [torch.load(tmp_path / d / "resume.pt", weights_only=True) for d in ("one", "two")]
    assert weights[1]["epoch"] == 2
    assert weights[0]["iteration"] == weights[1]["iteration"]
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=0.2)
