"""findings.json: its fields, its schema, and what must never be in it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from monai_lung.errors import InputError
from monai_lung.model import OperatingPoint, Report
from monai_lung.report import findings

pytest.importorskip("pydicom")
MakeReport = Callable[..., Report]


def strict(path: Path) -> dict:
    """Parse JSON that refuses NaN and Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} isn't JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


@pytest.mark.parametrize(("nodules", "options"), [(0, {}), (3, {"growth": True}), (2, {"nifti": True}), (200, {})])
def test_it_follows_its_schema(make_report: MakeReport, tmp_path: Path, nodules: int, options: dict) -> None:
    pytest.importorskip("jsonschema")
    path = findings.write(make_report(nodules, **options), tmp_path / "findings.json")
    content = findings.read(path)
    findings.validate(content)
    assert content == strict(path)
    assert len(content["nodules"]) == nodules


def test_the_fields_of_the_design(make_report: MakeReport) -> None:
    report = make_report(2)
    content = findings.to_dict(report)
    assert content["schema"] == "monai-lung/findings/2"
    assert content["notice"] == "research use; decision support, not a diagnosis"
    assert content["weights"]["find"] == "cd" * 32
    assert content["lungs"] == {
        "right_ml": round(report.lungs.right_ml, 1),
        "left_ml": round(report.lungs.left_ml, 1),
        "right_low_attenuation_percent": 3.1,
        "left_low_attenuation_percent": 7.2,
    }
    source = content["input"]
    assert source["series_uid"] == report.ct.series.uid
    assert source["study_uid"] == report.ct.series.study_uid
    assert source["frame_of_reference_uid"] == report.ct.frame_of_reference_uid
    assert source["study_date"] == "2020-05-02"
    assert source["patient_key"] == report.ct.patient_key
    assert source["spacing_mm"] == [3.0, 3.0, 5.0]
    assert source["slices"] == 44
    nodule, m = content["nodules"][0], report.nodules[0].measurements
    named = (
        "id tracking_uid center_mm center_index bbox_index volume_mm3 long_axis_mm short_axis_mm mean_diameter_mm "
        "max_diameter_3d_mm mean_hu texture solid_volume_mm3 solid_diameter_mm side third pleura_distance_mm "
        "nodule_probability malignancy_probability malignancy_interval guidelines"
    )
    assert set(named.split()) <= set(nodule)
    assert nodule["center_mm"] == [round(v, 2) for v in m.center_mm]
    assert nodule["bbox_index"] == [list(corner) for corner in m.bbox_index]
    assert nodule["malignancy_interval"] == [0.3, 0.6]
    assert list(nodule["guidelines"]) == ["fleischner_2017", "lung_rads_2022", "brock"]
    assert nodule["guidelines"]["fleischner_2017"]["by_risk"] == {"low": "F2", "high": "F3"}
    assert nodule["guidelines"]["brock"]["inputs"]["age"] == 64


def test_growth_and_prior_only_with_a_prior(make_report: MakeReport) -> None:
    without, with_prior = findings.to_dict(make_report(1)), findings.to_dict(make_report(1, growth=True))
    assert "growth" not in without["nodules"][0]
    assert "prior" not in without
    assert with_prior["nodules"][0]["growth"]["prior_date"] == "2019-05-06"
    assert with_prior["nodules"][0]["growth"]["volume_change_percent"] == 60.0
    assert with_prior["prior"] == {
        "study_date": "2019-05-06",
        "source": "ct",
        "residual_mm": 1.27,
        "gone": [{"center_mm": [-50.0, -30.0, -150.0], "volume_mm3": 95.2, "now_mm": None}],
    }


def test_the_patient_only_where_asked_for(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(1, patient_name="Müller^Jürgen")
    place = tmp_path / "MÜLLER_J_1955" / "ct"
    report = replace(report, ct=replace(report.ct, path=place))
    text = findings.write(report, tmp_path / "a.json").read_text(encoding="utf-8")
    assert not any(word in text for word in ("Müller", "MÜLLER", "PID-4711"))
    assert json.loads(text)["input"]["path"] == str(tmp_path / "***" / "ct")
    text = findings.write(report, tmp_path / "b.json", show_patient=True).read_text(encoding="utf-8")
    assert json.loads(text)["input"]["patient"] == ["Müller^Jürgen", "PID-4711"]
    assert json.loads(text)["input"]["path"] == str(place)


def test_rounding_and_numpy_values(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(1, growth=True)
    nodule = report.nodules[0]
    m = replace(
        nodule.measurements, volume_mm3=np.float32(123.456), mean_hu=-12.345, center_index=tuple(np.array([1, 2, 3]))
    )
    growth = replace(nodule.growth, doubling_days=float("inf"), volume_change_percent=np.float64("nan"))
    rating = replace(nodule.rating, malignancy_probability=np.float32(0.123456))
    report = replace(report, nodules=(replace(nodule, measurements=m, growth=growth, rating=rating),))
    content = strict(findings.write(report, tmp_path / "f.json"))
    found = content["nodules"][0]
    assert (found["volume_mm3"], found["mean_hu"], found["center_index"]) == (123.46, -12.3, [1, 2, 3])
    assert found["malignancy_probability"] == 0.1235
    assert (found["growth"]["doubling_days"], found["growth"]["volume_change_percent"]) == (None, None)


def test_the_same_report_gives_the_same_bytes(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(2, growth=True)
    turned = replace(report, software=dict(reversed(report.software.items())))
    first, again = findings.write(report, tmp_path / "a.json"), findings.write(turned, tmp_path / "b.json")
    assert first.read_bytes() == again.read_bytes()


def test_warnings_come_once_from_everywhere(make_report: MakeReport) -> None:
    report = make_report(0, warnings=("thick slices",))
    report = replace(report, lungs=replace(report.lungs, warnings=("cut off",)), warnings=("thick slices", "slow"))
    assert findings.to_dict(report)["input"]["warnings"] == ["thick slices", "cut off", "slow"]


@pytest.mark.parametrize(
    ("spoil", "place"),
    [
        (lambda c: c.update(extra=1), "extra"),
        (lambda c: c["nodules"][0].update(colour="red"), "colour"),
        (lambda c: c["nodules"][0].pop("third"), "third"),
        (lambda c: c["nodules"][0].update(malignancy_probability=1.2), "malignancy_probability"),
        (lambda c: c["nodules"][0].update(volume_mm3=None), "volume_mm3"),
        (lambda c: c["nodules"][0]["guidelines"].update(bts={}), "bts"),
        (lambda c: c.update(notice="a diagnosis"), "notice"),
    ],
)
def test_the_schema_is_strict(make_report: MakeReport, spoil: Callable[[dict], object], place: str) -> None:
    pytest.importorskip("jsonschema")
    content = copy.deepcopy(findings.to_dict(make_report(1)))
    findings.validate(content)
    spoil(content)
    with pytest.raises(InputError, match=place):
        findings.validate(content)


def test_the_schema_names_every_field_and_is_one() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    import dataclasses

    from monai_lung import model

    schema = findings.schema_of_findings()
    jsonschema.Draft202012Validator.check_schema(schema)
    of = {name: set(part.get("properties", {})) for name, part in schema["$defs"].items()}
    fields = {cls: {f.name for f in dataclasses.fields(cls)} for cls in (model.Advice, model.Growth, model.Person)}
    assert of["advice"] == fields[model.Advice]
    assert of["growth"] == fields[model.Growth] - {"prior_outline"}
    assert of["person"] == fields[model.Person]
    assert {f.name for f in dataclasses.fields(model.Measurements)} < of["nodule"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "can't be read"),
        ("[]", "schema is None"),
        ('{"schema": "monai-lung/findings/9"}', "findings/9"),
        ('{"schema": "monai-lung/findings/1"}', "incomplete"),
        ('{"schema": "monai-lung/findings/2"}', "incomplete"),
    ],
)
def test_reading_what_is_no_findings_file(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "findings.json"
    path.write_text(text)
    with pytest.raises(InputError, match=reason) as caught:
        findings.read(path)
    assert "\n" not in str(caught.value)


def test_findings_of_schema_1_are_read_with_what_schema_2_added_unknown(
    make_report: MakeReport, tmp_path: Path
) -> None:
    content = findings.to_dict(make_report(1))
    for name in ("operating_point", "notes", "deciding_nodule", "candidates"):
        del content[name]
    path = tmp_path / "findings.json"
    path.write_text(json.dumps(content | {"schema": "monai-lung/findings/1"}))
    read = findings.read(path)
    assert (read["candidates"], read["operating_point"], read["deciding_nodule"]) == ([], None, None)
    assert read["nodules"] == content["nodules"]


def test_candidates_have_fewer_fields_and_say_why_they_are_set_aside(make_report: MakeReport) -> None:
    report = make_report(3)
    aside = replace(report.nodules[2], set_aside="confidence")
    point = OperatingPoint("standard", 0.7)
    split = replace(report, nodules=report.nodules[:2], candidates=(aside,), operating_point=point, deciding_nodule=1)
    content = findings.to_dict(split)
    findings.validate(content)
    assert content["operating_point"] == {"name": "standard", "min_nodule_probability": 0.7}
    assert content["deciding_nodule"] == 1
    (candidate,) = content["candidates"]
    assert candidate["set_aside"] == "confidence"
    assert set(content["nodules"][0]) - set(candidate) == {
        "malignancy_probability",
        "malignancy_interval",
        "guidelines",
    }


def test_the_way_to_the_input_starts_at_the_file(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(1)
    (tmp_path / "out").mkdir()
    path = findings.write(report, tmp_path / "out" / "findings.json")
    assert (path.parent / strict(path)["input"]["path"]).resolve() == report.ct.path.resolve()


def test_reading_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read"):
        findings.read(tmp_path / "none.json")
