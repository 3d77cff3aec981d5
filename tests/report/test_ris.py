"""The text for the RIS."""

from __future__ import annotations

from dataclasses import replace

import pytest

from monai_lung.model import Advice
from monai_lung.report import ris


def test_says_what_a_radiologist_dictates(make_report):
    report = make_report(3, growth=True)
    first = replace(report.nodules[1], series_number=3, image_number=54)
    report = replace(report, nodules=(report.nodules[0], first, report.nodules[2]), deciding_nodule=2)
    text = ris.text(report)
    m = first.measurements
    assert "Examination of 2020-05-02" in text
    assert "Comparison: CT of 2019-05-06, 362 days earlier." in text
    joined = " ".join(text.split())
    assert f"Dominant nodule (no. 2): {m.texture}, {m.side} lung, {m.third} third, series 3, image 54." in joined
    assert f"{m.long_axis_mm:.1f} x {m.short_axis_mm:.1f} mm (mean {m.mean_diameter_mm:.1f} mm)" in joined
    assert "Change: stable, volume +4 %" in joined
    assert (
        joined.index("no. 2") < joined.index("No. 1:") < joined.index("IMPRESSION") < joined.index("Lung-RADS v2022:")
    )
    assert joined.index("Lung-RADS v2022:") < joined.index("Fleischner 2017:")
    assert "A nodule of the prior (95 mm3) was not found in this examination." in joined
    assert "research use; decision support, not a diagnosis" in joined


def test_is_ascii_in_lines_of_76(make_report, tmp_path):
    report = make_report(2, growth=True, warnings=("Ünïcode",))
    advice = Advice("Lung-RADS v2022", "3", "≥ 6 mm – schön " * 20, "rule")
    ris.write(replace(report, guidelines={"lung_rads_2022": advice}), tmp_path / "report.txt")
    text = (tmp_path / "report.txt").read_bytes().decode("ascii")
    assert max(map(len, text.splitlines())) <= 76
    assert ">= 6 mm - sch" in text
    assert text.endswith("\n")


def test_without_nodules_or_prior(make_report):
    text = ris.text(make_report(0))
    assert "No lung nodules found." in text
    assert "Comparison: none." in text
    assert "Dominant" not in text


@pytest.mark.parametrize(("said", "suggests"), [(None, True), (True, False), (False, False)])
def test_emphysema_is_suggested_and_never_counted_silently(make_report, said, suggests):
    report = make_report(0)
    report = replace(report, person=replace(report.person, emphysema=said))
    text = " ".join(ris.text(report).split())
    assert "Lung below -950 HU: right 3.1 %, left 7.2 % (kernel STANDARD, slices" in text
    assert ("so far it isn't counted" in text) == suggests
