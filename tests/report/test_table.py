"""Tables of one case and of many."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from monai_lung.errors import UsageError
from monai_lung.report import findings, html, table
from monai_lung.report.html.summary import _by_limits
from monai_lung.report.ranking import ranked


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def words(path: Path) -> str:
    """The text of a page, without its styles and script."""

    class Text(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.parts: list[str] = []
            self.silent = False

        def handle_starttag(self, tag, attrs):
            self.silent = tag in ("style", "script")
            links = [v for k, v in attrs if k in ("src", "href")]
            assert all(v.startswith(("#", "data:")) or v.endswith("/report.html") for v in links)

        def handle_endtag(self, tag):
            self.silent = False

        def handle_data(self, data):
            if not self.silent:
                self.parts.append(data)

    parser = Text()
    parser.feed(path.read_text(encoding="utf-8"))
    return " ".join(" ".join(parser.parts).split())


@pytest.fixture
def output(make_report, tmp_path):
    """An output folder: two cases with nodules, one without, one that failed, one broken, one cut short, and debris."""
    out = tmp_path / "out"
    first = make_report(3, growth=True)
    for name, report in {
        "first": first,
        "second": replace(first, nodules=first.nodules[:1], prior=None, warnings=("Thick slices.",)),
        "empty": replace(first, nodules=(), prior=None),
    }.items():
        (out / name).mkdir(parents=True)
        findings.write(replace(report, ct=replace(report.ct, name=name)), out / name / "findings.json")
    for name in ("failed", "broken", "short", ".new-abcdef-1-00000000.x"):
        (out / name).mkdir()
    (out / "failed" / "error.json").write_text(json.dumps({"case": "failed", "error": "<b>no</b>\nlungs"}))
    (out / "broken" / "findings.json").write_text('{"schema": ')
    (out / "notes.txt").write_text("not a case")
    return out, first


def test_csv_of_a_case_holds_what_the_findings_hold(make_report, tmp_path):
    report = make_report(3, growth=True)
    table.write_csv(report, tmp_path / "nodules.csv")
    rows = read(tmp_path / "nodules.csv")
    assert [row["nodule"] for row in rows] == ["1", "2", "3"]
    for row, nodule in zip(rows, report.nodules, strict=True):
        m = nodule.measurements
        assert row["case"] == "phantom"
        assert row["tracking_uid"] == nodule.tracking_uid
        assert [float(row[f"center_{axis}_mm"]) for axis in "xyz"] == pytest.approx(m.center_mm, abs=0.005)
        assert [int(row[f"center_{axis}"]) for axis in "ijk"] == list(m.center_index)
        assert float(row["volume_mm3"]) == pytest.approx(m.volume_mm3, abs=0.005)
        assert row["texture"] == m.texture
        assert float(row["malignancy_low"]) == pytest.approx(nodule.rating.malignancy_interval[0], abs=1e-4)
        assert row["lung_rads_2022_category"] == nodule.guidelines["lung_rads_2022"].category
        assert row["fleischner_2017_category"] == ""
        both = nodule.guidelines["fleischner_2017"].by_risk
        assert len(both) == 2
        assert row["fleischner_2017_by_risk"] == "; ".join(f"{risk}: {category}" for risk, category in both.items())
        assert float(row["brock_probability_high"]) == 0.043
        assert row["growth_status"] == nodule.growth.status
    assert not any("patient" in column or "PID" in str(row) for row in rows for column in row)


def test_csv_without_nodules_has_its_header(make_report, tmp_path):
    table.write_csv(make_report(0), tmp_path / "empty.csv")
    table.write_csv(make_report(1), tmp_path / "one.csv")
    header = (tmp_path / "empty.csv").read_text().splitlines()
    assert header == (tmp_path / "one.csv").read_text().splitlines()[:1]


def test_summary_counts_every_case(output, tmp_path):
    out, _ = output
    summary = table.summarize(out, tmp_path / "summary")
    assert [case.name for case in summary.cases] == ["broken", "empty", "failed", "first", "second", "short"]
    assert {case.name: case.error for case in summary.failed} == {
        "broken": summary.cases[0].error,
        "failed": "<b>no</b> lungs",
        "short": "no findings.json: the analysis didn't finish; run it again",
    }
    assert "broken" in summary.cases[0].error
    rows = read(tmp_path / "summary" / "nodules.csv")
    assert [(row["case"], row["nodule"]) for row in rows] == [
        ("first", "1"),
        ("first", "2"),
        ("first", "3"),
        ("second", "1"),
    ]
    cases = {row["case"]: row for row in read(tmp_path / "summary" / "cases.csv")}
    assert cases["empty"]["nodules"] == "0"
    assert cases["empty"]["status"] == "done"
    assert cases["failed"]["nodules"] == ""
    assert cases["failed"]["error"] == "<b>no</b> lungs"
    assert cases["second"]["warnings"] == "Thick slices."
    second = findings.read(out / "second" / "findings.json")["input"]
    assert (cases["second"]["series_uid"], cases["second"]["patient_key"]) == (
        second["series_uid"],
        second["patient_key"],
    )
    assert second["series_uid"]
    assert str(summary).startswith("6 cases, 3 analysed, 3 failed, 4 nodules\nfailed: broken: ")
    assert json.loads(json.dumps(summary.as_dict()))["nodules"] == 4


def test_parquet_equals_csv_and_keeps_types(output, tmp_path):
    out, _ = output
    table.summarize(out, tmp_path / "summary")
    parquet = pd.read_parquet(tmp_path / "summary" / "nodules.parquet")
    plain = pd.read_csv(tmp_path / "summary" / "nodules.csv")
    assert list(parquet.columns) == list(plain.columns)
    for column in plain.columns:
        if parquet[column].dtype in ("Int64", "Float64"):
            left, right = (frame[column].astype("float64") for frame in (parquet, plain))
            assert left.tolist() == pytest.approx(right.tolist(), nan_ok=True)
    assert str(parquet["volume_mm3"].dtype) == "Float64"
    assert str(parquet["nodule"].dtype) == "Int64"
    assert parquet["lung_rads_2022_category"].map(type).eq(str).all(), 'a category "2" stays text'


def test_types_hold_without_nodules(make_report, tmp_path):
    """Tables of two runs can be joined though one found nothing."""
    (tmp_path / "out" / "a").mkdir(parents=True)
    findings.write(make_report(0), tmp_path / "out" / "a" / "findings.json")
    table.summarize(tmp_path / "out")
    (tmp_path / "out" / "b").mkdir()
    findings.write(make_report(2, growth=True), tmp_path / "out" / "b" / "findings.json")
    empty = pd.read_parquet(tmp_path / "out" / "nodules.parquet")
    table.summarize(tmp_path / "out")
    full = pd.read_parquet(tmp_path / "out" / "nodules.parquet")
    assert len(empty) == 0
    assert len(full) == 2
    assert empty.dtypes.astype(str).to_dict() == full.dtypes.astype(str).to_dict()


def test_page_shows_distributions_and_failures(output, tmp_path):
    out, first = output
    table.summarize(out, tmp_path / "summary")
    page = tmp_path / "summary" / "summary.html"
    text = words(page)
    assert "6 cases · 3 analysed · 3 failed · 4 nodules" in text
    assert "<b>no</b> lungs" in text
    assert "<b>no</b>" not in page.read_text(encoding="utf-8")
    assert "Thick slices. (1 case)" in text
    textures = [n.measurements.texture for n in (*first.nodules, first.nodules[0])]
    for texture in set(textures):
        assert f"{texture} {textures.count(texture)}" in text
    assert "Cases by number of nodules 0 1 1 1 2 0 3 1 4 0 5 or more 0" in text
    assert "F2 / F3 3" in text
    assert "Nodules by growth" in text
    assert "growing" in text


def test_page_leads_from_the_most_urgent_case_to_its_report(output, tmp_path):
    out, first = output
    worse = {"lung_rads_2022": replace(first.guidelines["lung_rads_2022"], category="4X", label="")}
    (out / "zz worst").mkdir()
    findings.write(
        replace(first, ct=replace(first.ct, name="zz worst"), guidelines=worse), out / "zz worst" / "findings.json"
    )
    (out / "zz worst" / "report.html").write_text("the report")
    table.summarize(out, tmp_path / "summary")
    text = (tmp_path / "summary" / "summary.html").read_text(encoding="utf-8")
    cases = re.findall(r'<tr data-in="[^"]*"><td></td><th scope="row">(?:<a href="([^"]*)">)?([^<]*)', text)[-4:]
    assert cases[0] == ("../out/zz%20worst/report.html", "zz worst")
    assert [name for _, name in cases][-1] == "empty"
    assert {link for link, _ in cases[1:]} == {""}, "the others have no page to lead to"
    assert '<td data-key="6">4X</td>' in text
    assert text.count('<tr data-in="4X">') == text.count('data-category="4X"') == 1
    nodule = first.nodules[0]
    assert (
        f"{nodule.measurements.side} {nodule.measurements.third}, {nodule.measurements.mean_diameter_mm:.1f} mm" in text
    )


def test_each_case_has_a_small_picture_from_its_page(make_report, tmp_path):
    """Of the nodule that decides; of the lungs where there is none."""
    report = make_report(2)
    for name, nodules in (("some", report.nodules), ("none", ())):
        (tmp_path / name).mkdir()
        case = replace(report, ct=replace(report.ct, name=name), nodules=nodules, deciding_nodule=None)
        findings.write(case, tmp_path / name / "findings.json")
        html.write(case, tmp_path / name / "report.html")
    (tmp_path / "bad").mkdir()
    findings.write(replace(report, ct=replace(report.ct, name="bad")), tmp_path / "bad" / "findings.json")
    (tmp_path / "bad" / "report.html").write_text('<image href="data:image/jpeg;base64,AAAA"/>')
    table.summarize(tmp_path)
    text = (tmp_path / "summary.html").read_text(encoding="utf-8")
    rows = re.findall(r'<tr data-in="[^"]*"><td>(?:<img src="data:image/jpeg;base64,([^"]+)"[^>]*>)?</td>.*', text)
    pictures = [Image.open(io.BytesIO(base64.b64decode(data))) for data in rows if data]
    assert len(rows) == 3
    assert len(pictures) == 2
    assert all(40 < max(picture.size) <= 96 for picture in pictures)
    first = ranked(report)[0].id
    page = (tmp_path / "some" / "report.html").read_text(encoding="utf-8")
    (slice_,) = re.findall(rf'<img src="data:image/jpeg;base64,([^"]+)" alt="Axial slice of nodule {first}"', page)
    shown = Image.open(io.BytesIO(base64.b64decode(slice_))).convert("L")
    shown.thumbnail((96, 96))
    assert np.abs(np.asarray(shown, float) - np.asarray(pictures[0], float)).mean() < 8


def test_rows_lead_with_the_nodule_that_decides(make_report, tmp_path):
    report = replace(make_report(3), deciding_nodule=2)
    table.write_csv(report, tmp_path / "nodules.csv")
    rows = read(tmp_path / "nodules.csv")
    assert [(row["nodule"], row["decides"]) for row in rows] == [("2", "True"), ("1", "False"), ("3", "False")]
    columns = list(rows[0])
    assert columns.index("lung_rads_2022_category") < columns.index("fleischner_2017_category")


def test_size_classes_take_the_limit_into_the_upper_one():
    bars = _by_limits([3.9, 4.0, 5.99, 6.0, None, 30.0], (4.0, 6.0, 30.0), "mm")
    assert bars == [("< 4 mm", 1), ("4 to < 6 mm", 2), ("6 to < 30 mm", 1), ("≥ 30 mm", 1)]


def test_refuses_what_is_no_output_folder(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        table.summarize(tmp_path / "missing")
    with pytest.raises(UsageError, match="holds no case"):
        table.summarize(tmp_path)
