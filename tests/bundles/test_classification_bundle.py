"""The classification bundle, run as a user runs it."""

from __future__ import annotations

import csv
import json

import nibabel
import numpy as np
import pytest
import torch
from bundle_runs import cause_of, run

from monai_lung.bundle.cases import read_mask
from monai_lung.errors import MaskError, UsageError
from monai_lung.inference import load_networks, rate
from monai_lung.io import read_ct, write_nifti
from monai_lung.labels import outlines_of


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def mask_dir(ct_dir, tmp_path):
    """Two nodules, numbered 1 and 3."""
    ct = read_ct(ct_dir / "one.nii.gz")
    labels = np.zeros(ct.hu.shape, np.uint16)
    labels[26:31, 38:43, 19:22] = 1
    labels[23:26, 29:32, 15] = 3
    write_nifti(tmp_path / "masks" / "one" / "nodules.nii.gz", labels, ct.affine_lps)
    return tmp_path / "masks"


def test_inference_rates_each_nodule_as_the_analysis_does(bundles, ct_dir, mask_dir, tmp_path):
    options = {"dataset_dir": str(ct_dir), "mask_dir": str(mask_dir), "output_dir": str(tmp_path), "device": "cpu"}
    run(bundles.classification, "inference.json", **options)
    rows = table(tmp_path / "predictions.csv")
    assert list(rows[0]) == ["case", "nodule", "malignancy_probability", "low", "high"]
    assert [(r["case"], r["nodule"]) for r in rows] == [("one", "1"), ("one", "3")]
    networks = load_networks("cpu", segmentation_dir=bundles.segmentation, classification_dir=bundles.classification)
    ct = read_ct(ct_dir / "one.nii.gz")
    outlines = outlines_of(read_mask(mask_dir / "one" / "nodules.nii.gz", ct), ct)
    for row, rating in zip(rows, rate(ct, list(outlines.values()), networks), strict=True):
        assert float(row["malignancy_probability"]) == pytest.approx(rating.malignancy_probability, abs=1e-4)
        assert float(row["low"]) <= float(row["malignancy_probability"]) <= float(row["high"])
    assert rows[0]["malignancy_probability"] != rows[1]["malignancy_probability"]


def test_a_case_without_nodules_gives_an_empty_table(bundles, ct_dir, mask_dir, tmp_path):
    path = mask_dir / "one" / "nodules.nii.gz"
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.zeros(image.shape, np.uint16), image.affine), path)
    options = {"dataset_dir": str(ct_dir), "mask_dir": str(mask_dir), "output_dir": str(tmp_path), "device": "cpu"}
    run(bundles.classification, "inference.json", **options)
    assert (tmp_path / "predictions.csv").read_text().strip() == "case,nodule,malignancy_probability,low,high"


def test_masks_that_are_missing_or_of_another_grid_are_refused(bundles, ct_dir, mask_dir, tmp_path):
    ct = read_ct(ct_dir / "one.nii.gz")
    path = mask_dir / "one" / "nodules.nii.gz"
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine + np.diag([0.1, 0, 0, 0])), path)
    with pytest.raises(MaskError, match="grid"):
        read_mask(path, ct)
    path.write_bytes(b"no image")
    with pytest.raises(MaskError, match="can't be read"):
        read_mask(path, ct)
    path.unlink()
    with pytest.raises(RuntimeError) as caught:
        run(bundles.classification, "inference.json", dataset_dir=str(ct_dir), mask_dir=str(mask_dir))
    assert "lung_nodule_segmentation" in str(cause_of(caught.value, UsageError))


@pytest.mark.parametrize("mask", ["predicted", "readers"])
def test_evaluation(bundles, crop_dir, tmp_path, mask):
    options = {"segmentation_dir": str(bundles.segmentation), "mask": mask, "device": "cpu"}
    run(bundles.classification, "evaluate.json", dataset_dir=str(crop_dir), output_dir=str(tmp_path), **options)
    rows = table(tmp_path / "predictions.csv")
    assert list(rows[0]) == ["id", "malignancy_probability", "low", "high"]
    assert [r["id"] for r in rows] == [f"n{n}" for n in range(6)]
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["protocol"]["mask"] == mask
    assert metrics["protocol"]["not_outlined"] == 0
    # medians 2 4 3 2 2 4 and means 1.67 4 3 3 1.67 4: one and two are left out
    figures = metrics["figures"]
    assert figures["auc"]["median label"]["n"] == 5
    assert figures["auc"]["mean label"]["n"] == 4
    assert figures["auc_of_diameter_alone"]["median label"]["value"] == pytest.approx(4 / 6, abs=1e-4)
    p = {r["id"]: float(r["malignancy_probability"]) for r in rows}
    truth = {"n0": 0, "n1": 1, "n3": 0, "n4": 0, "n5": 1}
    brier = np.mean([(p[k] - v) ** 2 for k, v in truth.items()])
    assert figures["brier"]["median label"]["value"] == pytest.approx(brier, abs=1e-4)
    accuracy = np.mean([(p[k] >= 0.5) == v for k, v in truth.items()])
    assert figures["accuracy"]["median label"]["value"] == pytest.approx(accuracy, abs=1e-4)
    assert figures["interval_coverage"]["all"]["n"] == 6
    assert figures["kept"]["all"]["n"] == 6


def test_a_checkpoint_changes_what_is_said_of_the_network(bundles, crop_dir, tmp_path):
    state = torch.load(bundles.classification / "models" / "model.pt", weights_only=True)
    opposite = {key: -value if ".head." in key else value for key, value in state.items()}
    torch.save({"model": opposite}, tmp_path / "other.pt")
    options = {"segmentation_dir": str(bundles.segmentation), "mask": "readers", "device": "cpu"}
    figures = []
    for name, checkpoint in (("own", ""), ("other", str(tmp_path / "other.pt"))):
        out = tmp_path / name
        more = {"output_dir": str(out), "checkpoint": checkpoint}
        run(bundles.classification, "evaluate.json", dataset_dir=str(crop_dir), **more, **options)
        figures.append(json.loads((out / "metrics.json").read_text())["figures"])
    own, other = (f["auc_of_network_alone"]["median label"]["value"] for f in figures)
    assert own == pytest.approx(1 - other, abs=1e-3)
    assert own != other


def test_an_unknown_mask_is_refused(bundles, crop_dir, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        run(bundles.classification, "evaluate.json", dataset_dir=str(crop_dir), mask="mine", output_dir=str(tmp_path))
    assert "predicted" in str(cause_of(caught.value, UsageError))
