"""What a reader does on the page: slabs, windows and keys, the prior beside, decisions, the text to copy."""

from __future__ import annotations

import datetime
import re
from dataclasses import replace

import numpy as np
import pytest
from page_browser import shown

from monai_lung.model import Decision, Report
from monai_lung.report import findings, html, ris, table
from monai_lung.report.html.nodule_views import VOXELS_HU, nodule_views, to_bytes
from monai_lung.report.html.page import page
from monai_lung.report.views import PRESETS_HU, grey, picture, sample_ct


@pytest.fixture(autouse=True)
def coarse_overview(monkeypatch):
    """Pixels as large as the phantom's voxels: nothing is lost, and a test takes a tenth of the time."""
    monkeypatch.setattr("monai_lung.report.views.OVERVIEW_MM", 3.0)


@pytest.fixture
def with_prior(make_report) -> Report:
    """Nodules of every change, the earlier CT at hand: the same chest, where each nodule lies 3 mm higher."""
    report = make_report(3, growth=True)

    def moved(point):
        return (point[0], point[1], point[2] + 3.0)

    nodules = tuple(
        replace(
            n,
            growth=replace(
                n.growth,
                prior_center_mm=n.growth.prior_center_mm and moved(n.measurements.center_mm),
                mapped_mm=moved(n.measurements.center_mm),
                prior_outline=n.outline if n.growth.prior_center_mm else None,
            ),
        )
        for n in report.nodules
    )
    gone = tuple(n.measurements.center_mm for n in nodules[:1])
    prior = replace(
        report.prior,
        ct=report.ct,
        gone=((gone[0], 95.2),),
        gone_now_mm=gone,
        gone_outlines=(nodules[0].outline,),
    )
    return replace(report, nodules=nodules, prior=prior)


def test_the_prior_stands_beside_at_the_same_scale(with_prior):
    text = page(with_prior)
    assert text.count("prior-views") >= 3, "also what is new: the place where it wasn't"
    assert "slice of nodule 1 in the prior" in text
    assert "Not found now: 95 mm³" in text
    assert "The same place now" in text
    cards = re.findall(r'"spacing": ([\d.]+)', text)
    assert cards[0] == cards[1], "now and then"
    uncovered = replace(with_prior.nodules[0], growth=replace(with_prior.nodules[0].growth, status="not-covered"))
    assert "slice of nodule 1 in the prior" not in page(replace(with_prior, nodules=(uncovered,)))


def test_a_readers_decisions_are_shown(make_report):
    report = make_report(3)
    now = datetime.datetime(2024, 5, 1, 12, 0)
    report = replace(
        report,
        nodules=report.nodules[:2],
        rejected=report.nodules[2:],
        decisions=(Decision(1, "accepted", now), Decision(3, "rejected", now)),
    )
    text = page(report)
    assert "Rejected by a reader, not counted: no. 3" in text
    assert text.count("accepted by a reader") == 1
    assert 'id="nodule-3"' not in text


def test_candidates_are_faint_and_uncounted(make_report):
    report = make_report(3)
    aside = replace(report.nodules[2], set_aside="confidence")
    text = page(replace(report, nodules=report.nodules[:2], candidates=(aside,)))
    assert text.count('class="candidate"') == 1
    assert "1 further place below the operating point: not counted as nodules" in text
    assert "<b>2</b> nodules found" in text


def test_the_axial_view_names_the_image(make_report):
    report = make_report(1)
    slices = tuple(replace(s, image_number=100 + k) for k, s in enumerate(report.ct.slices))
    report = replace(report, ct=replace(report.ct, slices=slices))
    views = nodule_views(report.ct, report.nodules[0])
    z = views.box.first_mm[2] + views.views[0].start * views.box.spacing_mm
    nearest = min(range(len(slices)), key=lambda k: abs(slices[k].affine_lps[2, 3] - z))
    assert views.images[views.views[0].start] == 100 + nearest
    assert f"Axial, <output>image {100 + nearest}, z" in page(report)


@pytest.mark.slow
class TestReader:
    def test_slab_and_windows_by_key(self, make_report, open_report):
        """M shows the brightest of 5 mm, 3 the bone window: as Python draws it."""
        report = make_report(1)
        tab = open_report(report)
        views = nodule_views(report.ct, report.nodules[0])
        view = next(v for v in views.views if v.plane == "axial")
        tab.keyboard.press("m")
        tab.keyboard.press("3")
        tab.locator("#nodule-1 [data-plane=axial] canvas").wait_for(state="visible")
        tab.wait_for_timeout(500)
        half = int(5 / 2 / views.box.spacing_mm)
        steps = to_bytes(sample_ct(report.ct, views.box))[:, :, view.start - half : view.start + half + 1].max(2)
        hu = np.interp(steps, *zip(*VOXELS_HU, strict=True))
        bone = PRESETS_HU[2]
        expected = grey(picture(hu[:, :, None], "axial", 0), (bone.low, bone.high))
        assert np.abs(shown(tab, "axial").astype(int) - expected).mean() < 4
        assert tab.get_by_role("button", name="MIP 5 mm").get_attribute("aria-pressed") == "true"
        assert tab.get_by_role("button", name="Bone").get_attribute("aria-pressed") == "true"

    def test_now_and_then_scroll_together(self, with_prior, open_report):
        tab = open_report(with_prior)
        sliders = tab.locator("#nodule-1 [data-plane=coronal] input")
        assert sliders.count() == 2
        start = int(sliders.nth(0).input_value())
        sliders.nth(1).fill(str(start + 4))
        assert int(sliders.nth(0).input_value()) == start + 4
        tab.locator("#nodule-1 [data-plane=coronal] [data-step='-1']").first.click()
        assert int(sliders.nth(1).input_value()) == start + 3

    def test_decisions_give_the_command_and_are_kept(self, make_report, open_report, tmp_path):
        tab = open_report(make_report(3))
        assert not tab.locator(".decisions").is_visible()
        tab.locator("#nodule-3 [data-decision=reject]").click()
        tab.locator("#nodule-2 [data-decision=reject]").click()
        tab.locator("#nodule-1 [data-decision=accept]").click()
        assert tab.locator("#command").inner_text().endswith(f"{tmp_path.name} --reject 2,3 --accept 1")
        tab.reload()
        assert tab.locator("#nodule-3 [data-decision=reject]").get_attribute("aria-pressed") == "true"
        tab.locator("#nodule-3 [data-decision=reject]").click()
        assert "--reject 2 --accept 1" in tab.locator("#command").inner_text()

    def test_the_text_is_copied(self, make_report, open_report):
        report = make_report(2)
        tab = open_report(report, permissions=["clipboard-read", "clipboard-write"])
        tab.get_by_role("button", name="Copy the text").click()
        tab.wait_for_function("document.querySelector('.copying .said').textContent")
        assert tab.evaluate("navigator.clipboard.readText()").strip() == ris.text(report).strip()

    def test_n_goes_to_the_next_card(self, make_report, open_report):
        tab = open_report(make_report(3))
        tab.keyboard.press("n")
        assert tab.evaluate("document.activeElement.id") == "nodule-1"
        tab.wait_for_timeout(800)
        tab.keyboard.press("n")
        assert tab.evaluate("document.activeElement.id") == "nodule-2"

    def test_narrow_screen_with_a_prior(self, with_prior, open_report):
        tab = open_report(with_prior)
        tab.set_viewport_size({"width": 390, "height": 800})
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
def test_the_summary_runs_without_an_error(make_report, browser, tmp_path):
    """It shares the script with the page of a case."""
    problems = []
    (tmp_path / "out" / "case").mkdir(parents=True)
    findings.write(make_report(1), tmp_path / "out" / "case" / "findings.json")
    table.summarize(tmp_path / "out")
    tab = browser.new_page()
    tab.on("pageerror", lambda e: problems.append(str(e)))
    tab.goto((tmp_path / "out" / "summary.html").as_uri())
    tab.get_by_role("button", name="Dark").click()
    tab.close()
    assert not problems


@pytest.mark.slow
def test_the_cases_of_the_summary_are_sorted_and_filtered(make_report, browser, tmp_path):
    report = make_report(2)
    advice = report.guidelines["lung_rads_2022"]
    for name, category, nodules in (("ten", "2", 1), ("two", "4B", 2), ("none", None, 0)):
        guidelines = {"lung_rads_2022": replace(advice, category=category, label="", by_risk={})} if category else {}
        changed = replace(
            report, ct=replace(report.ct, name=name), nodules=report.nodules[:nodules], guidelines=guidelines
        )
        (tmp_path / name).mkdir()
        findings.write(changed, tmp_path / name / "findings.json")
    table.summarize(tmp_path)
    problems = []
    tab = browser.new_page()
    tab.on("pageerror", lambda e: problems.append(str(e)))
    tab.on("console", lambda m: m.type == "error" and problems.append(m.text))
    tab.goto((tmp_path / "summary.html").as_uri())

    def shown() -> list[str]:
        return tab.locator("table.cases tbody tr:visible th").all_inner_texts()

    assert shown() == ["two", "ten", "none"]
    tab.get_by_role("button", name="Case", exact=True).click()
    assert shown() == ["none", "ten", "two"]
    head = tab.get_by_role("button", name="Highest malignancy")
    head.click()
    assert tab.locator("th[aria-sort=descending]").inner_text().startswith("Highest malignancy")
    assert shown()[-1] == "none", "what isn't known comes last"
    head.click()
    assert shown()[-1] == "none", "either way round"
    tab.locator("[data-category='4B']").click()
    assert shown() == ["two"]
    assert tab.inner_text("#count") == "1 of 3 cases"
    tab.locator("[data-category='4B']").click()
    tab.fill("#words", "ten")
    assert shown() == ["ten"]
    tab.close()
    assert not problems


def test_page_is_one_function_away(make_report, tmp_path):
    """What is written is the page."""
    report = make_report(1)
    html.write(report, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page(report)
