"""The picture of a case."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from monai_lung.errors import UsageError
from monai_lung.report import figure


@pytest.fixture(autouse=True)
def coarse_overview(monkeypatch):
    """Pixels as large as the phantom's voxels: nothing is lost, and a test takes a tenth of the time."""
    monkeypatch.setattr("monai_lung.report.views.OVERVIEW_MM", 3.0)


def words(drawn) -> str:
    """All text of a figure."""
    texts = [t.get_text() for t in drawn.texts]
    for axes in drawn.axes:
        texts += [t.get_text() for t in axes.texts] + [axes.get_title(loc="left"), axes.get_xlabel()]
    return "\n".join(texts)


@pytest.mark.parametrize("count", [0, 1, 4, 9])
def test_shows_the_overview_and_up_to_six_nodules(make_report, count):
    drawn = figure.draw(make_report(count, nifti=True))
    assert len(drawn.axes) == 1 + bool(count) + min(count, 6), "the overview, the whole slice, close ups"
    text = words(drawn)
    assert f"{count} nodule" in text
    assert text.count("10 mm\n") == min(count, 6), "each scale bar says how long it is"
    assert "Research use; decision support, not a diagnosis" in text
    assert ("3 more nodules not shown" in text) == (count == 9)
    assert ("No nodules found" in text) == (count == 0)
    assert [t.get_text() for t in drawn.axes[0].texts if t.get_text().isdigit()] == [
        str(k) for k in range(count, 0, -1)
    ]


def test_outline_encloses_the_nodule_and_numbers_are_its_own(make_report):
    report = make_report(2, layout="feet-first", growth=True)
    m = report.nodules[0].measurements
    axes = figure.draw(report).axes[2]
    outline = next(line for line in axes.lines if line.get_color() == figure.OUTLINE)
    picture = np.asarray(axes.images[0].get_array())
    x, y = outline.get_data()
    inside = picture[int(min(y)) + 2 : int(max(y)) - 1, int(min(x)) + 2 : int(max(x)) - 1]
    assert np.median(inside) > 200, "soft tissue is bright in the lung window"
    label = axes.get_xlabel()
    assert f"{m.long_axis_mm:.1f} × {m.short_axis_mm:.1f} mm" in label
    assert "malignancy 43 % (30 to 60 %)" in label
    assert "growing, +60 %" in label
    assert f"{m.side} lung" in axes.get_title(loc="left")


def test_one_voxel_and_a_name_with_dollar_signs(make_report, tmp_path):
    """A name is text, no formula."""
    from dataclasses import replace

    report = make_report(1, nifti=True, one_voxel=True)
    report = replace(report, ct=replace(report.ct, name="a$_b$c"))
    figure.write(report, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as drawn:
        assert drawn.size == (1800, 1080)


def test_same_report_same_bytes_and_nothing_of_the_patient(make_report, tmp_path):
    report = make_report(1, patient_name="Secret^Name")
    figure.write(report, tmp_path / "a.png")
    figure.write(report, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert "Secret" not in words(figure.draw(report))


def test_says_what_to_install(make_report, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(UsageError, match=r'figure.png needs matplotlib .*pip install "monai-lung\[dicom\]"'):
        figure.write(make_report(0, nifti=True), tmp_path / "figure.png")


@pytest.mark.parametrize("name", ["8807a8bd8a48", "study_of_the_chest_follow_up_without_contrast_medium_3"])
def test_a_long_title_stays_within_the_picture(make_report, name):
    report = make_report(3, nifti=True)
    drawn = figure.draw(replace(report, ct=replace(report.ct, name=name)))
    renderer = pytest.importorskip("matplotlib.backends.backend_agg").FigureCanvasAgg(drawn).get_renderer()
    (title,) = (text for text in drawn.texts if name in text.get_text())
    assert title.get_window_extent(renderer).x1 < drawn.bbox.width
