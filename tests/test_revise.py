"""A reader's decisions: everything is written again, or nothing."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from monai_lung.advice import MeasuredNodules, reported
from monai_lung.cli import run
from monai_lung.io import read_ct
from monai_lung.model import OperatingPoint, Report
from monai_lung.pipeline import write
from monai_lung.report import findings
from monai_lung.restore import restore

sys.path.insert(0, str(Path(__file__).parent / "report"))
from report_builder import build_report

FORMATS = ("json", "nifti", "seg", "sr", "html", "csv", "text")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a result of three nodules with real advice, read back from the DICOM files as an analysis is."""
    from dataclasses import replace

    base = tmp_path_factory.mktemp("revise")
    made = build_report(base, 3, shape=(72, 60, 44))
    ct = read_ct(base / "series")
    found = MeasuredNodules(
        ct,
        made.lungs,
        tuple(n.outline for n in made.nodules),
        tuple(n.measurements for n in made.nodules),
        tuple(n.rating for n in made.nodules),
    )
    nodules, examination, deciding = reported(found, [None] * 3, made.person)
    report = replace(
        made,
        ct=ct,
        nodules=nodules,
        guidelines=examination,
        deciding_nodule=deciding,
        candidates=(replace(made.nodules[2], id=4, set_aside="confidence"),),
        operating_point=OperatingPoint("standard", 0.7),
    )
    return write(report, base / "out", FORMATS)


@pytest.fixture
def case(result: Path, tmp_path: Path) -> Path:
    """A copy beside the series, for a test to change."""
    import shutil

    copy = result.parent.parent / f"copy-{tmp_path.name}" / result.name
    shutil.copytree(result, copy)
    return copy


def content_of(case: Path) -> dict:
    return json.loads((case / "findings.json").read_text(encoding="utf-8"))


def measured(row: dict) -> dict:
    return {name: value for name, value in row.items() if name != "guidelines"}


def without_inputs(advice: dict) -> dict:
    """The verdict: the numbers behind it are those of the file, rounded, after a revision."""
    return {name: advice[name] for name in ("category", "rule", "label", "missing", "notes", "options", "by_risk")}


def labels(case: Path, name: str) -> set[int]:
    return set(np.unique(np.asarray(nibabel.load(case / name).dataobj)).tolist()) - {0}


def test_restored_is_what_was_written(result: Path) -> None:
    report = restore(result)
    again = findings.to_dict(report)
    assert again == content_of(result)
    assert isinstance(report, Report)
    truth = np.asarray(nibabel.load(result / "nodules.nii.gz").dataobj)
    assert (report.nodule_labels() == truth).all()


def test_reject_writes_everything_anew(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pydicom

    before = content_of(case)
    assert before["deciding_nodule"] == 1
    uid = pydicom.dcmread(case / "sr.dcm").SOPInstanceUID
    assert run(["revise", str(case), "--reject", "1"]) == 0
    after = content_of(case)
    findings.validate(after)
    assert [n["id"] for n in after["nodules"]] == [2, 3]
    assert [n["id"] for n in after["rejected"]] == [1]
    assert after["deciding_nodule"] in (2, 3)
    assert [(d["nodule"], d["decision"]) for d in after["decisions"]] == [(1, "rejected")]
    assert after["guidelines"]["lung_rads_2022"] != before["guidelines"]["lung_rads_2022"], "another nodule decides"
    assert labels(case, "nodules.nii.gz") == {2, 3}
    assert labels(case, "rejected.nii.gz") == {1}
    with (case / "nodules.csv").open(newline="") as stream:
        assert {row["nodule"] for row in csv.DictReader(stream)} == {"2", "3"}
    segments = [s.SegmentLabel for s in pydicom.dcmread(case / "seg.dcm").SegmentSequence]
    assert segments == ["Right lung", "Left lung", "Nodule 2", "Nodule 3"]
    sr = pydicom.dcmread(case / "sr.dcm")
    assert sr.SOPInstanceUID != uid
    assert "Nodule 1" not in str(sr)
    assert 'id="nodule-1"' not in (case / "report.html").read_text(encoding="utf-8")
    assert "Rejected by a reader, not counted: no. 1" in (case / "report.html").read_text(encoding="utf-8")
    assert "Rejected by the reader: no. 1." in (case / "report.txt").read_text()
    assert "rejected by a reader: 1" in capsys.readouterr().out


def test_accept_takes_a_rejection_back(case: Path) -> None:
    before = content_of(case)
    assert run(["revise", str(case), "--reject", "1,3"]) == 0
    assert run(["revise", str(case), "--accept", "1,3"]) == 0
    after = content_of(case)
    assert {d["nodule"]: d["decision"] for d in after["decisions"]} == {1: "accepted", 3: "accepted"}
    assert [measured(n) for n in after["nodules"]] == [measured(n) for n in before["nodules"]]
    for one, other in zip((after, *after["nodules"]), (before, *before["nodules"]), strict=True):
        for name, advice in one["guidelines"].items():
            assert without_inputs(advice) == without_inputs(other["guidelines"][name])
    assert not (case / "rejected.nii.gz").exists()
    assert labels(case, "nodules.nii.gz") == {1, 2, 3}


def test_all_rejected_is_no_nodule(case: Path) -> None:
    assert run(["revise", str(case), "--reject", "1,2,3"]) == 0
    after = content_of(case)
    assert after["nodules"] == []
    assert after["deciding_nodule"] is None
    assert after["guidelines"]["lung_rads_2022"]["category"] == "1"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--reject", "9"], "no nodule 9; there are: 1, 2, 3"),
        (["--reject", "4"], "4 isn't reported but a candidate"),
        (["--reject", "1", "--accept", "1"], "nodule 1: both rejected and accepted"),
        (["--reject", "1,x"], "give the numbers of nodules, for example 3,5"),
        (["--reject", ""], "give the numbers of nodules, for example 3,5"),
        ([], "nothing to revise"),
        (["--reject", "1", "--ct", "/no/such/ct"], "/no/such/ct"),
    ],
)
def test_what_cannot_be_is_one_line_and_changes_nothing(
    case: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p.name: p.read_bytes() for p in case.iterdir()}
    assert run(["revise", str(case), *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert says in line
    assert {p.name: p.read_bytes() for p in case.iterdir()} == before


def test_no_result_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["revise", str(tmp_path), "--reject", "1"]) == 2
    assert "no result" in capsys.readouterr().err


@pytest.mark.parametrize("broken", ["lungs.nii.gz", "nodules.nii.gz", "the CT", "another CT"])
def test_a_missing_part_is_one_line_and_changes_nothing(
    case: Path, broken: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = content_of(case)
    if broken.endswith(".gz"):
        (case / broken).unlink()
    elif broken == "the CT":
        content["input"]["path"] = "../../gone"
    else:
        content["input"]["series_uid"] += ".7"
    (case / "findings.json").write_text(json.dumps(content), encoding="utf-8")
    before = {p.name: p.read_bytes() for p in case.iterdir()}
    assert run(["revise", str(case), "--reject", "1"]) == (2 if broken == "another CT" else 1)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "--ct" in line or "missing" in line or "series" in line
    assert {p.name: p.read_bytes() for p in case.iterdir()} == before
