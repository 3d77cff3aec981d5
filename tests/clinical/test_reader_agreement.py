"""Bounds on our agreement with LIDC-IDRI's readers, where their outlines are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import reader_agreement as agreement

from monai_lung.clinical.texture import GROUND_GLASS_BELOW_HU, SOLID_ABOVE_HU


@pytest.fixture(scope="module")
def folder(data_dir: Path) -> Path:
    crops = data_dir / "lidc_crops"
    if not (crops / "nodules.csv").is_file():
        pytest.skip(f"no {crops}")
    return crops


def test_texture_agrees_better_than_a_reader_with_the_others(folder: Path) -> None:
    patient, density, truth, ratings = agreement.densities(folder)
    reader = agreement.weighted_kappa(agreement.readers_among_themselves(ratings))
    assert reader == pytest.approx(0.730, abs=0.002)
    validated = agreement.confusion(truth, agreement.cross_validated(patient, density, truth))
    assert agreement.weighted_kappa(validated) > max(0.78, reader)
    shipped = agreement.confusion(truth, agreement.classify(density, GROUND_GLASS_BELOW_HU, SOLID_ABOVE_HU))
    assert agreement.weighted_kappa(shipped) > 0.82
    recall = np.diag(shipped) / shipped.sum(axis=1)
    assert recall[0] > 0.6  # ground glass, among so many solid ones
    assert recall[2] > 0.9


def test_diameters_are_unbiased_against_the_readers(folder: Path) -> None:
    rows = agreement.diameters(folder, every=12)
    consensus, own, equivalent, counted = np.array([row[1:] for row in rows]).T
    assert len(rows) > 200
    assert abs((consensus - own).mean()) < 0.2
    assert 1.96 * (consensus - own).std(ddof=1) < 3.0
    # The sub-voxel surface is that of the mask: by volume it is what counting the voxels gives, on average.
    assert abs((equivalent - counted).mean()) < 0.06
    assert (equivalent - counted).std(ddof=1) < 0.25


def test_weighted_kappa() -> None:
    assert agreement.weighted_kappa(np.diag([5.0, 3.0, 2.0])) == 1
    assert agreement.weighted_kappa(np.outer([5.0, 3.0, 2.0], [1.0, 1.0, 1.0])) == pytest.approx(0, abs=1e-12)


def test_limits_are_found_on_made_up_densities() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], 200)
    density = np.array([-600.0, -350.0, 0.0])[truth] + rng.normal(0, 30, 600)
    low, high = agreement.fitted_limits(density, truth)
    assert -540 < low < -420
    assert -300 < high < -80
    patient = rng.permutation(np.repeat([f"p{k}" for k in range(100)], 6))
    guess = agreement.cross_validated(patient, density, truth)
    assert (guess == truth).mean() > 0.98
