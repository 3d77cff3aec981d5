from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from crop_builder import ball_crop

from monai_lung.data.slices import NoduleSlice
from monai_lung.inference.networks import RateSettings
from monai_lung.training.draws import DrawnDataset
from monai_lung.training.slice_dataset import SliceDataset, WholeNoduled, a_flat_mask, flat_crop, flat_slice
from monai_lung.transforms.rating import SLICE_TARGETS

MALIGNANCY = SLICE_TARGETS.index("malignancy")


def a_slice(crop, readers: int = 1) -> NoduleSlice:
    """The crop's middle slice with the mark of its first reader."""
    k = crop.hu.shape[2] // 2
    row = replace(crop.row, n_readers=readers, ratings={n: v[:readers] for n, v in crop.row.ratings.items()})
    return NoduleSlice(row, crop.hu[..., k], crop.readers[..., k] & 1, 0.7)


def test_an_item_shows_the_nodule_in_its_middle() -> None:
    data = SliceDataset([flat_crop(ball_crop()), flat_slice(a_slice(ball_crop(6.0)))], 0.75, 48)
    assert len(data) == 2
    for n, radius in enumerate((4.0, 6.0)):
        item = data[n]
        assert item["image"].shape == (3, 48, 48, 1)
        assert item["label"].shape == (2, len(SLICE_TARGETS))
        mask = item["image"][2, ..., 0].numpy() > 0.5
        np.testing.assert_allclose(np.argwhere(mask).mean(0), 23.5, atol=3.5)
        assert 1.2 * radius < 0.75 * np.sqrt(mask.sum() / np.pi) * 2 < 2.6 * radius
        assert item["image"][0, ..., 0].numpy()[mask].mean() > 0.6  # 40 HU of -1000 to 400, with noise


def test_items_are_drawn_afresh_each_epoch_and_alike_for_a_seed() -> None:
    data, same = (SliceDataset([flat_crop(ball_crop())], 0.75, 32, seed=3) for _ in range(2))
    first = data[0]["image"]
    torch.testing.assert_close(first, same[0]["image"])
    data.set_epoch(1)
    assert not torch.allclose(first, data[0]["image"])


def test_what_one_reader_rated_weighs_less() -> None:
    four, one = (
        SliceDataset([n], 0.75, 32)[0]["label"] for n in (flat_crop(ball_crop()), flat_slice(a_slice(ball_crop())))
    )
    assert one[1, MALIGNANCY] < four[1, MALIGNANCY]
    assert one[0, MALIGNANCY] > four[0, MALIGNANCY] > 0.5  # rated 5 alone, and 5 4 4 3


def test_a_crop_gives_the_slices_of_at_least_half_the_largest_area() -> None:
    crop = ball_crop(8.0)
    flat = flat_crop(crop)
    area = (crop.share >= 0.5).sum((0, 1))
    assert flat.hu.shape[2] == (2 * area >= area.max()).sum() < crop.hu.shape[2]
    assert flat.readers.any((0, 1)).all()


def test_the_mask_is_one_readers_or_several() -> None:
    readers = np.zeros((9, 9), np.uint8)
    readers[2:7, 2:7] = 1
    readers[3:6, 3:6] |= 2
    readers[4:6, 4:6] |= 4
    drawn = {int(a_flat_mask(readers, np.random.default_rng(n)).sum()) for n in range(50)}
    assert drawn == {25, 9, 4}  # any and the first, half of three and the second, the third


def test_a_nodule_without_a_rating_or_a_mark_is_left_out() -> None:
    crop = ball_crop()
    unrated = flat_crop(replace(crop, row=replace(crop.row, ratings={})))
    unmarked = flat_slice(replace(a_slice(crop), readers=np.zeros(crop.hu.shape[:2], np.uint8)))
    assert len(SliceDataset([unrated, unmarked], 0.75, 32)) == 0


def test_validation_sees_what_is_seen_in_use() -> None:
    settings = RateSettings((1.0, 1.0, 2.0), (32, 32, 16), 1.0, 0.0, 0.0, 0.0, slice_pixels=40, slices=3)
    data = DrawnDataset([{"crop": ball_crop(), "id": "n0"}], WholeNoduled(settings))
    item = data[0]
    assert item["image"].shape == (3, 40, 40, 3)
    torch.testing.assert_close(item["image"], data[0]["image"])
    assert item["label"][0, MALIGNANCY] > 0.5
