"""The training configs, each for an epoch of a few tiny patches."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runs import cause_of, run, workflow
from ignite.engine import Engine, Events

from monai_lung.data.splits import patient_folds
from monai_lung.errors import MonaiLungError, UsageError, WeightsError
from monai_lung.training.checkpoints import BestCheckpoint, Resumable, patient_hash, patients_of
from monai_lung.training.handlers import RampEma, StopEarly, SwitchLoss, WaitShare
from monai_lung.weights import resume, save_weights

AFTER_THE_PAPER = [("segmentation", "train.json"), ("segmentation", "train_find.json")]
TRAINED = [*AFTER_THE_PAPER, ("segmentation", "train_correct.json"), ("classification", "train_malignancy.json")]
RUNS = [
    (*which, recipe)
    for which in TRAINED
    for recipe in ("cpu", "best", "paper")
    if recipe != "paper" or which in AFTER_THE_PAPER
]
"""The malignancy's network and the one that corrects have no paper's recipe: they aren't the paper's."""


@pytest.fixture
def options(crop_dir, slice_dir, fold_file, background_dir, tmp_path):
    """A tiny cpu recipe."""

    def of(name: str, recipe: str = "cpu", **more):
        recipes = f"recipes#{recipe}#"
        tiny = {"width": 4, "epochs": 1, "batch": 2}
        tiny |= {
            "train.json": {"patch": [16, 16, 16]},
            "train_find.json": {"patch": [16, 16, 16], "samples": 4},
            "train_correct.json": {"patch": [16, 16, 16]},
            "train_malignancy.json": {},
        }[name]
        result = {
            "dataset_dir": str(crop_dir),
            "fold_file": str(fold_file),
            "output_dir": str(tmp_path / "run"),
            "recipe": recipe,
            "val_interval": 1,
            "device": "cpu",
            "precision": "float32",  # which is the quicker one may differ from run to run
            **{recipes + key: value for key, value in tiny.items()},
        }
        if name == "train_find.json":
            result |= {"background_dir": str(background_dir / recipe), "validate#samples": 2}
        if name == "train_malignancy.json":
            result["slice_dir"] = str(slice_dir)
        return result | more

    return of


def losses(folder):
    with (folder / "loss.csv").open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize(("kind", "name", "recipe"), RUNS)
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


@pytest.mark.parametrize(("kind", "name"), TRAINED)
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
    run(bundle, name, kind="train", **half, resume=True)  # it's done: nothing changes
    again = torch.load(tmp_path / "half" / "resume.pt", weights_only=True)
    assert again["epoch"] == 2
    for key, value in ends[1]["network"].items():
        torch.testing.assert_close(value, again["network"][key], rtol=0, atol=0)


def test_the_rater_learns_from_candidates(bundles, candidate_dir, tmp_path):
    tiny = {"near_width": 2, "wide_width": 2, "epochs": 1, "batch": 2}
    given = {
        "candidate_dir": str(candidate_dir),
        "output_dir": str(tmp_path / "run"),
        "recipe": "cpu",
        "device": "cpu",
        "precision": "bfloat16",
        **{f"recipes#cpu#{key}": value for key, value in tiny.items()},
    }
    run(bundles.classification, "train_rate.json", kind="train", left_out=["b"], **given)
    (found,) = losses(tmp_path / "run")
    assert np.isfinite(found)
    assert (tmp_path / "run" / "model_best.pt").is_file()
    flow = workflow(bundles.classification, "train_rate.json", kind="train", **given | {"output_dir": str(tmp_path)})
    flow.initialize()
    assert len(flow.parser.get_parsed_content("train#data")) == 12, "all scans where none is left out"
    flow.run()
    assert not (tmp_path / "model_best.pt").exists(), "nothing is left to validate with"
    assert list(tmp_path.glob("model_final*.pt"))


def test_the_bar_shows_where_the_training_is(bundles, options, capsys):
    run(bundles.segmentation, "train.json", kind="train", **options("train.json", progress=True))
    assert "Iteration" in capsys.readouterr().err


def test_the_paper_recipes_have_the_papers_settings(bundles):
    """Yu et al. 2021: what its text gives, and that late kernels are smaller, of which it doesn't say how small."""
    recipes = {(kind, name): json.loads((getattr(bundles, kind) / "configs" / name).read_text())["recipes"]["paper"]
               for kind, name in AFTER_THE_PAPER}  # fmt: skip
    for name, patch in (("train.json", [48, 48, 16]), ("train_find.json", [192, 192, 48])):
        paper = recipes["segmentation", name]
        assert paper["spacing_mm"] == [1.5, 1.5, 3.0]
        assert paper["patch"] == patch
        assert (paper["levels"], paper["stem"]) == (4, [1, 1, 1])
        assert (paper["epochs"], paper["batch"], paper["rate"], paper["schedule"]) == (64, 6, 1e-2, "thirds")
        assert (paper["bce"], paper["dice"], paper["bce_epochs"]) == (1.0, 0.0, 3)
    assert recipes["segmentation", "train.json"]["target"] == "three"
    for paper in recipes.values():
        assert paper["ema_momentum"] > 0.999  # Ignite wants it below 1
        assert paper["weight_decay"] == 0


def test_the_share_of_the_wait_leaves_validation_out(caplog):
    caplog.set_level("INFO", "monai_lung")
    batch = {"image": torch.zeros(3, 1)}

    def slow_data():
        for _ in range(4):
            time.sleep(0.1)
            yield batch

    engine = Engine(lambda engine, batch: time.sleep(0.05))
    WaitShare().attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: time.sleep(1))
    engine.run(slow_data(), max_epochs=1, epoch_length=4)
    (message,) = [m for m in caplog.messages if "waiting" in m]
    speed, share = (float(n) for n in re.findall(r"[\d.]+", message))
    assert 50 < share < 90  # 0.4 s of 0.6 s
    assert 10 < speed < 21  # 12 in 0.6 s


def test_workers_draw_what_the_trainer_would_draw_and_the_wait_is_logged(bundles, options, tmp_path, caplog):
    caplog.set_level("INFO", "monai_lung")
    seen = []
    for workers in (0, 2):
        given = options("train.json", output_dir=str(tmp_path / str(workers)), num_workers=workers)
        run(bundles.segmentation, "train.json", kind="train", **given | {"recipes#cpu#epochs": 2})
        seen.append(losses(tmp_path / str(workers)))
    assert seen[0] == pytest.approx(seen[1], abs=1e-6)
    waits = [m for m in caplog.messages if "waiting for data" in m]
    assert len(waits) == 4
    assert all(re.match(r"\d+\.\d patches/s, \d+ % of", m) for m in waits)


@pytest.mark.parametrize("momentum", [0.95, 0.004])
@pytest.mark.parametrize(("kind", "name"), TRAINED)
def test_the_average_follows_its_config(bundles, options, kind, name, momentum):
    """As fine-tuning in MONAI Label sets it."""
    given = options(name, **{"train#ema#momentum": momentum})
    flow = workflow(getattr(bundles, kind), name, kind="train", **given)
    flow.initialize()
    trainer = flow.parser.get_parsed_content("train#trainer")
    seen = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=1), lambda: seen.append(trainer.state.ema_momentum))
    flow.run()
    assert seen == pytest.approx([max(momentum, 9 / 11)])


@pytest.mark.parametrize("recipe", ["cpu", "paper"])
def test_a_training_isnt_overwritten_nor_planned_anew_on_the_way(bundles, options, tmp_path, recipe):
    name = "train.json"
    run(bundles.segmentation, name, kind="train", **options(name, recipe))
    before = (tmp_path / "run" / "resume.pt").read_bytes()
    with pytest.raises(RuntimeError) as caught:
        run(bundles.segmentation, name, kind="train", **options(name, recipe))
    assert "resume it" in str(cause_of(caught.value, UsageError))
    for setting, value in (("epochs", 9), ("rate", 0.0003)):
        other = options(name, recipe, **{f"recipes#{recipe}#{setting}": value})
        with pytest.raises(RuntimeError) as caught:
            run(bundles.segmentation, name, kind="train", **other, resume=True)
        assert "learning-rate schedule was" in str(cause_of(caught.value, WeightsError))
    assert (tmp_path / "run" / "resume.pt").read_bytes() == before


@pytest.mark.parametrize(("kind", "name"), TRAINED)
def test_no_nodule_to_learn_from_is_said(bundles, options, kind, name):
    bundle = getattr(bundles, kind)
    wrong = {"train_patients": ["nobody"]}, {"fold": 9}
    for option in wrong[: 1 if name == "train_find.json" else 2]:
        with pytest.raises(RuntimeError) as caught:
            run(bundle, name, kind="train", **options(name, **option))
        assert "file of folds" in str(cause_of(caught.value, UsageError))


def test_a_batch_larger_than_the_nodules_is_said(bundles, options):
    with pytest.raises(RuntimeError) as caught:
        run(bundles.segmentation, "train.json", kind="train", **options("train.json", **{"recipes#cpu#batch": 50}))
    assert "no full batch" in str(cause_of(caught.value, UsageError))


@pytest.mark.parametrize("option", ["start", "checkpoint"])
def test_a_checkpoint_of_another_network_is_refused(bundles, options, crop_dir, tmp_path, option):
    torch.save({"model": torch.nn.Conv3d(1, 2, 3).state_dict()}, tmp_path / "other.pt")
    other = {option: str(tmp_path / "other.pt")}
    name, kind, given = "train.json", "train", options("train.json", **other)
    if option == "checkpoint":
        name, kind = "evaluate.json", "infer"
        given = {"dataset_dir": str(crop_dir), "output_dir": str(tmp_path / "eval"), "device": "cpu", **other}
    with pytest.raises(RuntimeError) as caught:
        run(bundles.segmentation, name, kind=kind, **given)
    assert "other.pt" in str(cause_of(caught.value, WeightsError))


def test_a_resume_file_of_another_network_is_refused(tmp_path):
    engine = Engine(lambda engine, batch: None)
    own, other = torch.nn.Linear(2, 1), torch.nn.Linear(3, 1)
    Resumable(tmp_path, {"network": other}, resume=False).save(engine)
    with pytest.raises(WeightsError, match="size mismatch"):
        Resumable(tmp_path, {"network": own}, resume=True).load(engine)


@pytest.mark.slow
def test_a_training_that_is_killed_goes_on_as_if_it_was_not(bundles, options, tmp_path):
    name, four = "train.json", {"recipes#cpu#epochs": 4}
    run(bundles.segmentation, name, kind="train", **options(name, **four, output_dir=str(tmp_path / "whole")))
    half = options(name, **four, output_dir=str(tmp_path / "half"))
    arguments = [x for key, value in half.items() for x in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "monai.bundle", "run", "--bundle_root", str(bundles.segmentation)]
    command += ["--config_file", str(bundles.segmentation / "configs" / name), *arguments]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (tmp_path / "half" / "resume.pt").is_file():
        time.sleep(0.01)
    process.kill()
    process.wait()
    reached = torch.load(tmp_path / "half" / "resume.pt", weights_only=True)["epoch"]
    assert 1 <= reached < 4
    run(bundles.segmentation, name, kind="train", **half, resume=True)
    ends = [torch.load(tmp_path / d / "resume.pt", weights_only=True) for d in ("whole", "half")]
    assert ends[0]["epoch"] == ends[1]["epoch"] == 4
    for part in ("network", "ema"):
        for key, value in ends[0][part].items():
            torch.testing.assert_close(value, ends[1][part][key], rtol=1e-4, atol=1e-5)  # another number of threads


def test_the_average_forgets_the_first_weights_and_depends_on_the_step_alone():
    engine, ramp = Engine(lambda engine, batch: None), RampEma(0.004)
    found = {}
    for step in (1, 11, 500, 5000):
        engine.state.iteration = step
        ramp(engine)
        found[step] = engine.state.ema_momentum
    assert found == pytest.approx({1: 9 / 11, 11: 9 / 21, 500: 9 / 510, 5000: 0.004})


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
    assert torch.load(tmp_path / "model_best.pt", weights_only=True)["weight"].item() == 2
    again = BestCheckpoint(tmp_path, network)
    again.load_state_dict(best.state_dict())
    again(validator)  # 0.4
    assert torch.load(tmp_path / "model_best.pt", weights_only=True)["weight"].item() == 2


def test_a_loss_that_is_no_number_stops_the_training(bundles, options, tmp_path):
    flow = workflow(bundles.segmentation, "train.json", kind="train", **options("train.json"))
    flow.initialize()
    state = flow.parser.get_parsed_content("network_def").state_dict()
    torch.save({key: torch.full_like(value, float("nan")) for key, value in state.items()}, tmp_path / "nan.pt")
    with pytest.raises(RuntimeError) as caught:
        run(bundles.segmentation, "train.json", kind="train", **options("train.json", start=str(tmp_path / "nan.pt")))
    message = str(cause_of(caught.value, MonaiLungError))
    assert "epoch 1, iteration 1" in message
    assert re.search(r"\(n\d, n\d\)", message), message  # the batch's crops
    assert not (tmp_path / "run" / "resume.pt").exists()


@pytest.mark.parametrize(("kind", "name"), TRAINED)
def test_weights_that_are_no_numbers_dont_replace_sound_ones(bundles, options, tmp_path, kind, name):
    """The last step of an epoch can break weights whose loss was sound: epoch 4 is one that is saved."""
    flow = workflow(getattr(bundles, kind), name, kind="train", **options(name, **{"recipes#cpu#epochs": 4}))
    flow.initialize()
    trainer = flow.parser.get_parsed_content("train#trainer")
    kept = {}

    def break_weights(engine: Engine) -> None:
        if engine.state.iteration == 4 * engine.state.epoch_length:
            kept.update({path: path.read_bytes() for path in (tmp_path / "run").iterdir()})
            next(engine.network.parameters()).data.fill_(float("nan"))

    trainer.add_event_handler(Events.ITERATION_COMPLETED, break_weights)
    with pytest.raises(RuntimeError) as caught:
        flow.run()
    message = str(cause_of(caught.value, MonaiLungError))
    assert re.match(r"after epoch 4 weights \(.*\) are NaN or infinite: .*start a new training from it", message)
    assert {"resume.pt", "model_best.pt"} <= {path.name for path in kept}
    assert {path: path.read_bytes() for path in (tmp_path / "run").glob("*.pt")} == {
        path: content for path, content in kept.items() if path.suffix == ".pt"
    }


def test_a_metric_that_is_no_number_isnt_the_best(tmp_path):
    network, engine = torch.nn.Linear(1, 1), Engine(lambda engine, batch: None)
    engine.state.key_metric_name, best = "dice", BestCheckpoint(tmp_path, network)
    nan = float("nan")
    for epoch, metric in enumerate([nan, nan, 0.5, nan, 0.4], start=1):
        engine.state.epoch, engine.state.metrics = epoch, {"dice": metric}
        best(engine)
        assert (tmp_path / "model_best.pt").is_file()
    assert best.state_dict() == {"metric": 0.5, "epoch": 3}


def test_a_damaged_resume_file_says_so(tmp_path):
    (tmp_path / "resume.pt").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="start a new training"):
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
    shutil.copy(bundles.segmentation / "configs" / "inference.json", tmp_path / "configs")
    digest = save_weights(final, tmp_path, "model.pt")
    assert json.loads((tmp_path / "configs" / "metadata.json").read_text()) == {"weights_sha256": {"model.pt": digest}}
    state = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    assert all(v.dtype == torch.float16 for v in state.values() if v.is_floating_point())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train.json", "train_find.json"])
def test_two_processes_train_as_one(bundles, options, tmp_path, name):
    """torchrun with two gloo processes ends with the loss and weights of one process with twice the batch.

    By plain gradient descent, since AdamW's first steps make as much of a rounding error as of a gradient. Those that
    segment: the statistics of a batch, which those that rate have, are each process's own.
    """
    shared = {
        "recipes#cpu#epochs": 2,
        "train#dataloader#shuffle": False,
        "train#optimizer#_target_": "torch.optim.SGD",
        "train#optimizer#momentum": 0.9,
    }
    one = options(name, **shared, output_dir=str(tmp_path / "one"))
    two = options(name, **shared, output_dir=str(tmp_path / "two")) | {
        "recipes#cpu#batch": 1,
        "train#sampler#shuffle": False,
    }
    flow = workflow(bundles.segmentation, name, kind="train", **one)
    flow.initialize()
    network = flow.parser.get_parsed_content("network")
    before = {k: v.clone() for k, v in network.state_dict().items()}
    flow.run()
    flow.finalize()
    configs = [str(bundles.segmentation / "configs" / n) for n in (name, "multi_gpu_train.json")]
    arguments = [x for key, value in two.items() for x in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "monai.bundle", "run", "--bundle_root", str(bundles.segmentation)]
    command += ["--config_file", str(configs), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=400, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ends = [torch.load(tmp_path / d / "resume.pt", weights_only=True) for d in ("one", "two")]
    assert ends[1]["epoch"] == 2
    assert ends[0]["iteration"] == ends[1]["iteration"]
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=0.01)
    changed, apart = (
        sum(float((ends[0]["network"][k] - other[k]).square().sum()) for k in before) ** 0.5
        for other in (before, ends[1]["network"])
    )
    assert apart < 0.2 * changed


@pytest.mark.parametrize(("kind", "name"), TRAINED)
def test_no_patient_is_on_both_sides_of_the_shipped_folds(bundles, options, kind, name):
    """What the configs make of the fold file that ships."""
    shipped = bundles.segmentation / "configs" / "folds.json"
    everybody = set(patient_folds(shipped))
    held_out = set()
    for fold in range(5):
        given = options(name, fold_file=str(shipped), fold=fold)
        parser = workflow(getattr(bundles, kind), name, kind="train", **given).parser
        train, val = (set(parser.get_parsed_content(f"{side}_patients")) for side in ("train", "val"))
        assert not train & val
        assert train | val == everybody
        assert not held_out & val
        held_out |= val
    assert held_out == everybody


def test_the_paper_learns_cross_entropy_first_and_dice_then(bundles, options):
    name = "train.json"
    given = options(name, "paper", **{"recipes#paper#epochs": 4})
    flow = workflow(bundles.segmentation, name, kind="train", **given)
    flow.initialize()
    trainer = flow.parser.get_parsed_content("train#trainer")
    seen = []
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda: seen.append(trainer.loss_function))
    flow.run()
    each = len(seen) // 4
    weights = [(loss.bce_weight, loss.dice_weight) for loss in seen[::each]]
    assert weights == [(1.0, 0.0)] * 3 + [(0.0, 1.0)]


def test_a_training_that_gets_no_better_ends_early(bundles, options, tmp_path):
    still = {"recipes#cpu#epochs": 5, "recipes#cpu#rate": 0.0, "patience": 2}
    run(bundles.segmentation, "train.json", kind="train", **options("train.json", **still))
    assert len(losses(tmp_path / "run")) == 3


@pytest.mark.parametrize(("kind", "name"), TRAINED)
def test_mixed_precision_and_tensorboard(bundles, options, tmp_path, kind, name):
    """Without CUDA the mixed precision is MONAI's and torch's to pass over: this says that they do."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    given = options(name, amp=True, tensorboard=True, **{"recipes#cpu#epochs": 2})
    run(getattr(bundles, kind), name, kind="train", **given)
    scalars = {}
    for file in (tmp_path / "run").rglob("events.out.tfevents*"):
        events = EventAccumulator(str(file)).Reload()
        scalars |= {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
    (metric,) = scalars.keys() - {"loss"}
    assert metric.startswith("val_")
    assert [event.step for event in scalars[metric]] == [1, 2]
    assert np.isfinite([event.value for event in scalars["loss"]]).all()
    assert len(scalars["loss"]) >= 2


def test_folds_and_patients_are_left_out_of_crops_and_slices(bundles, options, fold_file, tmp_path):
    three = json.loads(fold_file.read_text()) | {"k": 3, "patients": {f"P{n}": n % 3 for n in range(5)}}
    (tmp_path / "three.json").write_text(json.dumps(three))
    own = {"fold_file": str(tmp_path / "three.json"), "fold": 1, "without": [0], "recipes#cpu#batch": 1}
    for exclude, patients in (([], {"P2"}), (["P4"], {"P2"})):
        given = options("train_malignancy.json", exclude=exclude, **own)
        flow = workflow(bundles.classification, "train_malignancy.json", kind="train", **given)
        flow.initialize()
        nodules = [item["nodule"] for item in flow.parser.get_parsed_content("train#data")]
        assert {n.row.patient for n in nodules} == patients
        assert sorted(n.row.n_readers for n in nodules) == [1, 3]  # a slice and a crop
        held = [item["crop"] for item in flow.parser.get_parsed_content("validate#data")]
        assert {c.row.patient for c in held} == {"P1", "P4"} - set(exclude)


def test_a_checkpoint_says_whose_nodules_it_learned_from(bundles, options, fold_file, tmp_path):
    def train(name: str, **more) -> Path:
        given = options("train_malignancy.json", output_dir=str(tmp_path / name), **more)
        run(bundles.classification, "train_malignancy.json", kind="train", **given)
        return tmp_path / name

    def known(folder: Path) -> set[str] | None:
        (final,) = folder.glob("model_final*.pt")
        assert patients_of(final) == patients_of(folder / "model_best.pt")
        return patients_of(final)

    folds = json.loads(fold_file.read_text())["patients"]
    sides = [{patient_hash(patient) for patient, f in folds.items() if f != fold} for fold in (0, 1)]
    first = train("first", exclude=["P2"])
    assert known(first) == sides[0] - {patient_hash("P2")}
    start = str(next(first.glob("model_final*.pt")))
    second = train("second", fold=1, start=start)
    assert known(second) == sides[1] | known(first), "what it started from counts as well"
    with pytest.raises(RuntimeError) as caught:
        train("second", fold=1, resume=True)
    assert "learned from other patients" in str(cause_of(caught.value, WeightsError))
    assert known(train("second", fold=1, start=start, resume=True)) == sides[1] | known(first)
    torch.save(torch.load(start, weights_only=True)["model"], tmp_path / "bare.pt")
    assert patients_of(tmp_path / "bare.pt") is None
    assert known(train("third", start=str(tmp_path / "bare.pt"))) is None, "who knows whom that knew"


@pytest.mark.slow
def test_two_processes_train_what_rates(bundles, options, tmp_path):
    """Batch norm sees its own half of a batch in each process, so the loss isn't that of one process."""
    bundle, name = bundles.classification, "train_malignancy.json"
    given = options(name, **{"recipes#cpu#batch": 1})  # of two crops one each
    configs = [str(bundle / "configs" / n) for n in (name, "multi_gpu_train.json")]
    arguments = [x for key, value in given.items() for x in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "monai.bundle", "run", "--bundle_root", str(bundle), "--config_file", str(configs), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=400, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert np.isfinite(losses(tmp_path / "run")).all()
