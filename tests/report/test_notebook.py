"""A CT and a report show themselves in a notebook."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from monai_lung.errors import UsageError
from monai_lung.model import Report

MakeReport = Callable[..., Report]


def well_formed(text: str) -> bool:
    open_tags: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("br", "img"):
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

        def handle_startendtag(self, tag: str, attrs: object) -> None:
            pass

    Parser().feed(text)
    return not open_tags


def test_a_report_is_a_card_for_each_nodule(make_report: MakeReport) -> None:
    report = make_report(3, warnings=("Slices are 5 mm apart & <thick>.",))
    text = report._repr_html_()
    assert well_formed(text)
    assert text.count("<svg") == text.count('<path d="M') == 3
    assert f"{report.nodules[0].measurements.volume_mm3:.0f} mm³" in text
    assert "5 mm apart &amp; &lt;thick&gt;" in text
    assert "not a diagnosis" in text
    assert len(text) < 200_000
    assert not re.search(r"https?://(?!www\.w3\.org)", text)  # nothing is fetched


def test_of_many_nodules_the_largest_are_shown(make_report: MakeReport) -> None:
    text = make_report(20)._repr_html_()
    assert text.count("<svg") == 12
    assert "8 more are not shown" in text


def test_a_ct_is_two_pictures_and_its_size(make_report: MakeReport) -> None:
    ct = make_report(0).ct
    text = ct._repr_html_()
    assert well_formed(text)
    assert text.count("<img") == 2
    assert " x ".join(map(str, ct.hu.shape)) in text


def test_the_table_has_the_columns_of_the_csv(make_report: MakeReport) -> None:
    pytest.importorskip("pandas")
    report = make_report(2)
    frame = report.to_dataframe()
    assert sorted(frame["nodule"]) == [1, 2]
    volumes = dict(zip(frame["nodule"], frame["volume_mm3"], strict=True))
    assert volumes[1] == pytest.approx(report.nodules[0].measurements.volume_mm3, abs=0.01)
    assert {"center_x_mm", "malignancy_probability", "lung_rads_2022_category"} <= set(frame.columns)


def test_the_plot_is_a_figure_that_notebooks_draw(make_report: MakeReport) -> None:
    pytest.importorskip("matplotlib")
    figure = make_report(2).plot()
    figure.canvas.draw()
    assert len(figure.axes) >= 3  # the overview and two nodules


def test_without_the_libraries_the_text_is_shown(make_report: MakeReport, monkeypatch: pytest.MonkeyPatch) -> None:
    report = make_report(1)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    assert report._repr_html_() is None
    monkeypatch.setitem(sys.modules, "ipyniivue", None)
    with pytest.raises(UsageError, match=r'ipyniivue.*pip install "monai-lung\[notebook\]"'):
        report.view()


def test_the_viewer_gets_ct_lungs_and_nodules(make_report: MakeReport, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files lie on the CT's grid."""
    import nibabel

    ipyniivue = pytest.importorskip("ipyniivue")
    report = make_report(2)
    viewer = report.view()
    assert viewer._trait_values["opts"] is not None
    assert [volume.name for volume in viewer.volumes] == ["ct.nii", "lungs.nii", "nodules.nii"]
    for volume in viewer.volumes:
        assert nibabel.Nifti1Image.from_bytes(volume.data).shape == report.ct.hu.shape
    assert ipyniivue.SliceType.MULTIPLANAR


def test_a_report_with_unknown_place_shows(make_report: MakeReport) -> None:
    report = make_report(1)
    nodule = report.nodules[0]
    unknown = replace(nodule.measurements, side=None, third=None, pleura_distance_mm=None)
    text = replace(report, nodules=(replace(nodule, measurements=unknown),))._repr_html_()
    assert "place in the lungs unknown" in text
    assert "None" not in text
