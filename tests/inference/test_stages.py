from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from itertools import permutations
from pathlib import Path

import cc3d
import numpy as np
import pytest
import torch
from lung_builder import BALLS, two_lungs

from monai_lung.grid import Grid, bounding_box, resample
from monai_lung.inference import Networks, delineate, find, rate, rate_likely, within_lungs
from monai_lung.inference.delineate import component_at, without_copies, without_doubles
from monai_lung.inference.find import find_grid, probability_map
from monai_lung.inference.rate import calibrate, rating_as_probability
from monai_lung.model import CT, Lungs, Outline, Seed
from monai_lung.transforms.rating import TARGETS


def test_seeds_lie_on_the_balls(ct_and_lungs: tuple[CT, Lungs], networks: Networks) -> None:
    seeds = find(*ct_and_lungs, networks)
    for center, radius in BALLS:
        near = [s for s in seeds if np.linalg.norm(np.subtract(s.center_mm, center)) < 1.5]
        assert len(near) == 1
        assert near[0].diameter_mm == pytest.approx(2 * radius, abs=3)


def test_a_mass_that_the_fine_look_misses_is_found_by_the_coarse_one(
    ct_and_lungs: tuple[CT, Lungs], networks: Networks
) -> None:
    class SmallOnly(type(networks.find)):  # type: ignore[misc]
        """Calls nothing a nodule that takes more than 1,200 voxels of its window."""

        def forward(self, image):  # type: ignore[no-untyped-def]
            logits = super().forward(image)
            for one in logits[:, 0]:
                parts, counts = np.unique(labels := cc3d.connected_components(one.numpy() > 0), return_counts=True)
                one[torch.from_numpy(np.isin(labels, parts[(parts > 0) & (counts > 1200)]))] = -9
            return logits

    def hits(mass_mm: float) -> int:
        settings = replace(networks.find_settings, mass_mm=mass_mm)
        seeds = find(*ct_and_lungs, replace(networks, find=SmallOnly(), find_settings=settings))
        return sum(s.diameter_mm > 25 and np.linalg.norm(np.subtract(s.center_mm, BALLS[2][0])) < 3 for s in seeds)

    assert hits(mass_mm=1000) == 0
    assert hits(mass_mm=20) == 1


def test_windows_without_lung_are_not_computed(ct_and_lungs: tuple[CT, Lungs], networks: Networks) -> None:
    seen = []

    class Counting(type(networks.find)):  # type: ignore[misc]
        def forward(self, image):  # type: ignore[no-untyped-def]
            seen.append(len(image))
            return super().forward(image)

    ct, lungs = ct_and_lungs
    probability_map(ct, lungs, replace(networks, find=Counting()), networks.find_settings)
    both = sum(seen)
    seen.clear()
    right = Lungs(np.where(lungs.labels == 1, lungs.labels, 0).astype(np.uint8), 0.0, 0.0)
    corners = right.labels.copy()
    corners[-25:-20, 20:25, 20:25] = 2
    probability_map(ct, Lungs(corners, 0.0, 0.0), replace(networks, find=Counting()), networks.find_settings)
    assert 0 < sum(seen) < 0.75 * both


def test_the_grid_knows_where_it_lies(ct_and_lungs: tuple[CT, Lungs], networks: Networks) -> None:
    ct, lungs = ct_and_lungs
    grid = find_grid(ct.grid, lungs.labels, networks.find_settings)
    center, _ = BALLS[1]
    index = tuple(np.rint(grid.to_index(center)).astype(int))
    assert resample(ct.hu, ct.grid, grid)[index] > -20
    np.testing.assert_allclose(grid.spacing_mm, (1, 1, 2))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 2.0), (0.8, 0.8, 1.0), (1.0, 1.0, 5.0)])
def test_outlines_are_the_balls(spacing: tuple[float, float, float], networks: Networks) -> None:
    ct, _ = two_lungs(spacing)
    seeds = [Seed((c[0] + 1, c[1] - 1, c[2] + 1), 0.9, 2 * r) for c, r in BALLS]
    outlines = delineate(ct, seeds, networks)
    assert len(outlines) == 3
    truth = ct.hu > -300
    for outline, (center, _) in zip(outlines, BALLS, strict=True):
        index = np.rint(ct.to_index(center)).astype(int)
        assert outline.mask[tuple(index - outline.offset)]
        here = truth[outline.box]
        dice = 2 * (outline.mask & here).sum() / (outline.mask.sum() + here.sum())
        assert dice > (0.95 if spacing[2] < 5 else 0.85)


def test_a_nodule_larger_than_the_patch_is_looked_at_on_a_coarser_grid(networks: Networks) -> None:
    ct, _ = two_lungs()
    center, radius = BALLS[2]
    (outline,) = delineate(ct, [Seed(center, 0.9, 1.0)], networks)  # the seed says nothing of its size
    assert outline.mask.sum() * ct.voxel_mm3 == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.05)


@pytest.mark.parametrize("beside_mm", [(0, 0, 0), (28, 0, 0), (-16, 16, 16)])
def test_a_mass_is_outlined_as_a_whole_from_any_seed_in_it(networks: Networks, beside_mm: tuple[int, int, int]) -> None:
    """A ball of 76 mm is two and a half times as wide as the patch, and the seed near its surface."""
    hu = np.full((120, 120, 60), -850, np.int16)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    grid = np.meshgrid(np.arange(120.0), np.arange(120.0), np.arange(0, 120.0, 2), indexing="ij")
    ball = sum((g - 58) ** 2 for g in grid) <= 38**2
    hu[ball] = 30
    seed = Seed((58.0 + beside_mm[0], 58.0 + beside_mm[1], 58.0 + beside_mm[2]), 0.9, 10.0)
    (outline,) = delineate(CT(hu, affine, "case", Path("case")), [seed], networks)
    found = np.zeros_like(ball)
    found[outline.box] = outline.mask
    assert 2 * (found & ball).sum() / (found.sum() + ball.sum()) > 0.97


def test_no_outline_where_there_is_nothing(networks: Networks) -> None:
    ct, _ = two_lungs()
    assert delineate(ct, [Seed((-40.0, -20.0, 20.0), 0.9, 5.0)], networks) == []


def test_what_lies_outside_the_lungs_is_no_nodule() -> None:
    ct = replace(two_lungs()[0], hu=np.zeros((60, 60, 40), np.int16), affine_lps=np.diag([1.0, 1.0, 2.0, 1.0]))
    labels = np.zeros(ct.hu.shape, np.uint8)
    labels[:30] = 1
    lungs = Lungs(labels, 0.0, 0.0)

    def block(first: int, last: int) -> Outline:
        mask = np.ones((last - first, 10, 5), bool)
        return Outline(mask, mask.astype(np.float32), (first, 50, 35), Seed((0.0, 0.0, 0.0), 0.9, 10.0))

    inside, at_the_wall, beside, beyond = block(0, 10), block(28, 38), block(29, 39), block(45, 60)
    assert within_lungs([beyond, inside, at_the_wall, beside], ct, lungs) == [inside, at_the_wall]
    assert within_lungs([inside], ct, replace(lungs, labels=np.zeros_like(labels))) == []


def test_two_seeds_of_one_nodule_give_one_outline(networks: Networks) -> None:
    ct, _ = two_lungs()
    (x, y, z), _ = BALLS[1]
    assert len(delineate(ct, [Seed((x, y, z), 0.9, 10), Seed((x + 3, y, z), 0.8, 10)], networks)) == 1


def test_mirrored_and_turned_storage_gives_the_very_same(networks: Networks) -> None:
    ct, lungs = two_lungs()
    flip = np.diag([1.0, -1.0, -1.0, 1.0])
    flip[1, 3], flip[2, 3] = ct.hu.shape[1] - 1, ct.hu.shape[2] - 1
    order = [2, 0, 1]
    turn = np.eye(4)[:, [*order, 3]]
    other = replace(ct, hu=ct.hu[:, ::-1, ::-1].transpose(order), affine_lps=ct.affine_lps @ flip @ turn)
    other_lungs = replace(lungs, labels=lungs.labels[:, ::-1, ::-1].transpose(order))
    seeds, other_seeds = find(ct, lungs, networks), find(other, other_lungs, networks)
    assert [(s.score, s.diameter_mm) for s in seeds] == [(s.score, s.diameter_mm) for s in other_seeds]
    np.testing.assert_allclose([s.center_mm for s in seeds], [s.center_mm for s in other_seeds], atol=1e-6)
    ours, theirs = delineate(ct, seeds, networks), delineate(other, other_seeds, networks)
    for a, b in zip(ours, theirs, strict=True):
        mask, turned = np.zeros(ct.hu.shape, bool), np.zeros(other.hu.shape, bool)
        mask[a.box], turned[b.box] = a.mask, b.mask
        np.testing.assert_array_equal(mask[:, ::-1, ::-1].transpose(order), turned)
    for a, b in zip(rate(ct, ours, networks), rate(other, theirs, networks), strict=True):
        assert a.malignancy_probability == pytest.approx(b.malignancy_probability, abs=1e-6)


def test_ratings_are_calibrated_and_ordered(networks: Networks) -> None:
    ct, _ = two_lungs()
    outlines = delineate(ct, [Seed(c, 0.9, 2 * r) for c, r in BALLS], networks)
    ratings = rate(ct, outlines, networks)
    probabilities = [r.malignancy_probability for r in ratings]
    assert probabilities == sorted(probabilities)
    for rating in ratings:
        low, high = rating.malignancy_interval
        assert 0 <= low < rating.malignancy_probability < high <= 1
    shifted = replace(networks, rate_settings=replace(networks.rate_settings, offset=1.0))
    assert rate(ct, outlines, shifted)[0].malignancy_probability > probabilities[0]


def test_what_is_clearly_no_nodule_is_seen_once_and_the_rest_rated_as_ever(networks: Networks) -> None:
    seen: list[int] = []

    class BySize(type(networks.rate)):  # type: ignore[misc]
        """A nodule where the outline is large; counts what it is shown."""

        def forward(self, image):  # type: ignore[no-untyped-def]
            seen.append(len(image))
            logits = super().forward(image)
            logits[:, 0] = torch.where(image[:, 2].sum((1, 2, 3)) > 500, 4.0, -9.0)
            return logits

    ct, lungs = two_lungs()
    outlines = delineate(ct, [Seed(c, 0.9, 2 * r) for c, r in BALLS], networks)
    rater = replace(networks, rate=BySize(), rate_settings=replace(networks.rate_settings, min_nodule=0.5))
    every = rate(ct, outlines, rater, lungs)
    assert seen == [len(outlines)] * 4
    seen.clear()
    kept, ratings = rate_likely(ct, outlines, rater, lungs)
    assert 0 < len(kept) < len(outlines)
    assert seen == [len(outlines), *[len(kept)] * 3]
    assert ratings == [r for o, r in zip(outlines, every, strict=True) if any(o is k for k in kept)]


@pytest.mark.parametrize("x", [-8.0, -3.0, -0.5, 0.0, 1.0, 4.0, 8.0])
def test_a_probability_lies_in_the_middle_of_its_interval(networks: Networks, x: float) -> None:
    settings = replace(networks.rate_settings, slope=1.9, offset=0.4, reader_slope=0.6, reader_offset=0.1, spread=0.9)
    rating = calibrate(np.zeros(len(TARGETS)), x, settings)
    low, middle, high = (
        np.log(p / (1 - p))
        for p in (rating.malignancy_interval[0], rating.malignancy_probability, rating.malignancy_interval[1])
    )
    assert middle - low == pytest.approx(high - middle)
    assert 0 < rating.malignancy_interval[0] < rating.malignancy_interval[1] < 1


def test_a_rating_as_the_line_has_it_is_the_probability(networks: Networks) -> None:
    settings = replace(networks.rate_settings, slope=1.9, offset=0.4, reader_slope=0.6, reader_offset=0.1, spread=0.9)
    for x in (-2.0, 0.0, 1.5):
        mean = 1 + 4 / (1 + np.exp(-(0.6 * x + 0.1)))
        probability = calibrate(np.zeros(len(TARGETS)), x, settings).malignancy_probability
        assert rating_as_probability(mean, settings) == pytest.approx(probability)
    assert 0 < rating_as_probability(1.0, settings) < rating_as_probability(5.0, settings) < 1


def test_the_component_at_the_seed_is_taken() -> None:
    mask = np.zeros((20, 20, 20), bool)
    mask[2:5, 2:5, 2:5] = True
    mask[10:16, 10:16, 10:16] = True
    spacing = np.ones(3)
    assert component_at(mask, np.array([3.0, 3, 3]), spacing).sum() == 27
    assert component_at(mask, np.array([9.0, 9, 9]), spacing).sum() == 216
    assert not component_at(mask, np.array([3.0, 18, 3]), spacing).any()


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_an_outline_beyond_the_lungs_takes_no_nodule_with_it(
    monkeypatch: pytest.MonkeyPatch, order: tuple[int, ...]
) -> None:
    """A mass of 47 mm was found, then lost to an outline around the aorta that held it and was dropped in its turn."""
    labels = np.zeros((80, 80, 40), np.uint8)
    labels[:30] = 1
    ct = CT(np.zeros(labels.shape, np.int16), np.diag([1.0, 1.0, 2.0, 1.0]), "case", Path("case"))

    def block(first: int, last: int, score: float) -> Outline:
        mask = np.ones((last - first, 20, 10), bool)
        return Outline(mask, mask.astype(np.float32), (first, 30, 15), Seed((0.0, 0.0, 0.0), score, 10.0))

    part, mass, beyond = block(20, 28, 0.5), block(15, 31, 0.99), block(25, 75, 0.6)
    each = [(part, mass, beyond)[n] for n in order]
    module = import_module("monai_lung.inference.delineate")  # the function has its name
    monkeypatch.setattr(module, "delineate_each", lambda *arguments: each)
    kept = delineate(ct, [o.seed for o in each], None, Lungs(labels, 0.0, 0.0))  # type: ignore[arg-type]
    assert sorted(o.mask.size for o in kept) == [part.mask.size, mass.mask.size]
    assert without_doubles(kept, ct) == [mass]


def test_of_two_doubles_of_one_size_the_better_stays_in_any_order() -> None:
    ct, _ = two_lungs()
    mask = np.ones((8, 8, 8), bool)
    one, other = (
        Outline(mask, mask.astype(np.float32), (n, 5, 5), Seed((0, 0, 0), s, 8)) for n, s in ((5, 0.6), (7, 0.9))
    )
    assert without_doubles([one, other], ct) == without_doubles([other, one], ct) == [other]


def test_doubles_keep_the_first(networks: Networks) -> None:
    ct, _ = two_lungs()
    outlines = delineate(ct, [Seed(BALLS[0][0], 0.9, 8), Seed(BALLS[1][0], 0.8, 13)], networks)
    assert without_doubles([*outlines, outlines[0]], ct) == outlines


def test_a_part_of_a_nodule_found_first_gives_way_to_the_whole(networks: Networks) -> None:
    ct, _ = two_lungs()
    (whole,) = delineate(ct, [Seed(BALLS[2][0], 0.9, 30)], networks)
    part = replace(whole, mask=whole.mask & (np.indices(whole.mask.shape).sum(0) < 20))
    assert 0 < part.mask.sum() < 0.3 * whole.mask.sum()
    assert without_doubles([part, whole], ct) == [whole]


def test_a_nodule_at_the_images_end_is_followed_to_its_other_end(networks: Networks) -> None:
    ct, _ = two_lungs((1.0, 1.0, 1.0))
    hu = np.full(ct.hu.shape, -850, np.int16)
    hu[50:58, 50:58, :30] = 30
    x, y, z = ct.to_world((53.5, 53.5, 5.0))
    (outline,) = delineate(replace(ct, hu=hu), [Seed((x, y, z), 0.9, 5.0)], networks)
    assert np.ptp(np.flatnonzero(outline.mask.any((0, 1)))) >= 28


def test_a_ramp_is_resampled_without_a_shift(networks: Networks) -> None:
    ct, lungs = two_lungs((0.7, 0.8, 1.25))
    index = np.indices(ct.hu.shape)
    for axis in range(3):
        for flip in (False, True):
            ramp = (np.clip(index[axis] * ct.spacing_mm[axis] * 8 - 900, -1000, 400)).astype(np.int16)
            affine = ct.affine_lps.copy()
            hu, labels = ramp, lungs.labels
            if flip:
                hu, labels = np.flip(ramp, axis), np.flip(lungs.labels, axis)
                affine[:3, 3] += affine[:3, axis] * (ct.hu.shape[axis] - 1)
                affine[:3, axis] *= -1
            stored = Grid.of(hu, affine)
            grid = find_grid(stored, labels, networks.find_settings)
            middle = np.array(grid.shape) // 2
            expected = (grid.to_world(middle)[axis] - ct.affine_lps[axis, 3]) * 8 - 900
            assert resample(hu, stored, grid)[tuple(middle)] == pytest.approx(expected, abs=1)


def ball(ct: CT, center: tuple[float, float, float], radius_mm: float, score: float = 0.9) -> Outline:
    """The outline of a ball."""
    grid = ct.grid
    index = np.moveaxis(np.indices(ct.hu.shape), 0, -1)
    mask = np.linalg.norm(grid.to_world(index) - center, axis=-1) <= radius_mm
    box = bounding_box(mask)
    offset = (box[0].start, box[1].start, box[2].start)
    return Outline(mask[box], mask[box].astype(np.float32), offset, Seed(center, score, 2 * radius_mm))


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_nodule_inside_a_vessels_outline_stays_where_the_vessel_is_less_sure(order: tuple[int, ...]) -> None:
    """Of three overlapping outlines, in each order: the surest stays, and what it doesn't touch."""
    ct, _ = two_lungs((2.0, 2.0, 2.0))
    vessel, nodule, beside = (ball(ct, (-40, 0, 0), 20), ball(ct, (-40, 0, 10), 6), ball(ct, (-40, 0, -10), 6))
    outlines = [(vessel, 0.3), (nodule, 0.95), (beside, 0.1)]
    shuffled = [outlines[n] for n in order]
    kept = without_doubles([o for o, _ in shuffled], ct, confidence=[c for _, c in shuffled])
    assert not any(o is vessel for o in kept)
    assert {id(o) for o in kept} == {id(nodule), id(beside)}
    (largest,) = without_doubles([o for o, _ in shuffled], ct)
    assert largest is vessel, "without a confidence the larger one stays"


def test_of_outlines_as_sure_the_larger_stays() -> None:
    ct, _ = two_lungs((2.0, 2.0, 2.0))
    whole, part = ball(ct, (-40, 0, 0), 12), ball(ct, (-40, 0, 6), 6)
    assert without_doubles([part, whole], ct, confidence=[0.99, 0.95])[0] is whole


def test_only_copies_of_each_other_are_dropped_before_the_rating() -> None:
    ct, _ = two_lungs((2.0, 2.0, 2.0))
    whole, copy, part = ball(ct, (-40, 0, 0), 12), ball(ct, (-40, 0, 0), 11.5, 0.8), ball(ct, (-40, 0, 6), 6)
    assert [id(o) for o in without_copies([part, copy, whole], ct)] == [id(part), id(whole)]
