"""The regions that the study's 3D networks learn from."""

from __future__ import annotations

import numpy as np
import torch

from monai_lung.stages import TARGETS
from research.study.malignancy import MalignancyNll
from research.study.regions import RegionDataset, a_mask
from research.study.store import Study


def test_masks_are_of_the_nodule(study: Study) -> None:
    crop = max(study.crops, key=lambda c: c.votes.sum())
    sizes = set()
    for seed in range(20):
        mask = a_mask(crop, np.random.default_rng(seed))
        assert set(np.unique(mask)) == {0, 1}
        assert mask[crop.share >= 0.5].mean() > 0.6
        sizes.add(int(mask.sum()))
    assert len(sizes) > 2


def test_items_show_the_nodule_and_say_how_it_was_rated(study: Study) -> None:
    dataset = RegionDataset(study.crops, (0.75, 0.75, 1.5), (32, 32, 16), seed=1)
    assert len(dataset) == len(study.crops)
    for n, crop in enumerate(study.crops):
        item = dataset[n]
        assert item["id"] == crop.row.id
        assert item["image"].shape == (3, 32, 32, 16)
        image, _, mask = item["image"]
        assert image[mask > 0.9].mean() > image[mask == 0].mean() + 0.2
        assert item["label"][0, 0] == 1
        expected = (np.mean(crop.row.ratings["malignancy"]) - 1) / 4
        assert abs(item["label"][0, TARGETS.index("malignancy")] - np.clip(expected, 0.01, 0.99)) < 0.05
    first = dataset[0]["image"]
    dataset.set_epoch(1)
    assert not torch.equal(dataset[0]["image"], first), "drawn afresh"
    dataset.set_epoch(0)
    assert torch.equal(dataset[0]["image"], first)


def test_benign_or_malignant_leaves_doubtful_ones_out() -> None:
    label = torch.tensor([[[1.0, 0.9], [1.0, 1.0]], [[1.0, 0.5], [1.0, 1.0]], [[1.0, 0.1], [1.0, 1.0]]])
    loss = MalignancyNll()
    right = loss(torch.tensor([[0.0, 30.0], [0.0, 30.0], [0.0, -30.0]]), label)
    wrong = loss(torch.tensor([[0.0, -30.0], [0.0, 30.0], [0.0, 30.0]]), label)
    assert right < 1e-6
    assert abs(wrong - 30) < 1e-4
