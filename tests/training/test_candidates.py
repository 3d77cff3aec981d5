"""Nodules set into whole scans, what the stages propose there, and the dataset made of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from crop_builder import ball_crop
from monai.transforms import Compose
from torch import Tensor, nn

from monai_lung.data.backgrounds import Background
from monai_lung.errors import InputError, UsageError
from monai_lung.inference import Networks
from monai_lung.inference.networks import DelineateSettings, FindSettings, RateSettings
from monai_lung.training.candidates import (
    FALSE,
    LESION,
    NEITHER,
    TRUE,
    Candidates,
    DrawCandidated,
    TwoLooksd,
    candidates_of,
    joined,
    propose,
    read,
    save,
)
from monai_lung.training.draws import DrawnDataset, VaryHud
from monai_lung.training.scenes import APART_MM, plant
from monai_lung.training.synthesis import donor_of
from monai_lung.transforms.rating import NEAR_CHANNELS, TARGETS, WIDE_CHANNELS, signed_depth, slab

NEAR, WIDE = (0.75, 0.75, 1.5), (2.0, 2.0, 3.0)


class Bright(nn.Module):
    """Calls dense voxels a nodule."""

    def forward(self, image: Tensor) -> Tensor:
        return (image - 0.5) * 40


@pytest.fixture
def networks() -> Networks:
    cpu = torch.device("cpu")
    return Networks(
        find=Bright(),
        find_settings=FindSettings((1.0, 1.0, 2.0), (32, 32, 16), 0.25, 0.5, 0.5, 80.0),
        delineate=Bright(),
        delineate_settings=DelineateSettings((0.625, 0.625, 1.25), (48, 48, 24), 0.5),
        rate=nn.Identity(),
        malignancy=nn.Identity(),
        rate_settings=RateSettings(NEAR, (48, 48, 24), 1.0, 0.0, 1.0, 0.5),
        device=cpu,
        weights={},
    )


@pytest.fixture
def marked(background: Background) -> Background:
    """The background with a dense thing where somebody marked a nodule, and one where nobody did."""
    hu = background.hu.copy()
    hu[20:27, 76:83, 40:44] = 30
    hu[72:78, 72:78, 26:34] = 30
    return dataclasses.replace(background, hu=hu)


@pytest.fixture
def candidates(marked: Background, networks: Networks) -> Candidates:
    scene = plant(marked, [dataclasses.replace(donor_of(ball_crop()), alone=True)] * 3, np.random.default_rng(5))
    assert len(scene.planted) == 3
    return propose(scene, marked, networks, NEAR, WIDE)


def test_nodules_lie_in_the_lung_apart_from_each_other_and_from_what_was_marked(marked: Background) -> None:
    donors = [donor_of(ball_crop()), donor_of(ball_crop(wall=True)), donor_of(ball_crop())]
    scene = plant(marked, donors, np.random.default_rng(2))
    places = [np.array(p.center_mm) for p in scene.planted]
    places.append(marked.grid.to_world(np.argwhere(marked.known).mean(0)))
    assert len(places) == 4
    for n, place in enumerate(places):
        assert all(np.linalg.norm(place - other) >= APART_MM - 1 for other in places[:n])
    for planted in scene.planted:
        at = tuple(np.rint(marked.grid.to_index(planted.center_mm)).astype(int))
        assert marked.depth_mm[at] > 0
        assert scene.ct.hu[at] > marked.hu[at] + 300, "its middle is as dense as a nodule"
    changed = scene.ct.hu != marked.hu
    assert changed.mean() < 0.1
    assert marked.hu[changed].mean() < -600, "the scan itself isn't changed"


def test_a_nodule_without_a_place_is_left_out(marked: Background) -> None:
    shallow = dataclasses.replace(marked, depth_mm=np.minimum(marked.depth_mm, 1))
    assert plant(shallow, [donor_of(ball_crop(radius_mm=6.0))], np.random.default_rng(0)).planted == ()


def test_every_candidate_is_true_false_or_known(candidates: Candidates) -> None:
    assert (candidates.kind == TRUE).sum() == 3
    assert (candidates.kind == FALSE).sum() == 1, "what is dense and nobody marked"
    assert (candidates.kind == NEITHER).sum() == 1, "what was marked in the scan"
    nodule = TARGETS.index("nodule")
    np.testing.assert_array_equal(candidates.label[candidates.kind == TRUE][:, 0, nodule], 1)
    np.testing.assert_array_equal(candidates.label[candidates.kind == FALSE][:, 0], 0)
    assert (candidates.label[candidates.kind == FALSE][:, 1, 1:] == 0).all(), "what isn't a nodule has no ratings"
    assert set(candidates.id[candidates.kind != TRUE]) == {""}
    middle = candidates.near_mask[:, 32, 32, 16]
    assert (middle[candidates.kind == TRUE] > 128).all(), "the mask lies in the middle of its look"


def test_a_nodule_that_the_network_missed_is_among_them(marked: Background, networks: Networks) -> None:
    class Blind(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return torch.full_like(image, -9.0)

    scene = plant(marked, [dataclasses.replace(donor_of(ball_crop()), alone=True)], np.random.default_rng(5))
    found = propose(scene, marked, dataclasses.replace(networks, find=Blind()), NEAR, WIDE)
    assert found.kind.tolist() == [TRUE]
    assert found.score.tolist() == [0.0]


def test_candidates_survive_a_file(candidates: Candidates, tmp_path: Path) -> None:
    save(joined([candidates, candidates]), tmp_path / "c.npz")
    again = read(tmp_path / "c.npz")
    assert len(again) == 2 * len(candidates)
    np.testing.assert_array_equal(again.of(np.arange(len(candidates))).near_hu, candidates.near_hu)
    (tmp_path / "c.npz").write_bytes(b"no")
    with pytest.raises(InputError, match=r"c\.npz: not a file of candidates"):
        read(tmp_path / "c.npz")


def test_the_dataset_shows_what_inference_shows(candidates: Candidates, marked: Background, networks: Networks) -> None:
    """The plain item is `inference.looks.region` of the outline, to a few HU."""
    from monai_lung.inference.delineate import delineate
    from monai_lung.inference.looks import region
    from monai_lung.model import Seed

    scene = plant(marked, [dataclasses.replace(donor_of(ball_crop()), alone=True)] * 3, np.random.default_rng(5))
    (outline,) = delineate(scene.ct, [Seed(scene.planted[0].center_mm, 1.0, 8.0)], networks)
    settings = dataclasses.replace(networks.rate_settings, wide_spacing_mm=WIDE)
    met = region(scene.ct, outline, settings, scene.lungs)
    data = dataset(candidates, augment=False)
    where = np.linalg.norm(candidates.center_mm - scene.planted[0].center_mm, axis=1).argmin()
    trained = data[int(where)]["image"]
    assert trained.shape == met.shape == (NEAR_CHANNELS + WIDE_CHANNELS, 48, 48, 24)
    torch.testing.assert_close(trained, met, atol=0.02, rtol=0)
    alone = region(scene.ct, outline, settings)
    assert alone[NEAR_CHANNELS:].abs().max() == 0, "without lungs there is no wide look"


def dataset(candidates: Candidates, *, augment: bool, without_wide: float = 0.0) -> DrawnDataset:
    """As `train_rate.json` has it."""
    steps = [
        DrawCandidated(candidates, NEAR, WIDE, (48, 48, 24), augment=augment),
        *([VaryHud(["near", "wide"])] if augment else []),
        TwoLooksd(NEAR, WIDE, without_wide=without_wide),
    ]
    return DrawnDataset([{"candidate": n} for n in range(len(candidates))], Compose(steps), seed=2)


def test_augmented_items_differ_by_epoch_and_are_reproducible(candidates: Candidates) -> None:
    first, again = (dataset(candidates, augment=True) for _ in range(2))
    a = first[0]["image"]
    first.set_epoch(1)
    assert not torch.equal(first[0]["image"], a)
    assert torch.equal(again[0]["image"], a)


def test_some_items_have_no_wide_look(candidates: Candidates) -> None:
    items = [dataset(candidates, augment=False, without_wide=share)[0]["image"] for share in (0.0, 1.0)]
    assert items[0][NEAR_CHANNELS:].abs().max() > 0
    assert items[1][NEAR_CHANNELS:].abs().max() == 0
    torch.testing.assert_close(items[0][:NEAR_CHANNELS], items[1][:NEAR_CHANNELS])


def test_a_lesion_of_the_scan_itself_is_true_if_its_outline_is_about_as_large(
    marked: Background, networks: Networks
) -> None:
    place = marked.grid.to_world(np.argwhere(marked.known).mean(0))
    for diameter_mm, kind in ((8.0, TRUE), (40.0, NEITHER)):
        known = dataclasses.replace(marked, lesions_mm=np.array([[*place, diameter_mm]]))
        found = propose(plant(known, [], np.random.default_rng(0)), known, networks, NEAR, WIDE)
        at = np.linalg.norm(found.center_mm - place, axis=1).argmin()
        assert found.kind[at] == kind
        assert found.id[at] == (LESION if kind == TRUE else "")
    assert found.label[:, 1, 1:].max() == 0, "nobody rated it"


def test_a_folder_is_read_by_the_names_of_its_scans(candidates: Candidates, tmp_path: Path) -> None:
    for name in ("0-a", "1-a", "0-b"):
        save(candidates, tmp_path / f"{name}.npz")
    sure = int((candidates.kind != NEITHER).sum())
    assert len(candidates_of(tmp_path)) == 3 * sure
    assert len(candidates_of(tmp_path, without=["a"])) == sure
    assert len(candidates_of(tmp_path, only=["a"])) == 2 * sure
    with pytest.raises(UsageError, match="of other things"):
        candidates_of(tmp_path, only=["b"], least_score=1.1)
    with pytest.raises(UsageError, match="none of 3 files"):
        candidates_of(tmp_path, only=["c"])
    save(candidates.of(candidates.kind == TRUE), tmp_path / "0-c.npz")
    with pytest.raises(UsageError, match="of other things"):
        candidates_of(tmp_path, only=["c"])


def test_a_vessel_is_long_in_a_slab_and_a_nodule_is_not() -> None:
    image = torch.zeros(20, 20, 20)
    image[10, 10, 10] = 1
    seen = slab(image, 9.0, 1.5)
    assert seen[10, 10, 7:14].min() == 1
    assert seen[10, 10, 6] == seen[11, 10, 10] == 0


def test_depth_is_signed_and_ends_at_one() -> None:
    inside = np.zeros((60, 20, 20), bool)
    inside[30:] = True
    depth = signed_depth(inside, (1.0, 1.0, 1.0))
    np.testing.assert_allclose(depth[[29, 30, 34, 59, 0], 10, 10], [-0.05, 0.05, 0.25, 1, -1], atol=1e-6)
    assert (signed_depth(np.zeros((4, 4, 4), bool), (1, 1, 1)) == -1).all()
