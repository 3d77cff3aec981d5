from __future__ import annotations

from dataclasses import replace

import numpy as np
from crop_builder import ball_crop

from monai_lung.data.backgrounds import Background
from monai_lung.data.crops import Crop
from monai_lung.training.rate_dataset import DrawRegiond, RateDataset
from monai_lung.training.structures import a_mask, beside, cut_like_a_crop, middle, structure, thick

SPACING_MM, SIZE = (1.0, 1.0, 2.0), (32, 32, 16)


def test_a_vessel_is_taken_as_far_as_it_hangs_together_within_reach(background: Background) -> None:
    at = np.array([42, 42, 30])
    inside = background.depth_mm > 0
    for seed in range(10):
        mask = structure(background.hu, inside, at, background, np.random.default_rng(seed))
        assert mask.any()
        assert (background.hu[mask] > -600).mean() > 0.9
        away = (np.argwhere(mask) - at) * background.spacing_mm
        assert np.linalg.norm(away, axis=1).max() < 11


def test_a_hair_is_not_thick_and_a_vessel_is() -> None:
    hu = np.full((40, 40, 3), -850, np.int16)
    hu[10, 10] = -100
    hu[25:29, 25:29] = 0
    places = np.argwhere(thick(hu))
    assert len(places)
    assert (places[:, :2] >= 25).all()


def test_places_beside_a_nodule_are_in_its_lung_and_apart_from_it() -> None:
    crop = ball_crop()
    hu = crop.hu.copy()
    hu[8:11, 12:15] = 0  # a vessel through all slices
    hu[:, -6:] = 40  # a wall
    places = beside(Crop(crop.row, hu, crop.readers, crop.affine_ras))
    assert len(places)
    assert (hu[tuple(places.T)] > -500).all()
    assert (crop.votes[tuple(places.T)] == 0).all()
    assert any(tuple(p[:2]) == (9, 13) for p in places)
    assert not len(beside(crop))


def test_a_vessel_cut_like_a_crop_goes_on_beyond_it(background: Background) -> None:
    """A vessel that ended where its crop ends would look like a nodule."""
    mask = np.zeros(background.hu.shape, bool)
    mask[40:44, 40:44, 28:32] = True
    crop, own = cut_like_a_crop(background.hu, mask, background.spacing_mm, np.random.default_rng(0))
    assert own.sum() == mask.sum()
    assert own.shape[2] <= 8
    regions = DrawRegiond([], [background], SPACING_MM, SIZE, others=True, augment=False)
    for seed in range(8):
        image, drawn = regions._in_crop(crop, own, np.random.default_rng(seed), ways=(0.6, 0.4, 0.0))
        x, y, _ = np.rint(middle(drawn.numpy() >= 0.5)).astype(int)
        assert float(image[x, y].min()) > -400, "the vessel ends"


def test_masks_are_of_the_nodule() -> None:
    crop = ball_crop()
    sizes = set()
    for seed in range(20):
        mask = a_mask(crop, np.random.default_rng(seed))
        assert set(np.unique(mask)) == {0, 1}
        overlap = mask[crop.share >= 0.5].mean()
        assert overlap > 0.6
        sizes.add(int(mask.sum()))
    assert len(sizes) > 2


def test_both_kinds_come_both_ways(background: Background) -> None:
    """Nodules stand in the scan's denser lung too, other structures in a crop's made-up surroundings too."""
    denser = replace(background, hu=(background.hu + 150).clip(max=30))
    dataset = RateDataset([ball_crop()], [denser], SPACING_MM, SIZE, others=30, seed=3)
    nodules = []
    for epoch in range(30):
        dataset.set_epoch(epoch)
        item = dataset[0]
        assert item["label"][0, 0] == 1
        assert item["image"][0][item["image"][2] > 0.9].mean() > 0.45
        nodules.append(float(item["image"][0][:, :4].median()))
    others = [dataset[n] for n in range(1, 31)]
    assert all(item["label"][0, 0] == 0 and item["image"][2].max() > 0 for item in others)
    scan = np.array(nodules) > 0.16  # in the lung window -860 HU is 0.1, -710 HU is 0.21
    assert 5 <= scan.sum() <= 25


def test_without_other_structures_no_scan_is_needed() -> None:
    dataset = RateDataset([ball_crop()], [], SPACING_MM, SIZE, others=5)
    assert len(dataset) == 1
    assert dataset[0]["label"][0, 0] == 1
