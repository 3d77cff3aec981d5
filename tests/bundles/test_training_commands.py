"""`monai-lung train`, `store-weights` and `evaluate` on narrow bundles; `bench` and `train all` without their work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from monai_lung.cli import bench, run, store_weights, train_all
from monai_lung.stages import ALL_STAGES

TINY = ("--set", "recipes#cpu#width=4", "--set", "recipes#cpu#epochs=1", "--set", "recipes#cpu#batch=2")


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("monai-lung: error: ")]
    assert len(lines) == 1
    return lines[0]


def test_train_store_and_evaluate(bundles, crop_dir, fold_file, tmp_path, capsys):
    """A training by its command gives a checkpoint that goes into the bundle and is evaluated there."""
    bundle = shutil.copytree(bundles.segmentation, tmp_path / "bundle")
    where = ("--bundle", str(bundle), "--device", "cpu")
    folds = ("--fold-file", str(fold_file), "--fold", "1", "--exclude", "P0", "--set", "recipes#cpu#patch=[16,16,16]")
    words = ["train", "delineate", str(crop_dir), "-o", str(tmp_path / "run"), "--recipe", "cpu", *where, *folds, *TINY]
    assert run([*words, "--set", "precision=float32"]) == 0
    (final,) = (tmp_path / "run").glob("model_final*.pt")
    assert "monai_lung" in capsys.readouterr().err, "a long run says how far it is"

    assert run(["store-weights", "delineate", str(final), "--bundle", str(bundle)]) == 0
    digest = json.loads((bundle / "configs" / "metadata.json").read_text())["weights_sha256"]["model.pt"]
    assert capsys.readouterr().out == f"{digest[:12]} -> {bundle / 'models' / 'model.pt'}\n"
    assert torch.load(bundle / "models" / "model.pt", weights_only=True)["head.bias"].dtype == torch.float16

    words = ["evaluate", "segmentation", str(crop_dir), "-o", str(tmp_path / "out"), *where]
    assert run([*words, "--store"]) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    said = capsys.readouterr().out
    figure = metrics["figures"]["dice"]["all"]
    assert metrics["weights"]["model.pt"] == digest
    assert " ".join(["dice", "all", f"{figure['value']:.3f}"]) in " ".join(said.split())
    stored = json.loads((bundle / "configs" / "metadata.json").read_text())["eval_metrics"]
    assert stored["dice, all"] == figure["value"]


def test_evaluate_prints_json_alone(bundles, crop_dir, fold_file, tmp_path, capsys):
    words = ["evaluate", "segmentation", str(crop_dir), "-o", str(tmp_path), "--bundle", str(bundles.segmentation)]
    assert run([*words, "--fold-file", str(fold_file), "--fold", "1", "--device", "cpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["figures"]["dice"]["all"]["n"] == 2


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["train", "delineate", "IN", "-o", "OUT", "--set", "recipes#cpu#epoch=3"], "no epoch; did you mean epochs?"),
        (["train", "delineate", "IN", "-o", "OUT", "--set", "epochs"], "give KEY=VALUE"),
        (["train", "delineate", "/no/such/place", "-o", "OUT"], "/no/such/place"),
        (["evaluate", "segmentation", "IN", "-o", "OUT", "--mask", "readers"], "--mask is for classification"),
        (["evaluate", "segmentation", "IN", "-o", "OUT"], "nodules.csv"),
        (["calibrate", "malignancy", "IN", "0", "one.pt"], "give K=CHECKPOINT"),
        (["calibrate", "malignancy", "IN", "0", "1=a.pt", "1=b.pt"], "one checkpoint for each fold"),
        (["store-weights", "cook", "a.pt"], "cook"),
        (["pack", "nothing"], "nothing: not a bundle"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_wrong_use_is_one_line_and_2(words, what, tmp_path, capsys):
    places = {"IN": str(tmp_path), "OUT": str(tmp_path / "out")}
    assert run([places.get(word, word) for word in words]) == 2
    assert what in error_of(capsys)


def test_a_damaged_checkpoint_is_one_line_and_1(bundles, tmp_path, capsys):
    (tmp_path / "a.pt").write_bytes(b"no weights")
    assert run(["store-weights", "find", str(tmp_path / "a.pt"), "--bundle", str(bundles.segmentation)]) == 1
    assert "no training checkpoint" in error_of(capsys)


def test_store_weights_knows_every_network():
    assert tuple(ALL_STAGES) == store_weights.NETWORKS


def test_bench_outside_a_checkout_says_what_it_needs(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "_ROOT", tmp_path)
    assert run(["bench", "--quick"]) == 2
    assert "run it in a checkout" in error_of(capsys)


def test_all_trainings_are_called_in_turn(tmp_path, monkeypatch, capsys):
    """Each with the checkpoint of the one before; a training that fails ends the run with its exit code."""
    calls: list[list[str]] = []

    def called(words: list[str], check: bool) -> SimpleNamespace:
        words = words[4:]
        calls.append(words)
        if "-o" in words:
            folder = Path(words[words.index("-o") + 1])
            folder.mkdir(parents=True)
            (folder / "model_final_iteration=1.pt").touch()
        return SimpleNamespace(returncode=3 if words[0] == fails else 0)

    fails = ""
    monkeypatch.setattr(train_all.subprocess, "run", called)
    assert run(["train", "all", str(tmp_path), str(tmp_path / "out")]) == 2
    assert "lidc_slices" in error_of(capsys)
    for part in ("ct", "lungs", "lidc_crops", "lidc_slices"):
        (tmp_path / part).mkdir()
    assert run(["train", "all", str(tmp_path), str(tmp_path / "out")]) == 0
    kinds = [words[0] for words in calls]
    mined = ["hard-negatives", "find"] * 4
    assert kinds == [
        "backgrounds",
        "find",
        *mined,
        "candidates",
        "rate",
        "rate",
        *["delineate"] * 6,
        *["malignancy"] * 4,
    ]
    second = calls[3]
    assert second[second.index("--start") + 1].endswith("find-1/model_final_iteration=1.pt")
    assert "--exclude-background" in second
    assert "--exclude-background" not in calls[9]
    assert "monai-lung calibrate malignancy" in capsys.readouterr().out
    # every word of every call is an option of its command
    for words in calls:
        from monai_lung.cli.train import train

        command = train.commands[words[0]]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known
    fails = "rate"
    assert run(["train", "all", str(tmp_path), str(tmp_path / "other")]) == 3
