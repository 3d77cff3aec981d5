"""The paper's comparison on made-up lungs: nodules set in, networks whose answer is known, tables and page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from monai_lung.data.backgrounds import Background, save_background
from monai_lung.data.crops import Crop, CropRow
from monai_lung.errors import InputError, UsageError
from monai_lung.grid import Grid
from monai_lung.stages import PAPER, SegmentSettings
from monai_lung.training.draws import rng_of
from monai_lung.training.find_dataset import SetInNodulesd
from monai_lung.training.paper import (
    NoduleInLungd,
    PaperLabeld,
    SubCasePatchd,
    ThreeReaders,
    class_items,
    cut,
    render,
)
from monai_lung.training.synthesis import donor_of
from monai_lung.weights import bundle_dir, load_weights
from research.paper import judge, page
from research.paper.files import LOSSES, NODULES, RATINGS
from research.paper.scenes import answer, masks_of, rating_rows, scene, scenes, segmentation_rows
from research.paper.tables import NOT_TRAINED, Kept, rated

SETTINGS = SegmentSettings((1.5, 1.5, 3.0), (64, 64, 32), 0.5)


def lung(name: str = "a") -> Background:
    """One lung, 84 x 76 x 120 mm, of noise in dense tissue, voxels of 1 x 1 x 2 mm."""
    rng = np.random.default_rng(1)
    hu = np.full((100, 92, 70), 40, np.int16)
    hu[8:92, 8:84, 5:65] = rng.normal(-860, 15, (84, 76, 60)).round()
    depth = np.zeros(hu.shape, np.uint8)
    for d in range(1, 12):
        depth[7 + d : 93 - d, 7 + d : 85 - d, 5 + d // 2 : 65 - d // 2] = d
    grid = Grid.around((10.0, 20.0, 30.0), (1, 1, 2), hu.shape)
    return Background(name, hu, depth, np.zeros(hu.shape, bool), grid.affine_lps)


def nodule(name: str, radius_mm: float, ratings=(4, 5, 5), patient: str = "P") -> Crop:
    """A ball of 0 HU in lung; a fourth reader marks more, of whom two alone see the rim."""
    grid = np.stack(np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in (36, 36, 19)], indexing="ij"), -1)
    distance = np.linalg.norm(grid * (1, 1, 2), axis=-1)
    bits = sum((distance <= radius_mm + d).astype(np.uint8) << k for k, d in enumerate((0, 0, 0, 2.0)))
    hu = np.where(distance <= radius_mm, 0, -860).astype(np.int16)
    row = CropRow(name, patient, 4, {"malignancy": (*ratings, ratings[0]), "texture": (5, 5, 5, 5)}, 2 * radius_mm)
    return ThreeReaders(row, hu, bits.astype(np.uint8), np.diag([-1.0, -1.0, 2.0, 1.0]))


class Dense(nn.Module):
    """Says nodule where the lung window is above -400 HU."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = nn.Parameter(torch.tensor(600 / 1400))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 60 * (image - self.cut)


class Size(nn.Module):
    """Calls malignant what fills more of its region."""

    def __init__(self) -> None:
        super().__init__()
        self.none = nn.Parameter(torch.zeros(1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = image.float().mean((1, 2, 3, 4))
        return torch.stack([-x, x], 1)


def test_what_three_readers_saw_is_the_truth_however_many_they_are():
    crop = nodule("n", 6.0)
    votes = np.unpackbits(crop.readers[..., None], axis=-1).sum(-1)
    np.testing.assert_array_equal(crop.share >= 0.5, votes >= 3)
    assert (votes == 1).sum() > 0, "the fourth reader's rim"


def test_scenes_hold_nodules_of_their_size_and_a_perfect_mask_scores_nearly_one():
    donors = [donor_of(nodule("big", 8.0)), donor_of(nodule("small", 4.0))]
    made = scene("s", lung(), donors, 3)
    assert [one.donor.crop.row.id for one in made.nodules] == ["big", "small"]
    for one, radius in zip(made.nodules, (8.0, 4.0), strict=True):
        volume = one.outline.mask.sum() * made.ct.voxel_mm3
        assert volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.25)
        assert np.linalg.norm(one.outline.middle_mm(made.ct.grid) - one.center_mm) < 2
        assert made.ct.hu[one.outline.box][one.outline.mask].mean() > -250
        assert made.lungs.labels[one.outline.box][one.outline.mask].all()
    assert np.linalg.norm(made.nodules[0].center_mm - made.nodules[1].center_mm) >= 22
    said = answer(made, Dense(), torch.device("cpu"), SETTINGS)
    rows = segmentation_rows("dense", made, said)
    assert [row["nodule"] for row in rows] == ["big", "small"], "no false findings"
    assert rows[0]["dice"] > 0.85
    assert rows[1]["dice"] > 0.45, "density falls off over a voxel, and 4 mm are three of the grid's"
    for row in rows:
        assert row["found"]
        assert row["precision_grid"] == 1
        assert row["dice_grid"] == pytest.approx(2 / (1 / row["precision_grid"] + 1 / row["recall_grid"]), abs=1e-6), (
            "Dice is the harmonic mean"
        )


def test_what_is_not_found_counts_zero_and_what_is_nothing_is_false():
    made = scene("s", lung(), [donor_of(nodule("one", 6.0))], 3)
    made.ct.hu[made.nodules[0].outline.box] = -860
    there = np.argwhere(made.lungs.labels)
    far = there[np.linalg.norm(made.ct.to_world(there) - made.nodules[0].center_mm, axis=1).argmax()]
    x, y, z = (slice(max(v - 6, 0), v + 6) for v in far)
    made.ct.hu[x, y, z] = np.where(made.lungs.labels[x, y, z] > 0, 50, made.ct.hu[x, y, z])
    said = answer(made, Dense(), torch.device("cpu"), SETTINGS)
    missed, false = segmentation_rows("dense", made, said)
    assert (missed["found"], missed["dice"], missed["dice_grid"], missed["score"]) == (False, 0.0, 0.0, 0.0)
    assert (false["nodule"], false["found"]) == ("", True)
    made.known[said.outlines[0].box] = True
    assert len(segmentation_rows("dense", made, said)) == 1, "at what was marked before, nothing counts"


def test_half_a_lung_that_is_called_nodule_finds_none():
    made = scene("s", lung(), [donor_of(nodule("one", 6.0))], 3)
    everywhere = nn.Identity()
    said = answer(made, lambda image: everywhere(image) * 0 + 9, torch.device("cpu"), SETTINGS)
    one, false = segmentation_rows("all", made, said)
    assert not one["found"]
    assert 0 < one["dice"] < 0.1
    assert false["nodule"] == ""


def test_masks_that_are_rated_and_their_logits():
    made = scene("s", lung(), [donor_of(nodule("big", 9.0)), donor_of(nodule("small", 4.0))], 3)
    said = answer(made, Dense(), torch.device("cpu"), SETTINGS)
    rows = pd.DataFrame(rating_rows(made, masks_of(made, said), {"size": Size()}, torch.device("cpu")))
    assert sorted(zip(rows["mask"], rows.nodule, strict=True)) == [
        (kind, name) for kind in ("predicted", "readers") for name in ("big", "small")
    ]
    own = rows.set_index(["mask", "nodule"])
    for kind in ("predicted", "readers"):
        assert own.logit[kind, "big"] > own.logit[kind, "small"]
        assert own.mask_mm[kind, "big"] == pytest.approx(18, abs=3)
    assert set(rows.ratings) == {"4 5 5 4"}


def test_each_nodule_comes_once_a_copy():
    donors = [donor_of(nodule(f"n{n}", 4.0)) for n in range(7)]
    plan = scenes([lung("a"), lung("b")], donors, copies=2, most=3)
    for copy in (0, 1):
        names = [d.crop.row.id for name, _, own, _ in plan if f"-{copy}-" in name for d in own]
        assert sorted(names) == [f"n{n}" for n in range(7)]
    assert len({seed for *_, seed in plan}) == len(plan)
    assert {b.name for _, b, _, _ in plan} == {"a", "b"}


def test_rendered_lungs_lie_on_the_papers_grid_and_patches_are_cut_voxel_by_voxel():
    plain, turned = render(lung(), looks=2)
    assert (plain.name, turned.name) == ("a_s0", "a_s1")
    for one in (plain, turned):
        np.testing.assert_allclose(one.spacing_mm, (1.5, 1.5, 3.0))
    volume = (plain.depth_mm > 0).sum() * 6.75
    assert volume == pytest.approx((lung().depth_mm > 0).sum() * 2.0, rel=0.1)
    assert plain.hu[plain.depth_mm > 6].mean() == pytest.approx(-860, abs=5)
    assert plain.hu.max() <= 400
    patch = SubCasePatchd([plain], (24, 24, 16))({"rng": np.random.default_rng(0)})
    image = patch["image"][0].numpy()
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(plain.hu, 24, constant_values=-1024), (4, 4, 4))
    probe = image[10:14, 10:14, 6:10]
    assert any((windows == p).all((3, 4, 5)).any() for p in (probe, probe[::-1]))


def test_the_network_sees_lungs_and_nodules_alone():
    plain, _ = render(lung(), looks=2)
    steps = [SubCasePatchd([plain], (48, 48, 24)), SetInNodulesd([donor_of(nodule("n", 5.0))]), PaperLabeld()]
    labels = 0
    for n in range(8):
        item = {"rng": np.random.default_rng(n)}
        for step in steps:
            item = step(item)
        image, (share, trust) = item["image"][0], item["label"]
        assert set(share.unique().tolist()) <= {0.0, 1.0}
        assert set(trust.unique().tolist()) <= {0.0, 1.0}
        outside = (torch.from_numpy(item["depth"]) == 0) & (share == 0)
        assert (image[outside] <= -300).all(), "no chest wall, though 40 HU lie there"
        labels += int(share.sum())
    assert labels > 0


def test_the_region_holds_the_nodule_in_its_middle_and_its_class():
    lungs, donors = render(lung(), looks=1), [donor_of(nodule("a", 6.0)), donor_of(nodule("b", 6.0, (1, 2, 2)))]
    items = class_items(donors, "nodules")
    assert items == [{"nodule": 0, "malignant": 1}, {"nodule": 1, "malignant": 0}]
    step = NoduleInLungd(donors, lungs, (24, 24, 12), augment=False)
    for item in items:
        drawn = step({**item, "rng": np.random.default_rng(5)})
        assert drawn["image"].shape == (1, 24, 24, 12)
        assert drawn["label"] == item["malignant"]
        assert drawn["image"][0, 11:13, 11:13, 5:7].mean() > -150
    assert isinstance(rng_of({}), np.random.Generator)


def test_each_readers_mark_is_an_item_and_doubt_is_none():
    donors = [donor_of(nodule("a", 6.0, (4, 3, 1))), donor_of(nodule("b", 6.0, (3, 3, 3)))]
    assert [item["malignant"] for item in class_items(donors)] == [1, 0, 1]
    with pytest.raises(UsageError, match="only one kind"):
        class_items([donors[1]])


def test_a_box_beyond_the_image_is_filled():
    array = np.arange(8).reshape(2, 2, 2)
    box = cut(array, (-1, 0, 1), (4, 2, 3), -7)
    assert box.shape == (4, 2, 3)
    np.testing.assert_array_equal(box[1:3, :, 0], array[:, :, 1])
    assert (box[0] == -7).all()
    assert (box[:, :, 1:] == -7).all()


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Tables as they come of a judging: 3D Res U-Net is a little better everywhere, 3D ResNet50 is, too."""
    rng = np.random.default_rng(0)
    nodules, ratings = [], []
    for n in range(40):
        base = {
            "scan": f"s{n % 4}",
            "nodule": f"n{n}",
            "patient": f"P{n // 2}",
            "diameter_mm": 4.0 + n,
            "texture": "solid",
        }
        base["ratings"] = "4 5 5" if n % 2 else "1 2 2"
        for system, gain in (("res-unet", 0.1), ("unet", 0.0)):
            dice = round(0.7 + gain + 0.001 * n, 4)
            grid = {"dice_grid": dice, "precision_grid": dice, "recall_grid": dice}
            nodules.append({"system": system, **base, "found": True, "score": 0.9, "dice": dice - 0.05} | grid)
        for mask in ("predicted", "readers"):
            for network, noise in (("nodule-resnet", 1.0), ("resnet50", 8.0)):
                logit = (2.0 if n % 2 else -2.0) + noise * rng.normal()
                ratings.append(
                    {"network": network, "mask": mask, **base, "logit": logit, "mask_mm": rng.uniform(3, 30)}
                )
    for scan in range(4):
        nodules.append({"system": "res-unet", "scan": f"s{scan}", "nodule": "", "found": True, "score": 0.6})
    losses = [{"network": "res-unet", "width": 8, "parameters": 1.5e6, "epoch": e, "loss": 1 / e} for e in (1, 2)]
    for name, rows in ((NODULES, nodules), (RATINGS, ratings), (LOSSES, losses)):
        judge.write_table(tmp_path / name, rows)
    return tmp_path


def test_the_page_is_drawn_from_the_tables_alone(kept):
    text = page.write(kept).read_text()
    row = next(line for line in text.splitlines() if line.startswith("| > 10 mm | 3D Res U-Net |"))
    assert row.split("|")[3].strip() == "33 / 17"
    assert row.split("|")[4].strip().startswith(f"{np.mean([0.8 + 0.001 * n for n in range(7, 40)]):.3f} (")
    assert "| > 10 mm | 33 / 17 | 0.100 (0.100-0.100) | 0.100 (0.100-0.100) |" in text
    assert "| 3D Res U-Net | 40 in 4 scans | 1.000 (1.000-1.000) | 1.000 | 1.0 |" in text
    assert "| 3D Res U-Net | 8 | 1.50 | 2 | 0.5000 |" in text
    for picture in ("paper-loss.png", "paper-dice.png", "paper-roc.png"):
        assert (kept / "images" / picture).stat().st_size > 1000
    assert "not judged" in text, "this software's own networks"


def test_auc_is_that_of_the_logits_and_labels_are_the_median(kept):
    found = rated(Kept.read(kept), "nodule-resnet", "predicted")
    positive, negative = found.logit[found.malignant], found.logit[~found.malignant]
    share = np.mean(positive[:, None] > negative)
    line = next(x for x in (page.write(kept).read_text()).splitlines() if x.startswith("| 3D ResNet50 | predicted |"))
    assert line.split("|")[4].strip().startswith(f"{share:.3f}")
    assert found.malignant.sum() == 20


def test_one_class_alone_is_no_comparison(kept):
    rows = pd.read_csv(kept / RATINGS, dtype=str)
    judge.write_table(kept / RATINGS, rows[rows.ratings == "4 5 5"].to_dict("records"))
    assert rated(Kept.read(kept), "nodule-resnet", "predicted") is None
    assert "AUC" in page.write(kept).read_text()


def test_without_tables_the_page_says_that_nothing_is_trained(tmp_path):
    text = page.write(tmp_path).read_text()
    assert text.count(NOT_TRAINED) > 15
    assert "![" not in text
    assert (Path(__file__).resolve().parents[2] / "docs" / "paper.md").is_file()


def test_a_damaged_table_is_named(kept):
    (kept / NODULES).write_bytes(b"no gzip")
    with pytest.raises(InputError, match=r"paper_nodules\.csv\.gz"):
        page.write(kept)
    pd.DataFrame([{"system": "x"}]).to_csv(kept / NODULES, index=False)
    with pytest.raises(InputError, match="no column"):
        page.write(kept)


def test_judging_keeps_tables_and_stores_weights_with_their_calibration(tmp_path, monkeypatch):
    """Narrow networks that learned nothing, on two nodules in one lung; what is judged isn't judged again."""
    torch.manual_seed(0)
    runs = tmp_path / "runs"
    for name in ("res-unet", "nodule-resnet"):
        (runs / name).mkdir(parents=True)
        build = judge.segmenter if name == "res-unet" else judge.classifier
        torch.save({"model": build(name, 2).state_dict()}, runs / name / "model_final_iteration=1.pt")
        (runs / name / "loss.csv").write_text("epoch,loss\n1,0.5\n")
    donors = [donor_of(nodule(f"n{n}", 7.0, ((4, 5, 5), (1, 2, 1))[n % 2], f"P{n}")) for n in range(4)]
    monkeypatch.setattr(judge, "donors_of", lambda *_: donors)
    monkeypatch.setattr(judge, "LEFT_OUT", ("a",))
    monkeypatch.setattr("research.paper.scenes.SETTINGS", SETTINGS)
    save_background(lung(), tmp_path)
    with pytest.raises(UsageError, match="no training has ended"):
        judge.judge(tmp_path, tmp_path, tmp_path / "none", tmp_path, 1, "cpu", product=False)
    judge.judge(tmp_path, tmp_path, runs, tmp_path / "docs", 1, "cpu", product=False)
    kept = Kept.read(tmp_path / "docs")
    assert set(kept.ratings["mask"]) == {"predicted", "readers"}
    assert kept.losses.width.tolist() == [2, 2]
    monkeypatch.setattr(judge, "_judged", lambda *_: pytest.fail("judged again"))
    before = (tmp_path / "docs" / RATINGS).read_bytes()
    judge.judge(tmp_path, tmp_path, runs, tmp_path / "docs", 1, "cpu", product=False)
    assert (tmp_path / "docs" / RATINGS).read_bytes() == before
    bundle = tmp_path / PAPER
    shutil.copytree(bundle_dir(PAPER) / "configs", bundle / "configs")
    judge.store(runs, tmp_path / "docs", bundle)
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    assert config["network_def"]["width"] == config["classify_def"]["width"] == 2
    assert config["classify_settings"]["spread"] > 0
    load_weights(judge.segmenter("res-unet", 2), bundle, "model.pt")
    load_weights(judge.classifier("nodule-resnet", 2), bundle, "classify.pt")
