"""Nodules that somebody points at, and outlines that somebody has: measured and rated, with or without lungs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from monai_lung.cli import run
from monai_lung.errors import InputError, MaskError, UsageError
from monai_lung.io import write_nifti
from monai_lung.io.masks import read_outlines
from monai_lung.model import CT, OperatingPoint, Point, Rating, Report
from monai_lung.pipeline import write
from monai_lung.pointed import Pointing, _doubts
from monai_lung.report.findings import to_dict, validate
from research.benchmarks.clicks import _sphere_mm3

AFFINE = np.array([[0.7, 0, 0, -30], [0, 0.7, 0, -30], [0, 0, 1.25, -35], [0, 0, 0, 1.0]])
SPHERES: tuple[tuple[Point, float], ...] = (((-12.0, 2.0, 3.0), 12.0), ((14.0, -6.0, -8.0), 8.0))
"""Centre in LPS mm and diameter."""


def sphere(center: Point, diameter_mm: float, scale: int = 1) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, (86, 86, 56)), indexing="ij"), -1)
    return np.linalg.norm(index @ AFFINE[:3, :3].T + AFFINE[:3, 3] - center, axis=-1) <= diameter_mm / 2


@pytest.fixture(scope="module")
def crop() -> CT:
    """A piece of lung with two spheres of soft tissue, too small to be a chest."""
    rng = np.random.default_rng(0)
    hu = rng.normal(-860, 20, (86, 86, 56))
    for center, diameter in SPHERES:
        hu = np.where(sphere(center, diameter), rng.normal(30, 20, hu.shape), hu)
    return CT(hu, AFFINE, "crop")


@pytest.fixture(scope="module")
def pointing() -> Pointing:
    return Pointing()


@pytest.fixture(scope="module")
def clicked(crop: CT, pointing: Pointing) -> Report:
    beside = np.add(SPHERES[0][0], (3.5, 0, 0)).tolist()
    bad = [(500.0, 0, 0), (0.0, 25.0, 25.0)]
    return pointing.at(crop, [SPHERES[0][0], SPHERES[1][0], *bad, tuple(beside)])


def test_points_give_outlines_measurements_ratings_and_advice(clicked: Report) -> None:
    assert len(clicked.nodules) == 2  # the last point lies in the first nodule
    for nodule, (center, diameter) in zip(clicked.nodules, SPHERES, strict=True):
        m = nodule.measurements
        assert np.linalg.norm(np.subtract(m.center_mm, center)) < 1
        assert abs(m.equivalent_diameter_mm - diameter) < 1
        low, high = nodule.rating.malignancy_interval
        assert 0 <= low <= nodule.rating.malignancy_probability <= high <= 1
        assert nodule.guidelines["lung_rads_2022"].category


def test_points_without_a_nodule_are_named_and_the_rest_goes_on(clicked: Report) -> None:
    warnings = [text for text in clicked.warnings if text.startswith("Point")]
    assert [text.split(" (")[0] for text in warnings] == ["Point 3", "Point 4"]
    assert "outside the CT" in warnings[0]
    assert "lung or air" in warnings[1]


def test_without_lungs_their_part_is_unknown_and_every_file_can_be_written(clicked: Report, tmp_path: Path) -> None:
    assert any("No lungs were found" in text for text in clicked.warnings)
    m = clicked.nodules[0].measurements
    assert (m.side, m.third, m.pleura_distance_mm) == (None, None, None)
    validate(to_dict(clicked))
    folder = write(clicked, tmp_path, "all")
    assert {"findings.json", "nodules.nii.gz", "report.html", "figure.png", "nodules.csv"} <= {
        p.name for p in folder.iterdir()
    }
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "None" not in page
    assert "place in the lungs unknown" in page


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_a_point_anywhere_in_a_nodule_gives_the_same_outline(crop: CT, pointing: Pointing) -> None:
    center, diameter = SPHERES[0]
    masks = [
        pointing.at(crop, [tuple(np.add(center, np.multiply(way, 0.4 * diameter)))]).nodule_labels() > 0
        for way in ((0, 0, 0), (1, 0, 0), (0, -1, 0), (0, 0, 1))
    ]
    assert min(dice(masks[0], other) for other in masks[1:]) >= 0.95


def test_no_nodule_at_any_point_is_one_clear_line(crop: CT, pointing: Pointing) -> None:
    with pytest.raises(InputError, match=r"no nodule at any of 1 points. Point 1 .*outside the CT") as caught:
        pointing.at(crop, [(500.0, 0.0, 0.0)])
    assert "\n" not in str(caught.value)


ADD, CUT = (-12.0, 9.6, 3.0), (14.0, -3.0, -8.0)
"""1.6 mm beside the first sphere, and 1 mm within the second."""


def at_voxel(report: Report, point: Point) -> bool:
    i, j, k = np.rint(np.linalg.solve(AFFINE[:3, :3], np.subtract(point, AFFINE[:3, 3]))).astype(int)
    return bool(report.nodule_labels()[i, j, k])


@pytest.fixture(scope="module")
def corrected(crop: CT, pointing: Pointing) -> Report:
    return pointing.at(crop, [center for center, _ in SPHERES], add=[ADD, (0.0, 900.0, 0.0)], cut=[CUT, (29.0, 29, 33)])


def test_clicks_correct_the_nearest_outline(clicked: Report, corrected: Report) -> None:
    assert not at_voxel(clicked, ADD)
    assert at_voxel(clicked, CUT)
    assert at_voxel(corrected, ADD)
    assert not at_voxel(corrected, CUT)
    larger, smaller = (n.measurements.volume_mm3 for n in corrected.nodules)
    assert larger > clicked.nodules[0].measurements.volume_mm3 * 0.97
    assert smaller < clicked.nodules[1].measurements.volume_mm3
    validate(to_dict(corrected))


def test_a_correction_and_a_click_far_from_all_are_said_in_a_line_each(corrected: Report) -> None:
    said = [text for text in corrected.warnings if "lick" in text]
    assert said[0] == "Click 2 to add (0.0, 900.0, 0.0) lies outside the CT and was left out."
    assert said[1].startswith("Click 2 to cut (29.0, 29.0, 33.0) lies ")
    assert said[1].endswith(" mm from the nearest outline and was left out.")
    assert sum("was corrected by hand (clicks to add: 1, to cut: 0)" in text for text in said) == 1
    assert sum("was corrected by hand (clicks to add: 0, to cut: 1)" in text for text in said) == 1


def test_a_given_outline_is_corrected_too(crop: CT, pointing: Pointing) -> None:
    mask = sphere(*SPHERES[0])
    report = pointing.inside(crop, mask, cut=[(-12.0, 2.0, 8.0)])
    assert not at_voxel(report, (-12.0, 2.0, 8.0))
    assert at_voxel(report, SPHERES[0][0])
    tiny = sphere(SPHERES[1][0], 1.5)
    with pytest.raises(InputError, match="nothing is left of its outline"):
        pointing.inside(crop, tiny, cut=[SPHERES[1][0]])


def test_ten_thousand_candidates_are_one_call(crop: CT, pointing: Pointing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those beside the CT cost nothing, and each is named."""
    points = [(500.0 + n, 0.0, 0.0) for n in range(9_999)] + [SPHERES[1][0]]
    report = pointing.at(crop, points)
    assert len(report.nodules) == 1
    assert sum(text.startswith("Point") for text in report.warnings) == 9_999


@pytest.fixture
def volume(crop: CT, tmp_path: Path) -> Path:
    write_nifti(tmp_path / "crop.nii.gz", crop.hu, AFFINE)
    return tmp_path / "crop.nii.gz"


def test_the_command_writes_the_same_reports(volume: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["measure", str(volume), "--points", "-12,2,3; 900,0,0", "-o", str(tmp_path / "out"), "--age", "61"]
    assert run(words) == 0
    said = capsys.readouterr().out
    assert "1 nodule" in said
    assert "Point 2 (900.0, 0.0, 0.0): it lies outside the CT" in " ".join(said.split())
    content = json.loads((tmp_path / "out" / "crop" / "findings.json").read_text())
    assert content["person"]["age"] == 61
    assert run(["measure", str(volume), "--points", "26,46,30", "--index", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["folder"] is None
    assert shown["findings"]["nodules"][0]["volume_mm3"] == content["nodules"][0]["volume_mm3"]


def test_the_command_takes_strokes(volume: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line of Slicer's markups is a stroke: each of its points counts, not their middle."""
    points = [{"position": [14.0 + x, -3.0, -8.0]} for x in (-1.0, 0.0, 1.0)]
    stroke = {"markups": [{"type": "Line", "coordinateSystem": "LPS", "controlPoints": points}]}
    (tmp_path / "stroke.mrk.json").write_text(json.dumps(stroke))
    words = ["measure", str(volume), "--points", "14,-6,-8", "--cut", str(tmp_path / "stroke.mrk.json"), "--json"]
    assert run([*words, "--add", "14,-10.5,-8"]) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert any("(clicks to add: 1, to cut: 3)" in text for text in findings["input"]["warnings"])


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--points", "1,2,3", "--cut", "1,2"], 2, "--cut '1,2': each point needs three numbers"),
        (["--points", "1,2,3", "--add", "/no/such/file"], 2, "--add '/no/such/file': neither a file"),
        ([], 2, "either --points or --mask"),
        (["--points", "1,2,3", "--mask", "m.nii.gz"], 2, "either --points or --mask"),
        (["--points", "1,2"], 2, "three numbers"),
        (["--points", "1,2,3", "--format", "json"], 2, "needs -o OUT"),
        (["--mask", "/no/such/mask.nii.gz"], 2, "no such file"),
        (["--points", "900,0,0"], 1, "no nodule at any of 1 points"),
    ],
)
def test_wrong_calls_are_one_line(
    volume: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, says: str
) -> None:
    assert run(["measure", str(volume), *words]) == code
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert says in line


def test_a_mask_is_measured_and_rated(crop: CT, pointing: Pointing, tmp_path: Path) -> None:
    labels = np.zeros(crop.hu.shape, np.uint8)
    for value, (center, diameter) in zip((7, 3), SPHERES, strict=True):
        labels[sphere(center, diameter)] = value
    write_nifti(tmp_path / "m.nii.gz", labels, AFFINE)
    report = pointing.inside(crop, tmp_path / "m.nii.gz")
    assert [round(n.measurements.equivalent_diameter_mm) for n in report.nodules] == [12, 8]
    np.testing.assert_array_equal(report.nodule_labels() > 0, labels > 0)


def test_masks_in_another_order_of_voxels_or_of_a_part_are_the_same(crop: CT, tmp_path: Path) -> None:
    mask = sphere(*SPHERES[0])
    (whole,) = read_outlines(mask, crop)
    flipped = AFFINE @ np.array([[-1, 0, 0, 85], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    write_nifti(tmp_path / "flipped.nii.gz", mask[::-1].astype(np.uint8), flipped)
    part = AFFINE.copy()
    part[:3, 3] = (AFFINE @ (10, 10, 10, 1))[:3]
    write_nifti(tmp_path / "part.nii.gz", mask[10:, 10:, 10:].astype(np.uint8), part)
    for name in ("flipped", "part"):
        (outline,) = read_outlines(tmp_path / f"{name}.nii.gz", crop)
        assert outline.offset == whole.offset
        np.testing.assert_array_equal(outline.mask, whole.mask)


def test_a_mask_of_one_value_has_a_nodule_in_each_part(crop: CT) -> None:
    both = sphere(*SPHERES[0]) | sphere(*SPHERES[1])
    assert len(read_outlines(both, crop)) == 2


def test_a_mask_that_is_not_of_this_ct_is_refused(crop: CT, tmp_path: Path) -> None:
    mask = sphere(*SPHERES[0]).astype(np.uint8)
    write_nifti(tmp_path / "coarse.nii.gz", mask[::2, ::2, ::2], AFFINE @ np.diag([2, 2, 2, 1.0]))
    write_nifti(tmp_path / "moved.nii.gz", mask, AFFINE + np.array([[0, 0, 0, 0.3]] + [[0, 0, 0, 0]] * 3))
    write_nifti(tmp_path / "far.nii.gz", mask, AFFINE + np.array([[0, 0, 0, 70.0]] + [[0, 0, 0, 0]] * 3))
    write_nifti(tmp_path / "empty.nii.gz", mask * 0, AFFINE)
    for name, words in (
        ("coarse", r"another voxel grid \(1.40 x 1.40 x 2.50 mm\) than the CT \(0.70"),
        ("moved", "another voxel grid"),
        ("far", "extends beyond the CT"),
        ("empty", "is empty"),
    ):
        with pytest.raises(MaskError, match=words):
            read_outlines(tmp_path / f"{name}.nii.gz", crop)
    with pytest.raises(MaskError, match="must have the CT's voxel grid"):
        read_outlines(mask[1:], crop)
    with pytest.raises(UsageError, match="no such file"):
        read_outlines(tmp_path / "none.nii.gz", crop)


def test_a_one_slice_mask_is_said_to_be_one(crop: CT, pointing: Pointing) -> None:
    mask = sphere(*SPHERES[0])
    mask[..., :30], mask[..., 31:] = False, False
    report = pointing.inside(crop, mask)
    assert any("Nodule 1 is outlined on a single slice" in text for text in report.warnings)


@pytest.mark.parametrize(("probability", "said"), [(0.05, True), (0.9, False)])
def test_what_the_network_would_not_call_a_nodule_is_said(crop: CT, probability: float, said: bool) -> None:
    (outline,) = read_outlines(sphere(*SPHERES[0]), crop)
    doubts = _doubts(1, (outline, None, Rating(probability, 0.5, (0.2, 0.8))), crop, OperatingPoint("standard", 0.3))
    assert any("Nodule 1 would not have been reported" in text for text in doubts) is said


@pytest.mark.parametrize("diameter_mm", [8, 10, 12, 20])
def test_spheres_by_a_point_are_measured_within_5_percent(diameter_mm: int, pointing: Pointing) -> None:
    """As the phantoms of volumetry are: 1.25 mm slices, anywhere between the voxels (they were 7 to 10 % too large)."""
    truth = np.pi * diameter_mm**3 / 6
    errors = [_sphere_mm3(pointing.analyzer.networks, diameter_mm, seed) / truth - 1 for seed in (11, 12)]
    assert abs(np.mean(errors)) <= 0.05
