"""The order in which nodules and cases are shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from monai_lung.model import Advice, Nodule, Report
from monai_lung.report import findings
from monai_lung.report.ranking import CATEGORIES, case_rank, deciding_id, rank, ranked, ranked_rows


def with_category(nodule: Nodule, category: str | None, probability: float) -> Nodule:
    advice = {"lung_rads_2022": Advice("Lung-RADS v2022", category, "words", "rule")}
    return replace(nodule, guidelines=advice, rating=replace(nodule.rating, malignancy_probability=probability))


@pytest.fixture
def report(make_report) -> Report:
    """Largest first: a 2, a 4B of low probability, a 3, a 4B of high probability."""
    made = make_report(4, nifti=True)
    given = (("2", 0.9), ("4B", 0.3), ("3", 0.5), ("4B", 0.8))
    return replace(
        made,
        nodules=tuple(with_category(n, *g) for n, g in zip(made.nodules, given, strict=True)),
        deciding_nodule=None,
    )


def test_category_then_probability_then_size(report):
    assert [n.id for n in ranked(report)] == [4, 2, 3, 1]
    assert rank("3", 0.5, 10.0) < rank("3", 0.5, 9.0)


def test_the_nodule_that_decides_leads(report):
    """Even where another one ranks higher by itself."""
    decided = replace(report, deciding_nodule=3)
    assert [n.id for n in ranked(decided)] == [3, 4, 2, 1]
    assert deciding_id(decided) == 3
    assert deciding_id(report) == 4, "without the rules' word the first in rank"
    assert deciding_id(replace(report, nodules=())) is None


def test_rows_of_the_findings_come_in_the_same_order(report):
    for one in (report, replace(report, deciding_nodule=3)):
        rows = ranked_rows(findings.to_dict(one))
        assert [row["id"] for row in rows] == [n.id for n in ranked(one)]


def test_categories_rise_and_unknown_ones_come_last():
    ordered = sorted(["not-applicable", None, *CATEGORIES], key=lambda c: rank(c, 0.5, 1.0))
    assert ordered[:3] == ["4X", "4B", "4A"]
    assert set(ordered[-2:]) == {None, "not-applicable"}


def test_cases_by_the_examination(report):
    contents = []
    for category in ("2", "4A", "1"):
        advice = {"lung_rads_2022": Advice("Lung-RADS v2022", category, "words", "rule")}
        contents.append(findings.to_dict(replace(report, guidelines=advice)))
    assert [c["guidelines"]["lung_rads_2022"]["category"] for c in sorted(contents, key=case_rank)] == ["4A", "2", "1"]
