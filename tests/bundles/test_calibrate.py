"""Joining and calibrating the networks of the malignancy, on narrow bundles."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from monai_lung.cli import run
from monai_lung.errors import OutputError, UsageError, WeightsError
from monai_lung.inference.networks import load_rater
from monai_lung.networks import SliceResNet
from monai_lung.training import malignancy_calibration
from monai_lung.training.checkpoints import patient_hash
from monai_lung.training.malignancy_calibration import calibrate_malignancy


@pytest.fixture
def copies(bundles, fold_file, tmp_path, monkeypatch):
    """The calibration on copies of the bundles with folds 0 to 2 for the synthetic patients, and 2 checkpoints."""
    for bundle in (bundles.segmentation, bundles.classification):
        shutil.copytree(bundle, tmp_path / bundle.name)
    three = json.loads(fold_file.read_text()) | {"k": 3, "patients": {f"P{n}": (0, 1, 2, 1, 2)[n] for n in range(5)}}
    (tmp_path / "lung_nodule_segmentation" / "configs" / "folds.json").write_text(json.dumps(three))
    config = tmp_path / "lung_nodule_classification" / "configs" / "inference.json"
    content = json.loads(config.read_text())
    content["malignancy_def"]["members"] = 4  # not as many as there are checkpoints
    config.write_text(json.dumps(content))
    monkeypatch.setattr(malignancy_calibration, "bundle_dir", lambda name: tmp_path / name)
    for fold in (1, 2):
        torch.manual_seed(fold)
        torch.save({"model": SliceResNet(width=4).state_dict()}, tmp_path / f"{fold}.pt")
    return tmp_path


def test_the_networks_go_into_the_bundle_together_and_calibrated(copies, crop_dir, tmp_path, capsys):
    members = [f"{fold}={tmp_path / f'{fold}.pt'}" for fold in (2, 1)]
    assert run(["calibrate", "malignancy", str(crop_dir), "0", *members]) == 0
    bundle = tmp_path / "lung_nodule_classification"
    ensemble = load_rater(torch.device("cpu"), bundle).malignancy
    slices = torch.rand(1, 3, 48, 48, 5)
    alone = []
    for fold in (1, 2):
        one = SliceResNet(width=4).eval()
        one.load_state_dict(torch.load(tmp_path / f"{fold}.pt", weights_only=True)["model"])
        alone.append(one(slices))
    torch.testing.assert_close(ensemble(slices), torch.stack(alone).mean(0), atol=2e-3, rtol=0)  # half precision
    written = json.loads((bundle / "configs" / "inference.json").read_text())
    assert written["malignancy_def"]["members"] == 2
    printed, warned = capsys.readouterr()
    assert warned.count("doesn't say whose nodules it learned from") == 2
    assert f'"slope": {written["rate_settings"]["slope"]}' in printed
    assert "AUC, median label" in printed


def test_what_doesnt_fit_is_refused_and_the_bundle_stays(copies, crop_dir, tmp_path):
    weights = tmp_path / "lung_nodule_classification" / "models" / "malignancy.pt"
    before = weights.read_bytes()
    with pytest.raises(UsageError, match=r"one for each of \[1, 2\]"):
        calibrate_malignancy(crop_dir, 0, {1: tmp_path / "1.pt"})
    torch.save({"model": SliceResNet(width=8).state_dict()}, tmp_path / "wide.pt")
    with pytest.raises(WeightsError, match=r"wide\.pt"):
        calibrate_malignancy(crop_dir, 0, {1: tmp_path / "wide.pt", 2: tmp_path / "2.pt"})
    assert weights.read_bytes() == before


def test_a_calibration_isnt_stored_without_its_weights(copies, crop_dir, tmp_path, monkeypatch):
    def full(*what: object, **how: object) -> str:
        raise OutputError("malignancy.pt: no space left")

    monkeypatch.setattr(malignancy_calibration, "save_weights", full)
    config = tmp_path / "lung_nodule_classification" / "configs" / "inference.json"
    before = config.read_bytes()
    with pytest.raises(OutputError):
        calibrate_malignancy(crop_dir, 0, {fold: tmp_path / f"{fold}.pt" for fold in (1, 2)})
    assert config.read_bytes() == before


@pytest.mark.parametrize("leak", ["P0", "P2"], ids=["the fold that judges", "the fold that calibrates"])
def test_a_network_that_knows_what_calibrates_or_judges_it_is_refused(copies, crop_dir, tmp_path, caplog, leak):
    def checkpoints(second: list[str]) -> dict[int, Path]:
        for fold, patients in ((1, ["P2", "P4"]), (2, second)):
            known = [patient_hash(patient) for patient in patients]
            torch.save({"model": SliceResNet(width=4).state_dict(), "trained_on": known}, tmp_path / f"{fold}.pt")
        return {fold: tmp_path / f"{fold}.pt" for fold in (1, 2)}

    what = r"2\.pt: learned from 1 patients of the folds 0 and 2.*--fold 2 --without 0"
    with pytest.raises(UsageError, match=what):
        calibrate_malignancy(crop_dir, 0, checkpoints(["P1", "P3", leak]))
    calibrate_malignancy(crop_dir, 0, checkpoints(["P1", "P3"]))
    assert "doesn't say" not in caplog.text


def test_each_network_rates_the_fold_that_it_hasnt_seen(copies, crop_dir, tmp_path, monkeypatch):
    """Members that say 1 and 2 whatever they see: the calibration must get 1 for fold 1, 2 for fold 2, none for 0."""
    for fold in (1, 2):
        network = SliceResNet(width=4)
        with torch.no_grad():
            network.members[0].head.weight.zero_()
            network.members[0].head.bias.fill_(fold)
        torch.save({"model": network.state_dict()}, tmp_path / f"{fold}.pt")
    given = []
    monkeypatch.setattr(malignancy_calibration, "fit_readers", lambda *what: given.append(what) or (1.0, 0.0, 1.0))
    monkeypatch.setattr(malignancy_calibration, "fit_platt", lambda scores, malignant: (1.5, 0.5))
    calibrate_malignancy(crop_dir, 0, {1: tmp_path / "1.pt", 2: tmp_path / "2.pt"})
    ((scores, mean),) = given
    # P1 to P4 in the order of the table, two nodules of P4; P0 is in fold 0
    assert scores.tolist() == pytest.approx([1, 2, 1, 2, 2])
    assert mean.tolist() == pytest.approx([4, 3, 3, 5 / 3, 4])
