"""From the phantom's DICOM files through the command line to the files of a result."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import stand_ins

from monai_lung.cli import run
from monai_lung.errors import WeightsError

WORDS = ("--format", "json,nifti", "--age", "60")


def test_phantom_command_writes_series_and_truth(tmp_path, capsys):
    arguments = [
        "--size",
        "48",
        "--slices",
        "20",
        "--nodule",
        "-72,-10,45,30",
        "--nodule",
        "80,0,0,24,ground-glass,lobulated",
    ]
    assert run(["phantom", "-o", str(tmp_path / "p"), *arguments]) == 0
    out = capsys.readouterr().out
    assert "ground-glass" in out
    assert max(map(len, out.splitlines()[:3])) <= 80
    assert len(list((tmp_path / "p" / "dicom").iterdir())) == 20
    truth = json.loads((tmp_path / "p" / "truth" / "nodules.json").read_text())
    assert [n["volume_mm3"] for n in truth["nodules"]] == pytest.approx([14137.17, 7238.23])


@pytest.mark.parametrize(
    "wrong",
    ["1,2", "a,b,c,5", "-72,-10,45,8,blue", "-72,-10,45,n1", "-72,-10,45,8,contour", "0,60,0,8", "-72,-10,45,nan"],
)
def test_phantom_command_refuses_a_wrong_nodule(wrong, tmp_path, capsys):
    assert run(["phantom", "-o", str(tmp_path / "p"), "--size", "48", "--slices", "20", "--nodule", wrong]) == 2
    error = capsys.readouterr().err
    assert error.startswith("monai-lung: error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "p").exists()


def test_inspect_shows_the_series(phantom_dir: Path, capsys):
    assert run(["inspect", str(phantom_dir / "dicom")]) == 0
    assert "* CT     60 files  2.60 x 2.60 x 5.00 mm  B40" in capsys.readouterr().out
    assert run(["inspect", str(phantom_dir / "dicom"), "--json"]) == 0
    (series,) = json.loads(capsys.readouterr().out)["series"]
    assert series["chosen"]
    assert series["files"] == 60


def test_lungs_command_agrees_with_the_truth(phantom_dir: Path, tmp_path, capsys):
    mask = tmp_path / "lungs.nii.gz"
    assert run(["lungs", str(phantom_dir / "dicom"), "-o", str(mask), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    found, truth = _canonical(mask), _canonical(phantom_dir / "truth" / "lungs.nii.gz")
    for label, name in ((1, "right"), (2, "left")):
        a, b = found == label, truth == label
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.97
        assert answer[f"{name}_ml"] == pytest.approx(b.sum() * 2.6 * 2.6 * 5 / 1000, rel=0.05)


@pytest.fixture(scope="module")
def chest_with_balls(tmp_path_factory) -> Path:
    """A phantom with three solid balls, large enough for the stand-ins' opening to leave them."""
    balls = ["-72,-10,45,16", "80,40,10,14", "-80,45,-20,20"]
    folder = tmp_path_factory.mktemp("balls") / "chest"
    arguments = ["--size", "160", "--slices", "75", "--seed", "3", *(w for b in balls for w in ("--nodule", b))]
    assert run(["phantom", "-o", str(folder), *arguments]) == 0
    return folder


@pytest.fixture(scope="module")
def analysed(chest_with_balls: Path, tmp_path_factory) -> tuple[Path, str]:
    """The folder of its analysis with stand-in networks, and what was printed."""
    out, shown = tmp_path_factory.mktemp("analysed"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(shown):
        patch.setattr("monai_lung.inference.load_networks", lambda *_, **__: stand_ins.networks())
        assert run(["analyze", str(chest_with_balls / "dicom"), "-o", str(out), *WORDS]) == 0
    return out, shown.getvalue()


def test_analysis_finds_the_phantoms_nodules(chest_with_balls: Path, analysed: tuple[Path, str]):
    """With stand-in networks that can't know the truth: every stage's geometry must be right for this to hold."""
    out, shown = analysed
    assert max(map(len, shown.splitlines()[:-1])) <= 80
    (case,) = out.iterdir()
    assert sorted(p.name for p in case.iterdir()) == ["findings.json", "lungs.nii.gz", "nodules.nii.gz"]
    assert f"-> {case}" in shown
    findings = json.loads((case / "findings.json").read_text())
    truth = json.loads((chest_with_balls / "truth" / "nodules.json").read_text())["nodules"]
    centers = np.array([n["center_mm"] for n in findings["nodules"]])
    labels, known = _canonical(case / "nodules.nii.gz"), _canonical(chest_with_balls / "truth" / "nodules.nii.gz")
    for nodule in truth:
        distance = np.linalg.norm(centers - nodule["center_mm"], axis=1)
        assert distance.min() < 2, f"nodule {nodule['id']} of the phantom"
        found = findings["nodules"][int(distance.argmin())]
        assert found["equivalent_diameter_mm"] == pytest.approx(nodule["diameter_mm"], rel=0.25)
        assert found["side"] == ("right" if nodule["center_mm"][0] < 0 else "left")
        a, b = labels == found["id"], known == nodule["id"]
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.7


def test_analysis_is_the_same_twice(chest_with_balls: Path, analysed: tuple[Path, str], tmp_path, stand_in_networks):
    assert run(["analyze", str(chest_with_balls / "dicom"), "-o", str(tmp_path / "b"), *WORDS]) == 0
    results = []
    for out in (analysed[0], tmp_path / "b"):
        (case,) = out.iterdir()
        findings = json.loads((case / "findings.json").read_text())
        findings.pop("timing_s")
        results.append((findings, (case / "nodules.nii.gz").read_bytes(), (case / "lungs.nii.gz").read_bytes()))
    assert results[0] == results[1]


def test_analysis_with_the_installed_weights(phantom_dir: Path, tmp_path):
    """The shipped networks run over the phantom and write every format; what they find there is no measure."""
    from monai_lung.inference import load_networks

    try:
        load_networks("cpu")
    except WeightsError as error:
        pytest.skip(f"the bundles hold no weights: {error}")
    assert run(["analyze", str(phantom_dir / "dicom"), "-o", str(tmp_path / "out"), "--format", "all"]) == 0
    (case,) = (tmp_path / "out").iterdir()
    names = {p.name for p in case.iterdir()}
    assert names >= {
        "findings.json",
        "lungs.nii.gz",
        "nodules.nii.gz",
        "report.html",
        "seg.dcm",
        "sr.dcm",
        "figure.png",
    }


def _canonical(path: Path) -> np.ndarray:
    return np.asarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj)
