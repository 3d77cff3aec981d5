"""`python -m monai.bundle run` of a config of ours: one line for an error, and no option passed over."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from bundle_runs import workflow

from monai_lung.errors import InputError, UsageError
from monai_lung.workflow.command import chosen, given_options, message_of, refuse_unknown

CONFIG: dict[str, Any] = {
    "fold": 0,
    "recipes": {"cpu": {"epochs": 2}},
    "train": {"handlers": [{"_target_": "StatsHandler"}], "dataset": {"_target_": "Dataset", "data": "@rows"}},
    "settings": "$chosen(@recipes, @recipe)",
}
OWN = {"config_file", "run_id"}


@pytest.mark.parametrize(
    "option",
    [
        "fold",
        "config_file",
        "_meta_#version",
        "recipes#cpu#epochs",
        "recipes::cpu::epochs",
        "+recipes",
        "train#handlers#0#name",
        "train#dataset#transform",
        "train#handlers#7#name",
        "settings#epochs",
    ],
)
def test_what_a_config_has_is_taken(option: str) -> None:
    refuse_unknown([option], CONFIG, OWN)


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("fould", "is fold meant"),
        ("config_fle", "is config_file meant"),
        ("recipes#cpu#epoch", "is epochs meant"),
        ("recipes#gpu", "is cpu meant"),
        ("train#zzz", "it has dataset, handlers"),
        ("train::datset::data", "is dataset meant"),
    ],
)
def test_what_no_config_has_is_refused(option: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"--{option}: the config has no .*{hint}"):
        refuse_unknown(["fold", option], CONFIG, OWN)


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (["run", "--fold", "1", "--recipe=cpu"], {"fold": "1", "recipe": "cpu"}),
        (["run", "-fold", "-1", "--dataset-dir", "a"], {"fold": "-1", "dataset_dir": "a"}),
        (["--resume", "--fold", "1", "--noamp"], {"resume": "", "fold": "1", "amp": ""}),
        (["--fold", "1", "--", "--trace"], {"fold": "1"}),
        (["--note", "x"], {"note": "x"}),
    ],
)
def test_options_are_read_as_fire_reads_them(words: list[str], given: dict[str, str]) -> None:
    assert given_options(words) == given


def test_a_recipe_that_is_not_there_names_those_that_are() -> None:
    assert chosen(CONFIG["recipes"], "cpu") == {"epochs": 2}
    with pytest.raises(UsageError, match="--recipe gpu: the config has only cpu"):
        chosen(CONFIG["recipes"], "gpu")


def test_the_training_script_gives_options_that_the_configs_have() -> None:
    root = Path(__file__).resolve().parents[2]
    script = (root / "tools" / "train").read_text().replace("\\\n", " ")
    common = re.search(r"monai.bundle run (.*)\$@", script)
    calls = re.findall(r'^ *train "\$(segmentation|classification)/(\w+\.json)"(.*)', script, re.MULTILINE)
    assert common
    assert len(calls) >= 12
    for bundle, name, words in calls:
        config = json.loads((root / "bundles" / f"lung_nodule_{bundle}" / "configs" / name).read_text())
        options = re.findall(r"--([\w#]+)", common[1] + words)
        assert {"recipe", "exclude", "resume"} < set(options)
        refuse_unknown(options, config, {"config_file"})


class Broken(torch.utils.data.Dataset[int]):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        raise InputError("crop.nii.gz: truncated; copy it again")


def test_an_error_in_a_worker_is_said_without_its_traceback() -> None:
    with pytest.raises(InputError) as caught:
        list(torch.utils.data.DataLoader(Broken(), num_workers=1))
    assert len(str(caught.value).splitlines()) > 3
    assert message_of(caught.value) == "crop.nii.gz: truncated; copy it again"


def test_a_message_of_two_lines_from_a_worker_is_whole() -> None:
    text = "Caught InputError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  x\n"
    assert message_of(InputError(text + "monai_lung.errors.InputError: one\ntwo")) == "one\ntwo"
    assert message_of(InputError(text)) == text.strip()


def test_a_process_that_uses_a_config_from_python_keeps_its_hook(bundles, tmp_path) -> None:
    before = sys.excepthook
    workflow(bundles.analysis, "inference.json", dataset_dir=str(tmp_path), output_dir=str(tmp_path)).initialize()
    assert sys.excepthook is before


def test_what_ends_a_training_is_one_line_too(bundles, crop_dir, fold_file, tmp_path) -> None:
    """MONAI logs the traceback of what is raised while its engines run. The options come from a file."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "resume.pt").write_bytes(b"a training")
    options = {"output_dir": "out", "dataset_dir": str(crop_dir), "fold_file": str(fold_file), "recipe": "cpu"}
    options |= {"config_file": str(bundles.segmentation / "configs" / "train.json"), "device": "cpu"}
    (tmp_path / "args.json").write_text(json.dumps(options | {"recipes#cpu#width": 4, "recipes#cpu#batch": 2}))
    words = [sys.executable, "-m", "monai.bundle", "run", "--args_file", "args.json"]
    end = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert end.returncode == 2
    assert end.stderr.splitlines()[-1].startswith("monai-lung: error: out holds a training already")
    assert "Traceback" not in end.stdout + end.stderr


@pytest.mark.parametrize(
    ("bundle", "config", "options", "line", "code"),
    [
        ("segmentation", "train.json", ["--recip", "cpu"], "--recip: the config has no recip; is recipe meant?", 2),
        ("classification", "train.json", ["--recipe=fast"], "--recipe fast: the config has only best, cpu, paper", 2),
        ("analysis", "inference.json", ["--dataset-dir", "gone"], "gone does not exist: give a folder of", 2),
        ("segmentation", "train.json", ["--start", "other.pt"], "other.pt: can't be read", 1),
    ],
)
def test_a_command_ends_with_one_line(
    bundles, crop_dir, fold_file, tmp_path, bundle: str, config: str, options: list[str], line: str, code: int
) -> None:
    path = getattr(bundles, bundle) / "configs" / config
    words = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(path), "--output_dir", "out"]
    if config == "train.json":
        words += [f"--dataset_dir={crop_dir}", f"--fold_file={fold_file}"]
    end = subprocess.run([*words, *options], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert end.returncode == code
    assert end.stderr.splitlines()[-1].startswith(f"monai-lung: error: {line}")
    assert "Traceback" not in end.stdout + end.stderr
    assert not (tmp_path / "out").exists()
