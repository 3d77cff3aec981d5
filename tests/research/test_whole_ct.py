from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from monai_lung.inference.delineate import LOOKS
from monai_lung.inference.networks import FindSettings
from monai_lung.model import CT, Lungs
from research.study import detection_tables, tables
from research.study.blobs import blobs
from research.study.store import Predictions, Study, installed_key
from research.study.whole_ct import REACH_MM, STAGES, Scene, Target, match, read_scene, with_nodules


@pytest.fixture
def scene() -> Scene:
    """A lung of 120 x 120 x 100 mm in soft tissue, fed to the head (the affine turns y and z)."""
    hu = np.full((70, 70, 50), 40, np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    labels[5:-5, 5:-5, 5:-5] = 1
    hu[labels > 0] = -860
    affine = np.array([[2.0, 0, 0, -70], [0, -2.0, 0, 70], [0, 0, -2.5, 60], [0, 0, 0, 1]])
    ct = CT(hu, affine, "lung", Path("lung"))
    own = Target("own", "p", (0.0, 0.0, 0.0), 8.0, 3, "solid")
    return Scene(ct, Lungs(labels, 0.0, 0.0), [own], np.array([[30.0, 30.0, 20.0]]))


def test_a_nodule_is_set_where_it_says_and_nowhere_else(study: Study, scene: Scene) -> None:
    crops = study.crops[:4]
    changed = with_nodules(scene, crops, np.random.default_rng(0))
    assert [t.id for t in changed.targets] == [c.row.id for c in crops]
    difference = changed.ct.hu.astype(int) - scene.ct.hu
    near = np.zeros(difference.shape, bool)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in difference.shape], indexing="ij"), -1)
    for target in changed.targets:
        distance = np.linalg.norm(scene.ct.to_world(grid) - target.center_mm, axis=-1)
        assert difference[distance <= target.diameter_mm / 4].mean() > 600  # dense in its middle
        volume = (difference[distance < 15] / 890).clip(0).sum() * scene.ct.voxel_mm3
        assert volume == pytest.approx(np.pi / 6 * target.diameter_mm**3, rel=0.6)  # grids of 2 mm
        near |= distance < 15
    assert not np.abs(difference[~near]).any()
    centers = np.array([t.center_mm for t in [*changed.targets, *scene.targets]])
    apart = np.linalg.norm(centers[:, None] - centers, axis=-1)
    assert apart[apart > 0].min() >= 25
    assert len(changed.ignored) == 2  # the scan's own nodule and mark


def test_candidates_are_hits_false_positives_or_ignored(scene: Scene) -> None:
    centers = np.array([[0, 0, REACH_MM - 0.1], [0, 0, 0], [50.0, 0, 0], [30, 30, 25], [0, 0, REACH_MM + 0.1]])
    hits, false = match(scene, centers, np.array([0.5, 0.8, 0.9, 0.7, 0.3]))
    assert hits.tolist() == [0.8]
    assert false.tolist() == [0.9, 0.3]


def test_the_baseline_finds_balls_before_vessels(scene: Scene) -> None:
    hu = scene.ct.hu.copy()
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in hu.shape], indexing="ij"), -1)
    points = scene.ct.to_world(grid)
    for center, radius in (((-20, 10, 15), 3.5), ((25, -20, -10), 6.0)):
        hu[np.linalg.norm(points - np.array(center), axis=-1) <= radius] = 30
    hu[np.hypot(points[..., 0] - 20, points[..., 1] - 25) <= 4] = 30  # a vessel along z
    settings = FindSettings((1.0, 1.0, 2.0), (64, 64, 32), 0.5, 0.5, 0.5, 20.0)
    centers, scores = blobs(replace(scene.ct, hu=hu), scene.lungs, settings)
    assert (np.diff(scores) <= 0).all()
    assert {tuple(np.rint(c / 5).astype(int) * 5) for c in centers[:2]} == {(-20, 10, 15), (25, -20, -10)}


def test_nothing_found_is_no_hit(scene: Scene) -> None:
    hits, false = match(scene, np.zeros((0, 3)), np.zeros(0))
    assert hits.tolist() == [0]
    assert len(false) == 0


def test_sensitivity_counts_at_the_allowed_false_positives(study: Study) -> None:
    ids = [c.row.id for c in study.crops[:4]]
    scores = np.array([0.95, 0.85, 0.5, 0.0])
    values = {f"{stage}_hit": scores for stage in STAGES} | {
        f"{stage}_false": np.array([0.9, 0.6, 0.4]) for stage in STAGES
    }
    values["patient"] = np.array(["a", "b", "c", "d"])
    path = study.path("whole-ct", "pasted", 0)
    facts = {"min_nodule": 0.8, "installed": installed_key(), "stages": 3, "looks": LOOKS}
    for other in ({"stages": 2}, {"looks": 2}):  # before the baseline, before further looks at what is large
        Predictions(ids, values, (), facts | other).save(path)
        assert detection_tables.pasted(study) == []
    Predictions(ids, values, (), facts).save(path)
    (row,) = [line for line in detection_tables.froc(study).splitlines() if line.startswith("| finding |")]
    cells = [c.strip(" |") for c in row.split(" | ")[2:]]  # four patients are too few for an interval
    assert [float(c) for c in cells] == [0.25, 0.25, 0.25, 0.5, 0.75, 0.75, 0.75]
    kept = detection_tables.froc_groups(study).splitlines()
    assert kept[2].startswith("| all | 4 / 2 | 0.750")
    assert kept[-1].endswith("| 3.0 | 1.0 |")
    assert tables.NOT_RUN in detection_tables.real_nodules(study)


def test_the_readers_nodules_of_a_real_scan(data_dir: Path) -> None:
    scene = read_scene(data_dir / "ct" / "LIDC-IDRI-0003")
    agreed = [t for t in scene.targets if t.n_readers == 4]
    expected = np.array([(72, 77, -191), (-47, -30, -169), (24, -48, -172)])
    found = np.array([t.center_mm for t in agreed])
    assert len(agreed) == 3
    assert np.linalg.norm(found[:, None] - expected, axis=-1).min(0).max() < 4
    assert all(scene.lungs.labels[tuple(np.rint(scene.ct.to_index(t.center_mm)).astype(int))] for t in agreed)
