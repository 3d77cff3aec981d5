from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from crop_builder import ball_crop
from scipy import ndimage

import monai_lung.training.find_dataset as find_dataset_module
import monai_lung.training.synthesis as synthesis_module
from monai_lung.data.backgrounds import Background, check_held_out
from monai_lung.data.crops import RATINGS
from monai_lung.errors import UsageError
from monai_lung.training.datasets import DelineateDataset
from monai_lung.training.find_dataset import FindDataset, SetInNodulesd, donors_of
from monai_lung.training.synthesis import donor_of, outwards, turned_to


def test_the_plain_patch_shows_the_ball_where_the_label_is() -> None:
    dataset = DelineateDataset([ball_crop()], (0.625, 0.625, 1.25), (48, 48, 24), augment=False)
    item = dataset[0]
    assert item["image"].shape == (1, 48, 48, 24)
    assert item["label"].shape == (2, 48, 48, 24)
    inside = item["label"][0] >= 0.75
    assert item["image"][0][inside].mean() > 0.6
    volume = (item["label"][0] >= 0.5).sum() * 0.625**2 * 1.25
    assert abs(volume / (4 / 3 * np.pi * 4**3) - 1) < 0.1
    assert all(torch.equal(item[key], dataset[0][key]) for key in ("image", "label"))
    assert item["id"] == "ball"


@pytest.mark.parametrize(("target", "least"), [("half", 2), ("three", 3)])
def test_a_target_counts_readers(target: str, least: int) -> None:
    """Four readers: two drew a smaller ball, one a larger."""
    crop = ball_crop()
    grown, shrunk = ndimage.binary_dilation(crop.readers > 0), ndimage.binary_erosion(crop.readers > 0)
    middle = crop.readers > 0
    bits = sum(mask.astype(np.uint8) << k for k, mask in enumerate((shrunk, shrunk, middle, grown)))
    ratings = {name: (3,) * 4 for name in RATINGS}
    crop = dataclasses.replace(crop, readers=bits, row=dataclasses.replace(crop.row, n_readers=4, ratings=ratings))
    options = {"augment": False}
    soft, hard = (
        DelineateDataset([crop], (0.625, 0.625, 1.25), (48, 48, 24), target=t, **options)[0]["label"]
        for t in ("share", target)
    )
    assert set(hard[0].unique().tolist()) == {0.0, 1.0}
    assert len(soft[0].unique()) > 2
    expected = (crop.votes >= least).sum() * np.prod(crop.spacing_mm)
    assert (hard[0].sum() * 0.625**2 * 1.25).item() == pytest.approx(expected, rel=0.08)
    with pytest.raises(UsageError, match="three"):
        DelineateDataset([crop], (1, 1, 1), (16, 16, 8), target="all")
    few = dataclasses.replace(crop, row=dataclasses.replace(crop.row, n_readers=2))
    with pytest.raises(UsageError, match="three readers"):
        DelineateDataset([few], (1, 1, 1), (16, 16, 8), target="three")


def test_lungs_of_held_out_patients_are_refused(background: Background) -> None:
    scans = [dataclasses.replace(background, name=name) for name in ("LIDC-IDRI-0007_s3", "LungDx-A0001-L")]
    check_held_out(scans, ["LIDC-IDRI-0070", "LIDC-IDRI-000"])
    for patient in ("LIDC-IDRI-0007", "LungDx-A0001-L"):
        with pytest.raises(UsageError, match=patient):
            check_held_out(scans, [patient])


def test_augmented_items_differ_and_are_reproducible() -> None:
    first, again = (DelineateDataset([ball_crop()], (0.7, 0.7, 1.25), (32, 32, 16), seed=5) for _ in range(2))
    a = first[0]
    first.set_epoch(1)
    b = first[0]
    assert not torch.equal(a["image"], b["image"])
    assert torch.equal(again[0]["image"], a["image"])
    again.set_epoch(1)
    assert torch.equal(again[0]["image"], b["image"])


def test_nodules_are_set_into_lung_and_seams_are_not_trusted(
    background: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthesis_module, "FADED_SHARE", 0.0)
    dataset = FindDataset(
        [background], [donor_of(ball_crop()), donor_of(ball_crop(wall=True))], (48, 48, 24), samples=40, seed=1
    )
    items = [dataset[n] for n in range(40)]
    with_nodule = [item for item in items if item["label"][0].max() > 0.5]
    assert 15 < len(with_nodule) < 40
    for item in with_nodule:
        core = (item["label"][0] > 0.9) & (item["label"][1] > 0)
        if core.sum() > 20:
            assert item["image"][0][core].mean() > 0.55  # about 40 HU in the lung window, less where slices fade
    assert any(item["label"][1].min() == 0 for item in items)


def test_a_faded_nodule_is_between_lung_and_solid(background: Background, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = dataclasses.replace(background, known=np.zeros_like(background.known))
    crop = ball_crop()
    row = dataclasses.replace(crop.row, ratings={"texture": (5,) * crop.row.n_readers})
    donor = donor_of(dataclasses.replace(crop, row=row), alone=True)
    brightness = {}
    for share in (0.0, 1.0):
        monkeypatch.setattr(synthesis_module, "FADED_SHARE", share)
        items = [FindDataset([clean], [donor], (48, 48, 24), samples=40, seed=1)[n] for n in range(40)]
        cores = [item["label"][0] > 0.9 for item in items]
        seen = [item["image"][0][core].mean() for item, core in zip(items, cores, strict=True) if core.sum() > 20]
        brightness[share] = float(np.mean(seen))
    lung = 0.2
    assert lung < brightness[1.0] < 0.8 * brightness[0.0]


@pytest.mark.parametrize("coarse", [False, True])
def test_half_of_the_patches_are_around_hard_places(
    background: Background, monkeypatch: pytest.MonkeyPatch, coarse: bool
) -> None:
    monkeypatch.setattr(find_dataset_module, "COARSE_SHARE", float(coarse))
    monkeypatch.setattr(find_dataset_module, "NODULES", (1.0,))  # nothing set in over it
    hu = background.hu.copy()
    hu[56:64, 56:64, 28:32] = 3000  # brighter than all else
    marked = dataclasses.replace(background, hu=hu)
    place = {"hard_coarse_mm" if coarse else "hard_mm": np.array([[59.5, 59.5, 59.0]])}
    shown = {}
    for name, b in (("without", marked), ("with", dataclasses.replace(marked, **place))):
        dataset = FindDataset([b], [donor_of(ball_crop(radius_mm=6.0))], (12, 12, 8), samples=60, seed=3)
        shown[name] = sum(float(dataset[n]["image"].max()) > 0.99 for n in range(60))
    assert shown["without"] < 15
    assert 20 <= shown["with"] - shown["without"] <= 45


def test_the_backgrounds_own_nodules_are_never_trusted(background: Background) -> None:
    everywhere = Background("all", background.hu, background.depth_mm, np.ones(background.hu.shape, bool), np.eye(4))
    item = FindDataset([everywhere], [donor_of(ball_crop())], (32, 32, 16), samples=1)[0]
    assert item["label"][1].max() == 0


def test_a_nodule_of_one_reader_counts_a_third(background: Background) -> None:
    crop = ball_crop()
    row = dataclasses.replace(crop.row, n_readers=1)
    donor = donor_of(dataclasses.replace(crop, row=row, readers=(crop.votes >= 2).astype(np.uint8)), alone=True)
    clean = dataclasses.replace(background, known=np.zeros_like(background.known))
    dataset = FindDataset([clean], [donor], (48, 48, 24), samples=20, seed=1)
    labels = [dataset[n]["label"] for n in range(20)]
    assert max(float(label[0].max()) for label in labels) == pytest.approx(1 / 3)
    assert all(label[1].min() == 1 for label in labels)  # set in alone, so there is no seam


def test_faint_nodules_come_oftener(background: Background) -> None:
    crop = ball_crop()
    faint = dataclasses.replace(crop.row, ratings={"texture": (1,) * crop.row.n_readers})
    solid = dataclasses.replace(crop.row, ratings={"texture": (5,) * crop.row.n_readers})
    donors = [donor_of(dataclasses.replace(crop, row=row)) for row in (solid, faint)]
    np.testing.assert_allclose(SetInNodulesd(donors).often, [0.25, 0.75])


def test_a_nodule_on_the_wall_is_turned_to_the_wall() -> None:
    donor = donor_of(ball_crop(wall=True))
    assert donor.wall is not None
    np.testing.assert_allclose(donor.wall, [1, 0], atol=0.1)
    assert donor_of(ball_crop()).wall is None
    depth = np.tile(np.arange(20, dtype=np.float32)[None, :, None], (20, 1, 20))  # the border is at y = 0
    away = outwards(depth, np.array([10, 3, 10]), np.ones(3))
    np.testing.assert_allclose(away, [0, -1], atol=0.05)
    frame = turned_to(np.eye(3), donor.wall, away)
    np.testing.assert_allclose(frame[:2, :2] @ away, donor.wall, atol=1e-6)


def test_slices_of_other_patients_and_known_nodules_stay_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = dataclasses.replace(ball_crop(), row=dataclasses.replace(ball_crop().row, id="n0", patient="A"))
    monkeypatch.setattr("monai_lung.training.find_dataset.load_crops", lambda *_: [known])
    write_slices(tmp_path / "slices", {"n0": "A", "n1": "A", "n2": "B", "n3": "C", "n4": "D"})
    donors = donors_of("crops", ["A", "B", "C"], exclude=["B"], slices=str(tmp_path / "slices"))
    taken = {donor.crop.row.id: donor.alone for donor in donors}
    assert taken == {"n0": False, "n1": True, "n3": True}


def write_slices(folder: Path, patients: dict[str, str]) -> None:
    """A disc of 10 pixels for each id."""
    folder.mkdir()
    header = ["id", "patient", "n_readers", "spacing_mm", *RATINGS]
    rows = [[name, patient, "1", "0.7", *["3"] * len(RATINGS)] for name, patient in patients.items()]
    (folder / "slices.csv").write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")
    x, y = np.indices((71, 71)) - 35
    disc = np.repeat((x**2 + y**2 <= 25)[None], len(rows), axis=0)
    np.savez(folder / "slices.npz", image_hu=np.where(disc, 0, -850).astype(np.int16), readers=disc.astype(np.uint8))
