"""The page of a case: valid, self-contained, inert to what the data say, and drawn the right way round."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from itertools import pairwise

import numpy as np
import pytest
from page_browser import shown
from PIL import Image

from monai_lung.model import CT
from monai_lung.report import html
from monai_lung.report.html.nodule_views import VOXELS_HU, nodule_views, to_bytes
from monai_lung.report.html.page import MAX_VOXELS_BYTES, page
from monai_lung.report.views import (
    PLANES,
    ViewBox,
    contours,
    coronal_overview,
    grey,
    picture,
    sample_ct,
    sample_outline,
)

LAYOUTS = ("plain", "feet-first", "flipped", "prone", "oblique", "non-square", "tilted")
TOWARDS = {"L": (14, 0, 0), "R": (-14, 0, 0), "P": (0, 14, 0), "A": (0, -14, 0), "S": (0, 0, 14), "I": (0, 0, -14)}
VOID = {"meta", "img", "input", "br", "link", "hr"}
SVG_VOID = {"rect", "line", "path", "circle", "image"}


@pytest.fixture(autouse=True)
def coarse_overview(monkeypatch):
    """Pixels as large as the phantom's voxels: nothing is lost, and a test takes a tenth of the time."""
    monkeypatch.setattr("monai_lung.report.views.OVERVIEW_MM", 3.0)


class Parsed(HTMLParser):
    """Elements with their attributes, the text, and whether every element is closed where it was opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        self.elements.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in VOID and tag not in SVG_VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag):
        if tag in SVG_VOID:
            return
        assert self.open, f"closes {tag}, nothing open"
        opened = self.open.pop()
        assert opened == tag, f"{opened} closed by {tag} at {self.getpos()}"

    def handle_data(self, data):
        if self.open and self.open[-1] in self.inside:
            self.inside[self.open[-1]].append(data)
        else:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def is_data(script: str) -> bool:
    """Whether a script element holds JSON, which no browser runs."""
    return script.lstrip().startswith('{"')


def decode(url: str) -> np.ndarray:
    """Grey values of a data URL."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1]))))


def kept_hu(steps: np.ndarray) -> np.ndarray:
    """HU that the page's bytes stand for."""
    return np.interp(steps, *zip(*VOXELS_HU, strict=True))


def with_marker(ct: CT, point_mm: np.ndarray) -> CT:
    """The CT with a bright ball of about 4 mm around a point, whatever its grid."""
    hu = ct.hu.copy()
    middle = np.rint(ct.to_index(point_mm)).astype(int)
    low, high = middle - 3, middle + 4
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    world = ct.to_world(np.stack(np.meshgrid(*[np.arange(*b) for b in zip(low, high, strict=True)], indexing="ij"), -1))
    hu[box][np.linalg.norm(world - point_mm, axis=-1) < 4] = 3000
    return replace(ct, hu=hu)


class TestOrientation:
    """A marked voxel appears on the side of the picture that its letter names."""

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_views(self, make_report, layout):
        report = make_report(1, layout=layout, nifti=True, shape=(96, 80, 56))
        nodule = report.nodules[0]
        center = np.array(nodule.measurements.center_mm)
        box = ViewBox.around(nodule.measurements.center_mm, 20.0)
        middle = (box.shape[0] - 1) / 2
        indices = dict(zip(("sagittal", "coronal", "axial"), box.nearest(nodule.measurements.center_mm), strict=True))
        edges = {view.plane: view.edges for view in nodule_views(report.ct, nodule).views}
        for letter, offset_mm in TOWARDS.items():
            volume = sample_ct(with_marker(report.ct, center + offset_mm), box)
            for plane, index in indices.items():
                rows, columns = np.nonzero(picture(volume, plane, index) > 1500)
                if letter not in edges[plane]:
                    assert len(rows) == 0, f"{letter} is out of the {plane} plane"
                    continue
                found = np.array([columns.mean() - middle, rows.mean() - middle]) * box.spacing_mm
                expected = 14.0 * np.array([(-1, 0), (1, 0), (0, -1), (0, 1)][edges[plane].index(letter)])
                assert found == pytest.approx(expected, abs=2.5), (letter, plane)
                placed = np.array(box.place(plane, tuple(center + offset_mm)))
                assert (placed - middle) * box.spacing_mm == pytest.approx(expected, abs=0.5), (letter, plane)

    @pytest.mark.parametrize("layout", ["plain", "feet-first", "oblique"])
    def test_overview_marks_the_nodule(self, make_report, layout):
        report = make_report(1, layout=layout, nifti=True)
        image, box = coronal_overview(report)
        center = report.nodules[0].measurements.center_mm
        column, row = box.place("coronal", center)
        assert 0 <= column < image.shape[1]
        assert 0 <= row < image.shape[0]
        here = image[round(row) - 1 : round(row) + 2, round(column) - 1 : round(column) + 2]
        assert here.min() > np.percentile(image, 60), "the nodule is bright in the overview"
        left_of_patient = np.array(report.lungs.labels == 2)
        points = report.ct.to_world(np.argwhere(left_of_patient).astype(float))
        assert np.mean([box.place("coronal", tuple(p))[0] for p in points[:: len(points) // 50]]) > image.shape[1] / 2

    def test_real_scan_lies_the_right_way(self, data_dir):
        """LIDC-IDRI-0001, feet first: its nodule is in the left lung, at the back, and bright in its own view."""
        from monai_lung.io import read_ct

        ct = read_ct(data_dir / "ct" / "LIDC-IDRI-0001" / "dicom")
        box = ViewBox.around((56.0, 86.0, -116.0), 30.0)
        middle = box.shape[0] // 2
        image = picture(sample_ct(ct, box), "axial", middle)
        assert image[middle - 3 : middle + 4, middle - 3 : middle + 4].mean() > -100
        back = image[-5:, middle - 10 : middle + 10].mean()
        front = image[:5, middle - 10 : middle + 10].mean()
        assert back > front + 300, "the chest wall is below, lung above"


class TestOutlines:
    def test_agree_with_the_mask_at_voxel_centres(self, make_report):
        report = make_report(2, layout="oblique", nifti=True)
        outline = report.nodules[0].outline
        for index in np.ndindex(outline.mask.shape):
            point = report.ct.to_world(np.array(index, float) + outline.offset)
            value = sample_outline(report.ct, outline, ViewBox(tuple(point), 1.0, (1, 1, 1)))[0, 0, 0]
            assert (value >= 0.5) == outline.mask[index]

    def test_area_is_that_of_the_ellipse(self, make_report):
        """On a fine grid the outline of the middle slice encloses the phantom's ellipse, axes 2r and 1.6r."""
        report = make_report(1, nifti=True, shape=(144, 120, 44), spacing_mm=(2.0, 2.0, 5.0))
        nodule = report.nodules[0]
        m = nodule.measurements
        box = ViewBox.around(m.center_mm, m.max_diameter_3d_mm)
        level = picture(sample_outline(report.ct, nodule.outline, box), "axial", box.nearest(m.center_mm)[2])
        (line,) = contours(level)
        x, y = line.T * box.spacing_mm
        area = abs(np.dot(x[:-1], np.diff(y)) - np.dot(y[:-1], np.diff(x))) / 2
        assert area == pytest.approx(np.pi / 4 * m.long_axis_mm * m.short_axis_mm, rel=0.05)

    def test_one_voxel_has_an_outline_in_each_view(self, make_report):
        report = make_report(2, nifti=True, one_voxel=True)
        for view in nodule_views(report.ct, report.nodules[-1]).views:
            assert view.outlines[view.start].startswith("M")

    def test_nodule_at_the_edge_of_the_scan(self, make_report):
        """Beyond the field of view the box holds air, and the outline closes."""
        report = make_report(1, nifti=True)
        m = replace(report.nodules[0].measurements, center_mm=tuple(report.ct.affine_lps[:3, 3]))
        views = nodule_views(report.ct, replace(report.nodules[0], measurements=m))
        volume = sample_ct(report.ct, views.box)
        assert volume.min() == -1024
        assert {view.plane for view in views.views} == set(PLANES)

    def test_axes_are_drawn_where_they_were_measured(self, make_report):
        report = make_report(1, nifti=True)
        m = report.nodules[0].measurements
        views = nodule_views(report.ct, report.nodules[0])
        axial = views.views[0]
        for (x1, y1, x2, y2), length in zip(axial.axes, (m.long_axis_mm, m.short_axis_mm), strict=True):
            assert np.hypot(x2 - x1, y2 - y1) * views.box.spacing_mm == pytest.approx(length, rel=1e-6)

    def test_the_line_beside_10_mm_is_as_long(self, make_report, tmp_path):
        report = make_report(1, nifti=True)
        html.write(report, tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text()
        lines = re.findall(r'class="scale" x1="([\d.]+)" x2="([\d.]+)"', page)
        spacing_mm = nodule_views(report.ct, report.nodules[0]).box.spacing_mm
        assert [(float(x2) - float(x1)) * spacing_mm for x1, x2 in lines] == pytest.approx([10] * 3)
        assert len(re.findall(r'<text class="length"[^>]*>10 mm</text>', page)) == 3

    def test_voxels_are_the_sampled_ct(self, make_report):
        """Tiles from the feet up, as the script reads them; JPEG errs by a few grey values."""
        report = make_report(1, nifti=True)
        views = nodule_views(report.ct, report.nodules[0])
        n, columns = views.box.shape[2], views.columns
        tiles = decode(views.voxels)
        hu = to_bytes(sample_ct(report.ct, views.box))
        for z in (0, n // 2, n - 1):
            top, left = z // columns * n, z % columns * n
            error = tiles[top : top + n, left : left + n].astype(int) - hu[:, :, z].T
            assert np.abs(error).mean() < 3


class TestPage:
    def test_is_well_formed_and_labelled(self, make_report):
        parsed = Parsed(page(make_report(3, growth=True, warnings=("Thick slices.",))))
        ids = [a["id"] for _, a in parsed.elements if "id" in a]
        assert len(ids) == len(set(ids))
        for _, attributes in parsed.elements:
            for name in attributes.get("aria-labelledby", "").split():
                assert name in ids
            assert "style" not in attributes, "the policy would drop it"
            assert not [name for name in attributes if name.startswith("on")]
        assert all(a.get("alt") for a in parsed.all("img"))
        assert all(a.get("aria-label") for a in parsed.all("input"))
        assert all(a["href"][1:] in ids for a in parsed.all("a"))
        levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        tags = {tag for tag, _ in parsed.elements}
        assert {"header", "main", "section", "article", "caption", "figcaption", "th"} <= tags

    def test_asks_for_nothing_outside(self, make_report):
        parsed = Parsed(page(make_report(2)))
        for tag, attributes in parsed.elements:
            for name in ("src", "href", "action", "data", "poster", "srcset"):
                if name in attributes:
                    assert attributes[name].startswith(("data:image/jpeg", "#")), (tag, attributes)
        for text in parsed.inside["style"] + [t for t in parsed.inside["script"] if not is_data(t)]:
            assert not re.search(r"https?:|//[a-z]|url\(|@import|fetch\(|XMLHttp|eval\(|innerHTML", text)

    def test_policy_allows_exactly_its_own_styles_and_script(self, make_report):
        parsed = Parsed(page(make_report(1)))
        policy = next(a["content"] for a in parsed.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        code = [t for t in parsed.inside["script"] if not is_data(t)]
        texts = parsed.inside["style"] + code
        digests = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts}
        assert set(re.findall(r"'sha256-([^']+)'", policy)) == digests

    def test_what_the_data_say_is_inert(self, make_report):
        attack = '<img src=x onerror=alert(1)></script><script>alert("2")</script>'
        report = make_report(1, patient_name="Plain^Name", warnings=(f"Kernel {attack}",))
        plain = Parsed(page(report, show_patient=True))
        assert report.ct.series is not None
        ct = replace(
            report.ct,
            name=attack,
            patient=(attack, attack),
            series=replace(report.ct.series, description=attack, kernel=attack),
        )
        advice = replace(report.guidelines["lung_rads_2022"], advice=attack, rule=attack, inputs={attack: attack})
        report = replace(report, ct=ct, guidelines={"lung_rads_2022": advice}, software={attack: attack})
        hostile = Parsed(page(report, show_patient=True))
        assert len(hostile.all("script")) == len(plain.all("script"))
        assert len(hostile.all("img")) == len(plain.all("img"))
        assert hostile.words.count('alert("2")') >= 8, "shown as text"

    def test_patient_only_on_request(self, make_report):
        report = make_report(1, patient_name="Müller^Jürgen")
        assert "Müller" not in page(report)
        assert "PID-4711" not in page(report)
        assert str(report.ct.path) not in page(report, show_patient=True)
        shown = Parsed(page(report, show_patient=True)).words
        assert "Müller^Jürgen, PID-4711" in shown

    def test_says_what_was_found(self, make_report):
        report = make_report(3, growth=True, warnings=("Thick slices.",))
        words = Parsed(page(report)).words
        for nodule in report.nodules:
            m = nodule.measurements
            assert f"{m.long_axis_mm:.1f} × {m.short_axis_mm:.1f} mm" in words
            assert f"{m.volume_mm3:.0f} mm³" in words
            if nodule.growth.status != "new":
                assert f"{nodule.growth.prior_volume_mm3:.0f} mm³" in words
            assert nodule.growth.status in words
        for said in (
            "3 nodules found, 1 of the prior gone",
            "1 warning Thick slices.",
            "Research use; decision support, not a diagnosis",
            "2019-05-06",
            "2020-05-02",
            "43 % (30 to 60 %)",
            "low: CT 6-12 mo, consider 18-24, high: CT 6-12 and 18-24 mo",
            "Not known lobe",
            "2 to 4 %",
            "ab" * 32,
            "1.6.1",
            "95 mm³",
        ):
            assert said in words, said

    def test_no_nodules(self, make_report, tmp_path):
        html.write(make_report(0), tmp_path / "report.html")
        parsed = Parsed((tmp_path / "report.html").read_text(encoding="utf-8"))
        assert "No nodules found" in parsed.words
        assert "Lung-RADS v2022 1 LDCT in 12 months" in parsed.words
        assert not parsed.all("article")
        assert len(parsed.all("image")) == 1, "the overview is there"

    def test_dates_and_advice_missing(self, make_report):
        report = make_report(1, growth=True, nifti=True)
        nodule = replace(
            report.nodules[0],
            guidelines={},
            growth=replace(report.nodules[0].growth, prior_date=None, doubling_days=None, interval_days=None),
        )
        report = replace(
            report,
            ct=replace(report.ct, study_date=None),
            nodules=(nodule,),
            guidelines={},
            prior=replace(report.prior, study_date=None, source="result"),
            timing_s={},
        )
        words = Parsed(page(report)).words
        assert "Without a date, so there are no doubling times" in words
        assert "which is coarser" in words
        assert "prior, no date" in words
        assert "Doubling time" not in words

    def test_thirty_masses_stay_under_15_mb_and_scroll(self, make_report):
        """The worst of thirty: each as large as a mass of 60 mm, its box full of noise as a scan's."""
        report = make_report(30, nifti=True)
        noise = np.random.default_rng(0).normal(0, 30, report.ct.hu.shape)
        large = [replace(n, measurements=replace(n.measurements, max_diameter_3d_mm=60.0)) for n in report.nodules]
        report = replace(
            report, ct=replace(report.ct, hu=(report.ct.hu + noise).astype(np.int16)), nodules=tuple(large)
        )
        text = page(report)
        assert len(text.encode()) < 15e6
        assert len([a for a in Parsed(text).all("script") if a.get("class") == "voxels"]) == 30

    def test_two_hundred_nodules(self, make_report, monkeypatch):
        """All are shown; past the limit the views stand still, and the page says so."""
        monkeypatch.setattr("monai_lung.report.html.page.MAX_VOXELS_BYTES", 300_000)
        text = page(make_report(200, nifti=True))
        parsed = Parsed(text)
        assert len(parsed.all("article")) == 200
        scrolling = len([a for a in parsed.all("script") if a.get("class") == "voxels"])
        assert 0 < scrolling < 200
        assert f"only the {scrolling} most urgent nodules can be scrolled" in parsed.words
        assert len(text) < 15e6 - MAX_VOXELS_BYTES


@pytest.mark.parametrize("theme", ["page.css", "dark.css"])
def test_contrast_is_aa(theme):
    """WCAG 2: text 4.5 to 1, marks and frames of controls 3 to 1."""
    text = resources.files("monai_lung.report.html").joinpath(theme).read_text(encoding="utf-8")
    colour = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6})", text))

    def luminance(name: str) -> float:
        code = colour[name][1:]
        code = code if len(code) == 6 else "".join(c * 2 for c in code)
        parts = [int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    def contrast(a: str, b: str) -> float:
        low, high = sorted((luminance(a), luminance(b)))
        return (high + 0.05) / (low + 0.05)

    for ink in ("ink", "soft", "link"):
        for ground in ("sheet", "ground", "warn-ground"):
            assert contrast(ink, ground) >= 4.5, (ink, ground)
    assert contrast("sheet", "value") >= 4.5
    assert contrast("value", "range") >= 3
    assert contrast("focus", "sheet") >= 3


@pytest.mark.slow
class TestBrowser:
    @pytest.mark.parametrize("plane", list(PLANES))
    def test_scrolls_by_slider_keys_buttons_and_wheel(self, make_report, open_report, plane):
        """Each way moves the slice, and the canvas shows what Python draws of that slice."""
        report = make_report(2, layout="oblique", growth=True)
        tab = open_report(report)
        view = tab.locator(f"#nodule-1 [data-plane={plane}]")
        view.scroll_into_view_if_needed()
        slider = view.locator("input")
        position = view.locator("output")
        start = int(slider.input_value())
        texts = [position.inner_text()]

        slider.focus()
        tab.keyboard.press("ArrowUp")
        assert int(slider.input_value()) == start + 1
        view.locator("[data-step='1']").click()
        assert int(slider.input_value()) == start + 2
        tab.wait_for_timeout(400)
        view.locator(".stage").hover()
        tab.mouse.wheel(0, -100)
        tab.wait_for_function("([s, v]) => Number(s.value) > v", arg=[slider.element_handle(), start + 2])
        slider.fill(str(start + 7))
        view.locator("canvas").wait_for(state="visible")
        tab.wait_for_function("([o, t]) => o.innerText !== t", arg=[position.element_handle(), texts[0]])

        views = nodule_views(report.ct, report.nodules[0])
        hu = picture(sample_ct(report.ct, views.box), plane, start + 7)
        expected = grey(kept_hu(to_bytes(hu)), (-1350.0, 150.0))
        assert np.abs(shown(tab, plane).astype(int) - expected).mean() < 3
        drawn = view.locator(".outline").get_attribute("d")
        assert drawn == next(v for v in views.views if v.plane == plane).outlines.get(start + 7, "")

    def test_a_click_moves_the_other_planes(self, make_report, open_report):
        tab = open_report(make_report(1))
        axial = tab.locator("#nodule-1 [data-plane=axial] .stage")
        axial.scroll_into_view_if_needed()
        size = axial.bounding_box()["width"]
        axial.click(position={"x": size * 0.25, "y": size * 0.75})
        n = int(tab.locator("#nodule-1 [data-plane=axial] input").get_attribute("max")) + 1
        sagittal, coronal = (
            int(tab.locator(f"#nodule-1 [data-plane={plane}] input").input_value()) for plane in ("sagittal", "coronal")
        )
        assert sagittal == pytest.approx(n * 0.25, abs=1.5)
        assert coronal == pytest.approx(n * 0.75, abs=1.5)

    def test_outlines_window_and_theme_toggle(self, make_report, open_report):
        tab = open_report(make_report(2), color_scheme="light")
        outline = tab.locator("#nodule-1 [data-plane=axial] .outline")
        assert outline.is_visible()
        tab.get_by_role("button", name="Outlines").click()
        assert not outline.is_visible()
        tab.get_by_role("button", name="Axes").click()
        assert not tab.locator("#nodule-1 .axes line").first.is_visible()
        tab.get_by_role("button", name="Soft tissue").click()
        tab.locator("#nodule-1 [data-plane=axial] canvas").wait_for(state="visible")
        tab.wait_for_timeout(300)
        assert (shown(tab, "axial") == 0).mean() > 0.5, "lung is black in the soft tissue window"
        ground = "getComputedStyle(document.body).backgroundColor"
        light = tab.evaluate(ground)
        dark = tab.get_by_role("button", name="Dark")
        dark.click()
        assert dark.get_attribute("aria-pressed") == "true"
        assert tab.evaluate(ground) != light
        dark.click()
        assert tab.evaluate(ground) == light

    def test_dark_where_the_system_is(self, make_report, open_report):
        tab = open_report(make_report(0), color_scheme="dark")
        assert tab.get_by_role("button", name="Dark").get_attribute("aria-pressed") == "true"
        red = int(re.findall(r"\d+", tab.evaluate("getComputedStyle(document.body).backgroundColor"))[0])
        assert red < 50

    def test_reachable_by_keyboard(self, make_report, open_report):
        """Tab goes through the display's buttons, the overview's circles, the table's links and the sliders."""
        tab = open_report(make_report(1))
        reached = []
        for _ in range(40):
            tab.keyboard.press("Tab")
            reached.append(
                tab.evaluate("(document.activeElement.getAttribute('aria-label') || document.activeElement.innerText)")
            )
        assert reached.index("Outlines") < reached.index("Nodule 1")
        assert [r for r in reached if r.endswith("slice of nodule 1")] == [
            "Axial slice of nodule 1",
            "Coronal slice of nodule 1",
            "Sagittal slice of nodule 1",
        ]

    def test_without_scripts_it_still_shows_everything(self, make_report, open_report):
        tab = open_report(make_report(1), java_script_enabled=False)
        assert tab.locator("#nodule-1 img").count() == 4, "the whole slice and three planes"
        assert tab.locator("#nodule-1 .outline").first.is_visible()
        assert not tab.get_by_role("button", name="Outlines").is_visible()

    def test_narrow_screen_has_no_sideways_scroll(self, make_report, open_report):
        tab = open_report(make_report(2, growth=True))
        tab.set_viewport_size({"width": 390, "height": 800})
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390

    def test_thirty_nodules_open_in_a_second(self, make_report, open_report):
        """The renderer's processor time, which other work on the machine doesn't change."""
        report = make_report(30, nifti=True)
        noise = np.random.default_rng(0).normal(0, 30, report.ct.hu.shape)
        report = replace(report, ct=replace(report.ct, hu=(report.ct.hu + noise).astype(np.int16)))
        tab = open_report(report)
        session = tab.context.new_cdp_session(tab)
        session.send("Performance.enable")

        def spent() -> float:
            metrics = session.send("Performance.getMetrics")["metrics"]
            return next(m["value"] for m in metrics if m["name"] == "ProcessTime")

        times = []
        for _ in range(3):
            before = spent()
            tab.reload()
            times.append(spent() - before)
        assert min(times) < 1.0

    def test_prints_each_card_unbroken(self, make_report, open_report, tmp_path):
        """Every card starts and ends on one page, and the notice is at the foot of each."""
        tab = open_report(make_report(6, growth=True))
        tab.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
        if shutil.which("pdftotext") is None:
            pytest.skip("pdftotext isn't installed: the printed pages can't be read")
        command = ["pdftotext", "-layout", str(tmp_path / "report.pdf"), "-"]
        pages = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\f")[:-1]
        assert all("Research use; decision support, not a diagnosis" in text for text in pages)
        starts, ends = ([text.count(word) for text in pages] for word in ("Measurements", "probability of cancer"))
        ends[0] -= 1  # the examination's own
        assert starts == ends
        assert sum(starts) == 6
        assert len(pages) <= 8


def test_script_data_is_json(make_report):
    """The block that the script parses survives the escaping of the template."""
    parsed = Parsed(page(make_report(1, nifti=True)))
    (block,) = [t for t in parsed.inside["script"] if t.lstrip().startswith('{"')]
    data = json.loads(block)
    assert decode(data["voxels"]).shape[1] == data["size"] * data["columns"]
    assert set(data["outlines"]) == set(PLANES)
