"""Calcium, fat and bone in phantoms whose pattern is known, and against the readers of LIDC-IDRI."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from clinical_phantoms import LUNG_HU, SOLID_HU, affine, all_lung, make_ct, outline_of
from scipy import ndimage

from monai_lung.clinical.composition import Composition, composition
from monai_lung.model import CT, Lungs, Outline

SPACING = (0.7, 0.7, 1.25)
SHAPE = (48, 48, 30)


def grid() -> np.ndarray:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), -1)
    return (index - (np.array(SHAPE) - 1) / 2) * SPACING


def rendered(hu: np.ndarray, inside: np.ndarray, noise_hu: float = 20.0) -> tuple[Outline, CT]:
    image = np.where(inside, hu, LUNG_HU)
    image = ndimage.gaussian_filter(image, [0.5, 0.5, 0.3]) + np.random.default_rng(1).normal(0, noise_hu, SHAPE)
    return outline_of(inside.astype(float)), make_ct(image, affine(SPACING))


def made_of(pattern: str, mm: float, noise_hu: float = 20.0) -> Composition:
    """A sphere of `mm` with a pattern of calcium (700 HU) or fat (-90 HU)."""
    point = grid()
    r = np.linalg.norm(point, axis=-1) / (mm / 2)
    hu = np.full(SHAPE, SOLID_HU)
    balls = {
        "popcorn": [((0.5, 0, 0), 0.34), ((-0.4, 0.4, 0), 0.34), ((-0.2, -0.5, 0), 0.34), ((0, 0.1, 0.6), 0.3)],
        "eccentric": [((0.55, 0, 0), 0.35)],
        "stippled": [((0.5, 0.3, 0), 0.1), ((-0.5, 0.2, 0), 0.1)],
        "fat pocket": [((0.1, 0, 0), 0.45)],
    }
    if pattern == "diffuse":
        hu[:] = 700
    elif pattern == "central":
        hu[r < 0.5] = 700
    elif pattern == "laminated":
        hu[(r > 0.5) & (r < 0.85)] = 700
    elif pattern == "fat":
        hu[:] = -90
    elif pattern == "ground glass":
        hu[:] = -550
    elif pattern == "part-solid":
        hu[:] = np.where(r < 0.5, 0, -500)
    elif pattern in balls:
        for center, size in balls[pattern]:
            near = np.linalg.norm(point / (mm / 2) - center, axis=-1) < size
            hu[near] = -90 if pattern == "fat pocket" else 700
    return composition(*rendered(hu, r < 1, noise_hu), all_lung_of())


def all_lung_of() -> Lungs:
    return Lungs(np.ones(SHAPE, np.uint8), 1000.0, 0.0)


@pytest.mark.parametrize("mm", [10.0, 14.0, 20.0])
@pytest.mark.parametrize("pattern", ["diffuse", "central", "laminated", "popcorn"])
def test_benign_calcium(pattern: str, mm: float) -> None:
    found = made_of(pattern, mm)
    if mm < 20.0 and pattern in ("laminated", "popcorn"):  # rings and clumps of 1-2 mm flow together
        assert found.benign_pattern in ("laminated", "popcorn", "diffuse", "central")
    else:
        assert found.benign_pattern == pattern
    assert found.calcified_share > 0.1
    assert not found.bone


@pytest.mark.parametrize("mm", [5.0, 7.0])
def test_a_small_granuloma_is_calcified_through(mm: float) -> None:
    assert made_of("diffuse", mm).benign_pattern in ("diffuse", "central")


@pytest.mark.parametrize("mm", [10.0, 14.0, 20.0])
@pytest.mark.parametrize("pattern", ["none", "eccentric", "stippled", "ground glass", "part-solid"])
def test_what_is_not_benign_by_its_pattern(pattern: str, mm: float) -> None:
    assert made_of(pattern, mm).benign_pattern is None


def test_noise_is_no_calcium() -> None:
    for mm in (6.0, 12.0, 20.0):
        assert made_of("none", mm, noise_hu=90).benign_pattern is None


@pytest.mark.parametrize(("pattern", "mm"), [("fat", 10.0), ("fat", 16.0), ("fat pocket", 14.0), ("fat pocket", 20.0)])
def test_fat(pattern: str, mm: float) -> None:
    found = made_of(pattern, mm)
    assert found.benign_pattern == "fat"
    assert found.fat_share > 0.02


def test_an_osteophyte_is_bone_and_a_granuloma_at_the_wall_is_not() -> None:
    point = grid()
    wall = point[..., 0] > 6  # chest wall with a vertebra in it, and a spur of it in the lung
    bone = (point[..., 0] > 9) | ((np.abs(point[..., 1]) < 4) & (np.abs(point[..., 2]) < 4) & (point[..., 0] > -1))
    lungs = Lungs((~wall).astype(np.uint8), 1000.0, 0.0)
    for spur in (True, False):
        ball = np.linalg.norm(point - [2.0, 0, 0], axis=-1) < 3.5
        hu = np.where(wall, 40.0, LUNG_HU)
        hu[(point[..., 0] > 9) | (bone & spur)] = 550
        hu[ball & ~wall] = 550
        image = ndimage.gaussian_filter(hu, [0.5, 0.5, 0.3])
        outline = outline_of((ball & ~wall).astype(float))
        found = composition(outline, make_ct(image, affine(SPACING)), lungs)
        assert found.bone == spur
        assert (found.benign_pattern is None) == spur


def test_calcium_agrees_with_the_readers_of_lidc(data_dir: Path) -> None:
    """Benign by pattern (popcorn, laminated, solid, central) for most readers, against none of them."""
    import reader_agreement as agreement

    folder = data_dir / "lidc_crops"
    if not (folder / "nodules.csv").is_file():
        pytest.skip(f"no {folder}")
    with (folder / "nodules.csv").open() as file:
        ratings = [[int(v) for v in row["calcification"].split()] for row in csv.DictReader(file)]
    table: Counter[tuple[bool, bool]] = Counter()
    every = 4
    for given, crop in zip(ratings[::every], agreement.crops(folder, every), strict=True):
        benign = sum(v in (1, 2, 3, 5) for v in given)
        if 0 < benign <= len(given) / 2:
            continue  # the readers disagree
        outline = outline_of(crop.consensus.astype(float))
        found = composition(outline, crop.ct, all_lung(crop.ct)).benign_pattern
        table[benign > 0, found not in (None, "fat")] += 1
    hits, misses = table[True, True], table[True, False]
    assert hits + misses >= 15
    assert hits / (hits + misses) > 0.85
    assert table[False, True] / (table[False, True] + table[False, False]) < 0.02
