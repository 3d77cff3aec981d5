from __future__ import annotations

import numpy as np
from crop_builder import ball_crop

from monai_lung.data.crops import CropRow
from monai_lung.data.slices import NoduleSlice
from monai_lung.training.synthesis import continue_in_z, donor_of, paint_over, random_frame, rounded


def test_a_continued_crop_keeps_its_own_slices_and_ends_the_nodule() -> None:
    crop = ball_crop()
    kinds = set()
    for seed in range(12):
        long = continue_in_z(crop, 10.0, np.random.default_rng(seed))
        hu, share, trust = long.channels.numpy()
        extra = (hu.shape[2] - crop.hu.shape[2]) // 2
        assert extra == 8
        np.testing.assert_array_equal(hu[..., extra:-extra], crop.hu)
        np.testing.assert_array_equal(share[..., extra:-extra], crop.share)
        assert share[..., :extra].max() == 0
        assert trust[..., extra:-extra].min() == 1
        kinds.add((trust[..., 0].min(), bool(hu[..., 0].max() > -200)))
    assert kinds >= {(1.0, False), (0.0, True)}  # painted over and trusted, repeated and not trusted


def test_the_nodules_centre_is_the_origin() -> None:
    long = continue_in_z(ball_crop(), 10.0, np.random.default_rng(0))
    marked = np.argwhere(long.channels[1].numpy() >= 0.5)
    middle = (marked.min(0) + marked.max(0)) / 2 * long.spacing_mm + long.origin_mm
    np.testing.assert_allclose(middle, 0, atol=1e-6)


def test_painting_over_takes_the_surroundings() -> None:
    hu = np.full((30, 30), -850, np.float32)
    hu[:, 20:] = 40
    mask = np.zeros((30, 30), bool)
    mask[10:15, 5:10] = True
    hu[mask] = 100
    clean = paint_over(hu, mask, np.random.default_rng(0))
    assert clean[mask].max() < -800
    np.testing.assert_array_equal(clean[:, 20:], hu[:, 20:])


def test_a_random_frame_is_a_scaled_rotation_or_mirror() -> None:
    frame = random_frame(np.random.default_rng(3), scale=(0.8, 1.2), tilt_deg=10)
    gram = frame.T @ frame
    np.testing.assert_allclose(gram, np.eye(3) * gram[0, 0], atol=1e-12)
    assert 0.8**2 <= gram[0, 0] <= 1.2**2


def test_a_slice_is_rounded_to_a_ball_that_ends() -> None:
    x, y = np.indices((71, 71)) - 35
    disc = x**2 + y**2 <= 8**2
    hu = np.where(disc, 30, -870).astype(np.int16)
    nodule = NoduleSlice(CropRow("n", "p", 2, {}, None), hu, np.where(disc, 3, 0).astype(np.uint8), 0.7)
    crop = rounded(nodule)
    assert crop is not None
    volume = (crop.share >= 0.5).sum() * np.prod(crop.spacing_mm)
    assert abs(volume / (4 / 3 * np.pi * (8 * 0.7) ** 3) - 1) < 0.1
    assert not crop.readers[..., 0].any()
    assert not crop.readers[..., -1].any()
    assert crop.hu[crop.readers > 0].mean() > -150
    assert donor_of(crop, alone=True).alone


def test_a_slice_without_a_nodule_gives_none() -> None:
    empty = NoduleSlice(CropRow("n", "p", 1, {}, None), np.zeros((71, 71), np.int16), np.zeros((71, 71), np.uint8), 0.7)
    assert rounded(empty) is None
