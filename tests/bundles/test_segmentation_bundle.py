"""The segmentation bundle, run as a user runs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from bundle_runs import cause_of, run

from monai_lung.bundle.segmentation_scores import dice, overlap
from monai_lung.data.crops import read_crop, read_table
from monai_lung.errors import UsageError
from monai_lung.inference import delineate, find, load_networks, within_lungs
from monai_lung.io import read_ct
from monai_lung.labels import label_map
from monai_lung.lungs import segment_lungs
from monai_lung.model import Outline
from monai_lung.pipeline import Analyzer, Options


def test_inference_agrees_with_the_functions_to_the_voxel(bundles, ct_dir, tmp_path):
    run(bundles.segmentation, "inference.json", dataset_dir=str(ct_dir), output_dir=str(tmp_path / "out"), device="cpu")
    image = nibabel.load(tmp_path / "out" / "one" / "nodules.nii.gz")
    networks = load_networks("cpu", segmentation_dir=bundles.segmentation, classification_dir=bundles.classification)
    ct = read_ct(ct_dir / "one.nii.gz")
    lungs = segment_lungs(ct.hu, ct.affine_lps)
    outlines = delineate(ct, find(ct, lungs, networks), networks, lungs)
    assert len(outlines) >= 2
    labels = np.asarray(image.dataobj)
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels, label_map(outlines, ct.hu.shape))
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ image.affine, ct.affine_lps, atol=1e-3)
    sizes = np.bincount(labels.ravel())[1:]
    assert sizes[0] == max(sizes)


def test_what_lies_outside_the_lungs_is_left_out_everywhere(bundles, ct_dir, tmp_path, monkeypatch):
    ct = read_ct(ct_dir / "one.nii.gz")
    lungs = segment_lungs(ct.hu, ct.affine_lps)

    def two_blocks(ct, seeds, networks):
        """One in a lung, one in the table's corner."""
        block = np.ones((3, 3, 3), bool)
        inside = np.argwhere(lungs.labels > 0).mean(0).astype(int) + np.array([18, 0, 0])
        assert lungs.labels[tuple(inside)]
        return [Outline(block, block.astype(np.float32), tuple(map(int, o)), seeds[0]) for o in (inside, (1, 1, 1))]

    monkeypatch.setattr(sys.modules[within_lungs.__module__], "delineate_each", two_blocks)
    monkeypatch.setattr("monai_lung.bundle.delineating.delineate_each", two_blocks)
    run(bundles.segmentation, "inference.json", dataset_dir=str(ct_dir), output_dir=str(tmp_path / "out"), device="cpu")
    labels = np.asarray(nibabel.load(tmp_path / "out" / "one" / "nodules.nii.gz").dataobj)
    assert (labels.max(), (labels > 0).sum(), labels[1, 1, 1]) == (1, 27, 0)
    options = Options(segmentation_dir=bundles.segmentation, classification_dir=bundles.classification)
    assert len(Analyzer(options).find(ct).outlines) == 1


def test_evaluation_scores_each_crop_on_its_own_grid(bundles, crop_dir, fold_file, tmp_path):
    run(bundles.segmentation, "evaluate.json", dataset_dir=str(crop_dir), output_dir=str(tmp_path), device="cpu")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    expected = []
    for row in read_table(crop_dir):
        crop = read_crop(crop_dir, row)
        image = nibabel.load(tmp_path / "predictions" / f"{row.id}.nii.gz")
        mask = np.asarray(image.dataobj)
        assert mask.dtype == np.uint8
        assert mask.shape == crop.hu.shape
        np.testing.assert_allclose(image.affine, crop.affine_ras, atol=1e-4)
        expected.append(dice(mask > 0, crop.share >= 0.5))
    figure = metrics["figures"]["dice"]["all"]
    assert figure["value"] == pytest.approx(np.mean(expected), abs=1e-4)
    assert (figure["n"], figure["patients"]) == (6, 5)
    assert figure["low"] <= figure["value"] <= figure["high"]
    assert metrics["figures"]["dice"]["solid"]["n"] == 3
    assert metrics["figures"]["dice"]["<= 10 mm"]["n"] == 4
    known = json.loads((bundles.segmentation / "configs" / "metadata.json").read_text())["weights_sha256"]
    assert metrics["weights"]["model.pt"] == known["model.pt"]


def test_evaluation_of_one_fold(bundles, crop_dir, fold_file, tmp_path):
    options = {"dataset_dir": str(crop_dir), "output_dir": str(tmp_path), "device": "cpu", "fold_file": str(fold_file)}
    run(bundles.segmentation, "evaluate.json", fold=1, **options)
    assert {p.name for p in (tmp_path / "predictions").iterdir()} == {"n1.nii.gz", "n3.nii.gz"}


def test_evaluation_of_real_crops(bundles, data_dir, tmp_path):
    folder = tmp_path / "crops"
    folder.mkdir()
    for kind in ("images", "readers"):
        (folder / kind).symlink_to(data_dir / "lidc_crops" / kind)
    lines = (data_dir / "lidc_crops" / "nodules.csv").read_text().splitlines(keepends=True)
    (folder / "nodules.csv").write_text("".join([lines[0], *lines[1::200]]))
    run(bundles.segmentation, "evaluate.json", dataset_dir=str(folder), output_dir=str(tmp_path / "out"), device="cpu")
    dices = []
    for row in read_table(folder):
        crop = read_crop(folder, row)
        image = nibabel.load(tmp_path / "out" / "predictions" / f"{row.id}.nii.gz")
        np.testing.assert_allclose(image.affine, crop.affine_ras, atol=1e-3)
        dices.append(dice(np.asarray(image.dataobj) > 0, crop.share >= 0.5))
    figure = json.loads((tmp_path / "out" / "metrics.json").read_text())["figures"]["dice"]["all"]
    assert figure["value"] == pytest.approx(np.mean(dices), abs=1e-4)
    assert figure["value"] > 0.4, "calling dense voxels nodule gives about this much on nodules in free lung"


def test_evaluation_of_a_folder_without_crops_says_so(bundles, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        run(bundles.segmentation, "evaluate.json", dataset_dir=str(tmp_path), output_dir=str(tmp_path / "o"))
    assert "nodules.csv" in str(cause_of(caught.value, UsageError))


def test_overlap_of_known_masks():
    votes = np.zeros((6, 6, 3), np.uint8)
    votes[1:5, 1:5, 1] = 3
    votes[1:5, 1:5, 2] = 2
    mask = np.zeros(votes.shape, bool)
    mask[1:5, 1:3, 1:] = True
    score = overlap(mask, votes, 4, 2.0)
    assert score.dice == pytest.approx(2 * 16 / (16 + 32))
    assert score.dice_three_readers == pytest.approx(2 * 8 / (16 + 16))
    assert (score.precision, score.recall) == (1.0, 0.5)
    assert score.dice_slices == pytest.approx(2 / 3)
    assert score.diameter_mm == pytest.approx((6 * 64 / np.pi) ** (1 / 3))
    empty = overlap(np.zeros_like(mask), votes, 4, 2.0)
    assert (empty.dice, empty.precision, empty.recall, empty.dice_slices) == (0, 0, 0, 0)


def test_metadata_names_every_file_of_weights(bundles):
    metadata = json.loads((bundles.segmentation / "configs" / "metadata.json").read_text())
    assert set(metadata["weights_sha256"]) == {"model.pt", "find.pt", "correct.pt"}
    assert Path(bundles.segmentation / "models" / "model.pt").stat().st_size < 200_000
