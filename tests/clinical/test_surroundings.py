"""What stands out against the lung around it, and what is consolidation rather than a vessel."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from clinical_phantoms import GLASS_HU, LUNG_HU, SOLID_HU, affine, all_lung, ellipsoid_share, make_ct, outline_of

from monai_lung import prior
from monai_lung.advice import MeasuredNodules
from monai_lung.clinical.consolidation import CONSOLIDATION_ML, consolidation_ml
from monai_lung.clinical.surroundings import stands_out
from monai_lung.model import CT, Lungs

SHAPE, SPACING = (60, 60, 30), (0.7, 0.7, 1.25)
CENTER = (21.0, 21.0, 18.75)


def sphere(diameter_mm: float, hu: float, noise: float, seed: int = 0) -> tuple[CT, np.ndarray]:
    share = ellipsoid_share(SHAPE, SPACING, CENTER, [diameter_mm / 2] * 3)
    rng = np.random.default_rng(seed)
    return make_ct(LUNG_HU + (hu - LUNG_HU) * share + rng.normal(0, noise, SHAPE), affine(SPACING)), share


@pytest.mark.parametrize("diameter_mm", [4.0, 8.0])
@pytest.mark.parametrize("noise", [20.0, 80.0])
@pytest.mark.parametrize("hu", [SOLID_HU, GLASS_HU])
def test_nodules_and_ground_glass_stand_out(hu: float, noise: float, diameter_mm: float) -> None:
    ct, share = sphere(diameter_mm, hu, noise)
    assert stands_out(outline_of(share), ct, all_lung(ct))


@pytest.mark.parametrize("noise", [5.0, 20.0, 80.0])
@pytest.mark.parametrize("seed", range(3))
def test_lung_without_structure_does_not(noise: float, seed: int) -> None:
    ct, _ = sphere(8.0, LUNG_HU, noise, seed)
    outline = outline_of(ellipsoid_share(SHAPE, SPACING, CENTER, [4.0] * 3))
    assert not stands_out(outline, ct, all_lung(ct))


def test_a_slightly_denser_place_in_dense_noisy_lung_does_not() -> None:
    """Fibrosis, say: the lung itself varies by more."""
    rng = np.random.default_rng(0)
    waves = 200 * np.sin(1.5 * np.arange(60)[:, None, None]) + rng.normal(0, 30, SHAPE)
    share = ellipsoid_share(SHAPE, SPACING, CENTER, [4.0] * 3)
    ct = make_ct(-700 + waves + 120 * share, affine(SPACING))
    assert not stands_out(outline_of(share), ct, all_lung(ct))


def test_without_lung_around_nothing_can_be_told() -> None:
    ct, share = sphere(8.0, LUNG_HU, 5.0)
    nowhere = np.zeros(SHAPE, np.uint8)
    assert stands_out(outline_of(share), ct, Lungs(nowhere, 0.0, 0.0))


@pytest.mark.parametrize(("hu", "visible"), [(SOLID_HU, True), (LUNG_HU, False)])
def test_an_empty_place_in_the_prior_is_not_visible_before(
    hu: float, visible: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that is asked for a nodule draws one in structureless lung too, and the rating may let it pass."""
    ct, _ = sphere(8.0, hu, 10.0)
    outline = outline_of(ellipsoid_share(SHAPE, SPACING, CENTER, [4.0] * 3))
    delineating = importlib.import_module("monai_lung.inference.delineate")
    monkeypatch.setattr(delineating, "delineate_each", lambda ct, seeds, networks: [outline])

    class Sure:
        class rate_settings:
            least_nodule = 0.5

    class Rated:
        nodule_probability = 0.9

    monkeypatch.setattr("monai_lung.inference.rate", lambda *what: [Rated])
    found = MeasuredNodules(ct, all_lung(ct), (), (), ())
    (seen,) = prior.looking_at(found, Sure)([CENTER], [8.0])  # type: ignore[arg-type]
    assert (seen is not None) == visible


def chest(hu: float, radius_mm: float, noise: float) -> tuple[CT, Lungs]:
    """A ball in lung of 2 mm voxels, all of it in the lung's mask."""
    shape, spacing = (50, 50, 50), (2.0, 2.0, 2.0)
    share = ellipsoid_share(shape, spacing, (50.0, 50.0, 50.0), [radius_mm] * 3)
    rng = np.random.default_rng(1)
    ct = make_ct(LUNG_HU + (hu - LUNG_HU) * share + rng.normal(0, noise, shape), affine(spacing))
    return ct, all_lung(ct)


@pytest.mark.parametrize("noise", [0.0, 50.0])
@pytest.mark.parametrize("hu", [40.0, 120.0])
def test_consolidation_is_measured_enhancing_or_not(hu: float, noise: float) -> None:
    ct, lungs = chest(hu, 16.0, noise)
    assert consolidation_ml(ct, lungs) == pytest.approx(4 / 3 * np.pi * 1.6**3, rel=0.15)
    assert consolidation_ml(ct, lungs) > CONSOLIDATION_ML


@pytest.mark.parametrize("noise", [0.0, 50.0])
def test_a_hilum_full_of_contrast_medium_is_no_consolidation(noise: float) -> None:
    """LIDC-IDRI-0003: 12 ml of vessels of 390 to 430 HU in the lungs' masks were said to suggest infection."""
    assert consolidation_ml(*chest(400.0, 16.0, noise)) < 0.1
