from __future__ import annotations

import numpy as np
import torch
from crop_builder import ball_crop

from monai_lung.training.synthesis import continue_in_z, paint_over, random_frame, sample


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


def test_sampling_on_the_own_grid_is_the_identity() -> None:
    volume = torch.rand(2, 6, 7, 8)
    same = sample(volume, np.c_[np.eye(3), np.zeros(3)], (6, 7, 8))
    torch.testing.assert_close(same, volume, atol=1e-5, rtol=1e-5)


def test_sampling_shifts_by_whole_voxels_exactly() -> None:
    volume = torch.rand(1, 9, 9, 9)
    moved = sample(volume, np.c_[np.eye(3), [2, 1, 0]], (4, 4, 4))
    torch.testing.assert_close(moved, volume[:, 2:6, 1:5, :4], atol=1e-5, rtol=1e-5)


def test_a_random_frame_is_a_scaled_rotation_or_mirror() -> None:
    frame = random_frame(np.random.default_rng(3), scale=(0.8, 1.2), tilt_deg=10)
    gram = frame.T @ frame
    np.testing.assert_allclose(gram, np.eye(3) * gram[0, 0], atol=1e-12)
    assert 0.8**2 <= gram[0, 0] <= 1.2**2
