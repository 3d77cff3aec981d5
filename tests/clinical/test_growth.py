"""Growth against an earlier examination: phantoms that breathe, and a real pair of scans with landmarks."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path

import numpy as np
import pytest
from clinical_phantoms import LUNG_HU, SOLID_HU, WALL_HU, affine, outline_of
from scipy import ndimage

from monai_lung.clinical.growth import PriorExamination, PriorNodule, compare, match
from monai_lung.clinical.measurements import measure
from monai_lung.clinical.registration import Alignment, register, register_masks
from monai_lung.errors import PriorError
from monai_lung.model import CT, Lungs, Measurements, Point

NOW, EARLIER = datetime.date(2024, 7, 1), datetime.date(2024, 1, 3)  # 180 days
SPACING = (2.0, 2.0, 2.5)
SHAPE = (130, 95, 100)


def deform(points: np.ndarray, breath: float) -> np.ndarray:
    """Where a point of the breath-hold (LPS mm) comes from: the lung is stretched towards its base."""
    moved = points.copy()
    z = points[..., 2]
    moved[..., 2] = z + breath * 12 * np.clip((160 - z) / 150, 0, 1)
    moved[..., 1] = points[..., 1] + breath * 4 * np.sin(z / 50)
    return moved


def chest(nodules: list[tuple[Point, float]], breath: float = 0.0, shift: Point = (0, 0, 0)) -> tuple[CT, Lungs]:
    """Two lungs with vessels and solid spheres (centre, diameter), `breath` 1 deforms by up to 12 mm."""
    matrix = affine(SPACING, (-130 + shift[0], -95 + shift[1], -40 + shift[2]))
    index = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), axis=-1)
    point = deform(index @ matrix[:3, :3].T + matrix[:3, 3] - shift, breath).astype(np.float32)
    x, y, z = np.moveaxis(point, -1, 0)
    labels = np.zeros(SHAPE, np.uint8)
    for label, middle in ((1, -60.0), (2, 60.0)):
        labels[((x - middle) / 45) ** 2 + (y / 70) ** 2 + ((z - 70) / 90) ** 2 < 1] = label
    rng = np.random.default_rng(3)
    tissue = np.zeros(SHAPE)
    for _ in range(25):  # vessels: bars of 3 to 5 mm across the lungs
        start, way = rng.uniform((-95, -60, 0), (95, 60, 150)).astype(np.float32), rng.normal(size=3)
        near = np.all(np.abs(point - start) < 24, axis=-1)
        offset, way = point[near] - start, way / np.linalg.norm(way)
        along = np.clip(offset @ way, -20, 20)
        distance = np.linalg.norm(offset - along[:, None] * way, axis=-1)
        tissue[near] = np.maximum(tissue[near], np.clip(0.5 + (rng.uniform(1.5, 2.5) - distance) / 2, 0, 1))
    hu = np.where(labels > 0, LUNG_HU + (SOLID_HU - LUNG_HU) * tissue, WALL_HU)
    hu = ndimage.gaussian_filter(hu, 0.5)
    undeformed = index @ matrix[:3, :3].T + matrix[:3, 3]
    for center, diameter in nodules:  # nodules don't stretch: where their centre goes they stay spheres
        distance = np.linalg.norm(undeformed - place(center, breath, shift), axis=-1)
        inside = np.clip(0.5 + (diameter / 2 - distance) / 2.2, 0, 1)
        hu = hu + (SOLID_HU - hu) * inside
    noise = np.random.default_rng(int(breath * 10)).normal(0, 20, SHAPE)
    ct = CT((hu + noise).clip(-1024, 3000).astype(np.int16), matrix, "phantom", Path("phantom"))
    return ct, Lungs(labels, 1000.0, 1000.0)


def place(center: Point, breath: float, shift: Point) -> np.ndarray:
    """The inverse of `deform`, by iteration: where a point of the chest lies in the breath-hold."""
    target = np.array(center, float)
    point = target.copy()
    for _ in range(30):
        point = point + target - deform(point, breath)
    return point + shift


def spheres(
    nodules: list[tuple[Point, float]], ct: CT, lungs: Lungs, breath: float, shift: Point
) -> list[Measurements]:
    """What `measure` says of each, outlined by the truth."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), axis=-1)
    world = index @ ct.affine_lps[:3, :3].T + ct.affine_lps[:3, 3]
    found = []
    for center, diameter in nodules:
        distance = np.linalg.norm(world - place(center, breath, shift), axis=-1)
        share = 1 / (1 + np.exp(np.clip((distance - diameter / 2) / 0.5, -40, 40)))
        found.append(measure(outline_of(share), ct, lungs))
    return found


BEFORE: list[tuple[Point, float]] = [
    ((-60.0, 10.0, 60.0), 10.0),  # grows
    ((-45.0, -20.0, 110.0), 9.0),  # stays
    ((60.0, 20.0, 40.0), 14.0),  # shrinks
    ((75.0, -10.0, 90.0), 8.0),  # goes
]
AFTER: list[tuple[Point, float]] = [
    ((60.0, 20.0, 40.0), 11.0),
    ((-60.0, 10.0, 60.0), 13.0),
    ((50.0, -35.0, 80.0), 9.0),  # new
    ((-45.0, -20.0, 110.0), 9.0),
]
SHIFT = (15.0, -20.0, 300.0)


@pytest.fixture(scope="module")
def pair() -> tuple[tuple[CT, Lungs, list[Measurements]], tuple[CT, Lungs, list[Measurements]]]:
    before, before_lungs = chest(BEFORE)
    after, after_lungs = chest(AFTER, breath=1.0, shift=SHIFT)
    after = dataclasses.replace(after, study_date=NOW, patient_key="a")
    return (
        (before, before_lungs, spheres(BEFORE, before, before_lungs, 0.0, (0, 0, 0))),
        (after, after_lungs, spheres(AFTER, after, after_lungs, 1.0, SHIFT)),
    )


Pair = tuple[tuple[CT, Lungs, list[Measurements]], tuple[CT, Lungs, list[Measurements]]]


@pytest.mark.parametrize("source", ["ct", "result"])
def test_known_growth_is_found_through_a_breath(pair: Pair, source: str) -> None:
    (before, before_lungs, earlier), (after, lungs, nodules) = pair
    ct = before if source == "ct" else None
    prior = PriorExamination(before_lungs, before.affine_lps, earlier, EARLIER, "a", ct)
    growth, examination = compare(nodules, after, lungs, prior)
    assert [g.status for g in growth] == ["shrinking", "growing", "new", "stable"]
    assert growth[1].volume_change_percent == pytest.approx(100 * (1.3**3 - 1), abs=10)
    assert growth[1].doubling_days == pytest.approx(np.log(2) * 180 / (3 * np.log(1.3)), rel=0.06)
    assert growth[1].prior_center_mm == earlier[0].center_mm
    assert growth[1].prior_volume_mm3 == earlier[0].volume_mm3
    assert growth[1].interval_days == 180
    assert growth[1].prior_date == EARLIER
    assert growth[0].doubling_days is None
    assert growth[3].doubling_days is None
    assert growth[2].prior_volume_mm3 is None
    assert [center for center, _ in examination.gone] == [earlier[3].center_mm]
    assert (examination.source, examination.study_date) == (source, EARLIER)
    assert examination.residual_mm is not None
    assert examination.residual_mm < 4


def test_registration_undoes_shift_and_breath(pair: Pair) -> None:
    (before, before_lungs, _), (after, lungs, _) = pair
    points = np.array([center for center, _ in BEFORE])
    there = np.array([place(center, 1.0, SHIFT) for center, _ in BEFORE])
    assert np.linalg.norm(points - there, axis=1).min() > 290
    found = register(before, before_lungs, after, lungs).to_moving(points)
    by_masks = register_masks(before_lungs, before.affine_lps, lungs, after.affine_lps).to_moving(points)
    assert np.linalg.norm(found - there, axis=1).mean() < 3
    assert np.linalg.norm(by_masks - there, axis=1).mean() < 8


def test_registration_is_the_same_every_time(pair: Pair, aligned: Alignment) -> None:
    (before, before_lungs, _), (after, lungs, _) = pair
    points = np.array([place(center, 1.0, SHIFT) for center, _ in BEFORE])
    again = register_masks(lungs, after.affine_lps, before_lungs, before.affine_lps)
    assert np.array_equal(again.to_moving(points), aligned.to_moving(points))


class Identity:
    """No registration: points stay."""

    def to_moving(self, points_mm: np.ndarray) -> np.ndarray:
        return points_mm


def at(pair: Pair, x_mm: float, diameter_mm: float = 6.0) -> Measurements:
    return dataclasses.replace(pair[0][2][0], center_mm=(x_mm, 0.0, 0.0), mean_diameter_mm=diameter_mm)


def matched(pair: Pair, now: list[float], earlier: list[float], gate_mm: float = 10.0) -> dict[int, int]:
    alignment: Alignment = Identity()  # type: ignore[assignment]
    there = [PriorNodule((x, 0.0, 0.0), 100.0, 6.0) for x in earlier]
    return match([at(pair, x) for x in now], there, alignment, gate_mm)


def test_matching_is_one_to_one_and_gated(pair: Pair) -> None:
    assert matched(pair, [0, 100], [101, 2]) == {0: 1, 1: 0}
    assert matched(pair, [0, 3], [2]) == {1: 0}  # the nearer one
    assert matched(pair, [0], [12.9]) == {0: 0}  # gate 10 and radius 3
    assert matched(pair, [0], [13.1]) == {}
    assert matched(pair, [], [1]) == {}
    assert matched(pair, [1], []) == {}
    # A pair beyond the gate doesn't tear a good one apart: 0 stays with 1, 30 has no partner.
    assert matched(pair, [0, 30], [1, -60]) == {0: 0}


@pytest.fixture(scope="module")
def aligned(pair: Pair) -> Alignment:
    """Made once: the tests that use it ask for something else."""
    (before, before_lungs, _), (after, lungs, _) = pair
    return register_masks(lungs, after.affine_lps, before_lungs, before.affine_lps)


@pytest.fixture
def registered_once(aligned: Alignment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monai_lung.clinical.growth.register_masks", lambda *_: aligned)


def prior_of(pair: Pair, **changed: object) -> PriorExamination:
    before, before_lungs, earlier = pair[0]
    return dataclasses.replace(
        PriorExamination(before_lungs, before.affine_lps, earlier, EARLIER, "a"),
        **changed,  # type: ignore[arg-type]
    )


@pytest.mark.usefixtures("registered_once")
def test_another_patient_is_refused_unless_forced(pair: Pair) -> None:
    after, lungs, nodules = pair[1]
    with pytest.raises(PriorError, match="another patient"):
        compare(nodules, after, lungs, prior_of(pair, patient_key="b"))
    growth, _ = compare(nodules, after, lungs, prior_of(pair, patient_key="b"), allow_other_patient=True)
    assert growth[1].status == "growing"


@pytest.mark.usefixtures("registered_once")
def test_a_prior_that_is_later_is_refused_unless_forced(pair: Pair) -> None:
    after, lungs, nodules = pair[1]
    later = prior_of(pair, study_date=datetime.date(2025, 1, 1))
    with pytest.raises(PriorError, match="later than this one"):
        compare(nodules, after, lungs, later)
    growth, _ = compare(nodules, after, lungs, later, allow_other_patient=True)
    assert (growth[1].interval_days, growth[1].doubling_days) == (None, None)


@pytest.mark.usefixtures("registered_once")
def test_without_dates_there_is_no_doubling_time(pair: Pair) -> None:
    after, lungs, nodules = pair[1]
    growth, prior = compare(nodules, after, lungs, prior_of(pair, study_date=None, patient_key=""))
    assert growth[1].status == "growing"
    assert (growth[1].interval_days, growth[1].doubling_days, prior.study_date) == (None, None, None)
    assert growth[1].volume_change_percent == pytest.approx(119.7, abs=10)


@pytest.mark.usefixtures("registered_once")
def test_no_nodules_on_either_side(pair: Pair, aligned: Alignment) -> None:
    after, lungs, nodules = pair[1]
    growth, prior = compare([], after, lungs, prior_of(pair))
    assert growth == []
    assert len(prior.gone) == 4
    there = aligned.to_moving(np.array(prior.gone_now_mm))
    assert there == pytest.approx(np.array([center for center, _ in prior.gone]), abs=0.05), "the way back"
    growth, prior = compare(nodules, after, lungs, prior_of(pair, nodules=()))
    assert {g.status for g in growth} == {"new"}
    assert prior.gone == ()


def test_prior_without_lungs_is_refused(pair: Pair) -> None:
    after, lungs, nodules = pair[1]
    empty = Lungs(np.zeros((4, 4, 4), np.uint8), 0.0, 0.0)
    with pytest.raises(PriorError, match="without lungs"):
        compare(nodules, after, lungs, prior_of(pair, lungs=empty))


def load(folder: Path, name: str) -> tuple[CT, Lungs]:
    import SimpleITK as sitk

    image = sitk.ReadImage(str(folder / f"3DCT_lung_{name}.mha"))
    mask = sitk.ReadImage(str(folder / f"3DCT_lung_{name}_mask.mha"))
    matrix = affine(image.GetSpacing(), image.GetOrigin())
    hu = sitk.GetArrayFromImage(image).transpose(2, 1, 0).clip(-1024, 3071).astype(np.int16)
    labels = sitk.GetArrayFromImage(mask).transpose(2, 1, 0).astype(np.uint8)
    return CT(hu, matrix, name, folder), Lungs(labels, 1000.0, 0.0)


def landmarks(folder: Path, fixed: CT, fixed_lungs: Lungs) -> tuple[np.ndarray, np.ndarray]:
    """Paired points (n, 3), LPS mm, that lie within the fixed lungs: the others are of the uncropped images."""
    here, there = (np.loadtxt(folder / f"CT_3D_lung_{name}_point_set.txt", skiprows=2) for name in ("fixed", "moving"))
    index = np.rint(fixed.to_index(here)).astype(int)
    known = np.all((index >= 0) & (index < fixed.hu.shape), axis=1)
    known[known] = fixed_lungs.labels[tuple(index[known].T)] > 0
    return here[known], there[known]


def test_landmarks_of_a_real_pair(data_dir: Path) -> None:
    folder = data_dir / "ct" / "elastix_lung"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    fixed, fixed_lungs = load(folder, "baseline")
    moving, moving_lungs = load(folder, "followup")
    here, there = landmarks(folder, fixed, fixed_lungs)
    assert len(here) == 51
    assert np.linalg.norm(here - there, axis=1).mean() == pytest.approx(35.3, abs=0.1)
    by_hu = register(fixed, fixed_lungs, moving, moving_lungs)
    by_masks = register_masks(fixed_lungs, fixed.affine_lps, moving_lungs, moving.affine_lps)
    assert np.linalg.norm(by_hu.to_moving(here) - there, axis=1).mean() < 4.0
    assert np.linalg.norm(by_masks.to_moving(here) - there, axis=1).mean() < 6.5


@pytest.mark.usefixtures("registered_once")
def test_what_has_no_partner_is_looked_for_in_the_earlier_ct(
    pair: Pair, aligned: Alignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    (before, _, earlier), (after, lungs, nodules) = pair
    monkeypatch.setattr("monai_lung.clinical.growth.register", lambda *_: aligned)
    asked: list[Point] = []

    def look(places: list[Point], diameters_mm: list[float]) -> list[PriorNodule | None]:
        asked.extend(places)
        return [PriorNodule(places[0], 90.0, 5.5)]

    prior = prior_of(pair, ct=before)
    growth, _ = compare(nodules, after, lungs, prior, look=look)
    new = growth[2]
    assert len(asked) == 1
    assert (new.status, new.prior_visible, new.prior_detected) == ("growing", True, False)
    assert new.prior_volume_mm3 == 90.0
    assert (growth[1].prior_visible, growth[1].prior_detected) == (True, True)
    # what is seen there is the partner of another: nothing new was seen
    growth, _ = compare(nodules, after, lungs, prior, look=lambda *_: [PriorNodule.of(earlier[0])])
    assert (growth[2].status, growth[2].prior_visible) == ("new", False)
    growth, _ = compare(nodules, after, lungs, prior, look=lambda *_: [None])
    assert (growth[2].status, growth[2].prior_visible) == ("new", False)
    growth, _ = compare(nodules, after, lungs, prior)
    assert (growth[2].status, growth[2].prior_visible) == ("new", None)  # nobody looked


@pytest.mark.usefixtures("registered_once")
def test_a_place_beyond_the_earlier_scan_is_not_covered(pair: Pair) -> None:
    (_, before_lungs, earlier), (after, lungs, nodules) = pair
    top = int(np.linalg.solve(pair[0][0].affine_lps, [0, 0, 100, 1])[2])
    cut = Lungs(before_lungs.labels[:, :, :top], 1000.0, 1000.0)
    prior = prior_of(pair, lungs=cut, nodules=earlier[:1])
    growth, _ = compare(nodules, after, lungs, prior)
    assert growth[3].status == "not-covered"  # at 110 mm
    assert growth[1].status == "growing"


@pytest.mark.usefixtures("registered_once")
def test_a_prior_of_the_same_date_has_no_interval(pair: Pair) -> None:
    after, lungs, nodules = pair[1]
    growth, _ = compare(nodules, after, lungs, prior_of(pair, study_date=NOW))
    assert {g.status for g in growth} == {"same-day", "new"}
    assert all(g.doubling_days is None and g.interval_days == 0 for g in growth)


def test_the_scan_itself_is_no_prior_even_where_others_are_allowed(pair: Pair) -> None:
    after, lungs, nodules = pair[1]
    for same in (
        PriorExamination(lungs, after.affine_lps, (), EARLIER, "a", after),
        PriorExamination(lungs, after.affine_lps, (), EARLIER, "a", sha256="f"),
    ):
        with pytest.raises(PriorError, match="this very scan"):
            compare(nodules, dataclasses.replace(after, sha256="f"), lungs, same, allow_other_patient=True)


@pytest.mark.usefixtures("registered_once")
def test_solid_parts_are_compared(pair: Pair) -> None:
    after, lungs, nodules = pair[1]
    part = dataclasses.replace(nodules[3], texture="part-solid", solid_mean_diameter_mm=7.0)
    before = dataclasses.replace(pair[0][2][1], texture="part-solid", solid_mean_diameter_mm=3.0)
    growth, _ = compare([part], after, lungs, prior_of(pair, nodules=[before]))
    assert growth[0].status == "growing"
    assert growth[0].solid_change_mm == pytest.approx(4.0)
    glass = dataclasses.replace(before, texture="ground-glass", solid_mean_diameter_mm=0.0)
    growth, _ = compare([part], after, lungs, prior_of(pair, nodules=[glass]))
    assert growth[0].solid_change_mm == pytest.approx(7.0)
    growth, _ = compare(
        [part], after, lungs, prior_of(pair, nodules=[PriorNodule(before.center_mm, before.volume_mm3, 9)])
    )
    assert (growth[0].solid_change_mm, growth[0].status) == (None, "stable")  # an older result knows no parts
