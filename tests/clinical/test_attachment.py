"""What a nodule touches, in a chest of simple solids."""

from __future__ import annotations

import numpy as np
import pytest
from clinical_phantoms import LUNG_HU, SOLID_HU, WALL_HU, affine, make_ct, outline_of
from scipy import ndimage

from monai_lung.clinical.attachment import has_lymph_node_shape
from monai_lung.clinical.measurements import measure
from monai_lung.model import Lungs, Measurements

SPACING, SHAPE = (1.6, 1.6, 2.5), (140, 100, 90)
ORIGIN = (-112.0, -80.0, 0.0)


def point() -> np.ndarray:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), -1)
    return index * SPACING + ORIGIN


def found(center: tuple[float, float, float], mm: float = 12.0, vessel: bool = False) -> Measurements:
    """A ball in one of two lungs (x from -95 to -15 and 15 to 95, z from 30 on), above a flat diaphragm."""
    p = point()
    labels = np.zeros(SHAPE, np.uint8)
    for label, middle in ((1, -55.0), (2, 55.0)):
        inside = ((p[..., 0] - middle) / 40) ** 2 + (p[..., 1] / 60) ** 2 < 1
        labels[inside & (p[..., 2] > 30) & (p[..., 2] < 200)] = label
    distance = np.linalg.norm(p - center, axis=-1)
    ball = distance < mm / 2
    hu = np.where(labels > 0, LUNG_HU, WALL_HU)
    hu[ball] = SOLID_HU
    if vessel:
        hu[(np.hypot(p[..., 1] - center[1], p[..., 2] - center[2]) < 2.2) & (p[..., 0] < center[0]) & (labels > 0)] = 40
    image = ndimage.gaussian_filter(hu, 0.5) + np.random.default_rng(0).normal(0, 15, SHAPE)
    outline = outline_of((ball & (labels > 0)).astype(float))
    return measure(outline, make_ct(image, affine(SPACING, ORIGIN)), Lungs(labels, 1000.0, 1000.0))


@pytest.mark.parametrize(
    ("center", "touches"),
    [
        ((-55.0, 0.0, 110.0), ()),
        ((-92.0, 0.0, 110.0), ("pleura",)),
        ((55.0, 57.0, 110.0), ("pleura",)),
        ((-55.0, 10.0, 34.0), ("diaphragm",)),
        ((-19.0, 0.0, 110.0), ("hilum",)),
        ((19.0, 5.0, 120.0), ("hilum",)),
    ],
)
def test_what_it_touches(center: tuple[float, float, float], touches: tuple[str, ...]) -> None:
    measured = found(center)
    assert measured.attachment == touches
    assert (measured.pleura_distance_mm == 0) == bool(touches)


def test_a_vessel_that_goes_on_is_seen() -> None:
    assert found((-55.0, 0.0, 110.0), vessel=True).attachment == ("vessel",)


def test_distance_below_the_apex_where_the_scan_shows_it() -> None:
    assert found((-55.0, 0.0, 110.0)).apex_distance_mm == pytest.approx(90, abs=3)


def test_the_core_is_denser_than_the_whole() -> None:
    measured = found((-55.0, 0.0, 110.0))
    assert measured.core_mean_hu is not None
    assert measured.core_mean_hu > measured.mean_hu + 20
    assert measured.core_mean_hu == pytest.approx(SOLID_HU, abs=40)


def test_a_flat_smooth_nodule_at_the_pleura_may_be_a_lymph_node() -> None:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in (24, 24, 12)], indexing="ij"), -1) - [12, 12, 6]
    flat = (index[..., 0] / 7) ** 2 + (index[..., 1] / 3.5) ** 2 + (index[..., 2] / 3) ** 2 < 1
    ct = make_ct(np.where(flat, SOLID_HU, LUNG_HU), affine((0.7, 0.7, 1.25)))
    outline = outline_of(flat.astype(float))
    assert has_lymph_node_shape(outline, ct, True, 9.8, 4.9)
    assert not has_lymph_node_shape(outline, ct, False, 9.8, 4.9)
    assert not has_lymph_node_shape(outline, ct, True, 14.0, 8.0)
    star = flat | ((np.abs(index[..., 1]) < 1) & (np.abs(index[..., 0]) < 11) & (np.abs(index[..., 2]) < 2))
    star |= (np.abs(index[..., 0]) < 1) & (np.abs(index[..., 1]) < 10) & (np.abs(index[..., 2]) < 2)
    assert not has_lymph_node_shape(outline_of(star.astype(float)), ct, True, 9.8, 4.9)
