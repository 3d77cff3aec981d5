"""`python -m monai.bundle run` of a config of ours: one line for an error, and no option passed over."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from bundle_runs import workflow

from monai_lung.errors import InputError, UsageError
from monai_lung.workflow.command import chosen, message_of, refuse_unknown

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


def test_a_recipe_that_is_not_there_names_those_that_are() -> None:
    assert chosen(CONFIG["recipes"], "cpu") == {"epochs": 2}
    with pytest.raises(UsageError, match="--recipe gpu: the config has only cpu"):
        chosen(CONFIG["recipes"], "gpu")


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


def test_a_process_that_uses_a_config_from_python_keeps_its_hook(bundles, tmp_path) -> None:
    before = sys.excepthook
    workflow(bundles.analysis, "inference.json", dataset_dir=str(tmp_path), output_dir=str(tmp_path)).initialize()
    assert sys.excepthook is before


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
