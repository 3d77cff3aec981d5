"""A page in headless Chromium, for tests."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from monai_lung.model import Report
from monai_lung.report import html

CHROMIUM = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, driven by playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        instance = driver.chromium.launch(executable_path=path, args=CHROMIUM.split())
        yield instance
        instance.close()


@pytest.fixture
def open_report(browser, tmp_path):
    """Open a report in a new page; at the end there must be no error in the console and no request but the file's."""
    problems: list[str] = []
    contexts = []

    def opened(report: Report, **options):
        html.write(report, tmp_path / "report.html")
        context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda m: problems.append(f"{m.type}: {m.text}"))
        tab.on("pageerror", lambda e: problems.append(str(e)))
        address = (tmp_path / "report.html").as_uri()
        tab.on("request", lambda r: r.url.startswith(("data:", address)) or problems.append(f"request: {r.url}"))
        tab.goto(address)
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert not problems


def shown(tab, plane: str) -> np.ndarray:
    """Grey values (rows, columns) of the first nodule's canvas of a plane."""
    n, values = tab.evaluate(
        """(plane) => { const c = document.querySelector(`#nodule-1 [data-plane=${plane}] canvas`);
        const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
        return [c.width, Array.from(d).filter((_, i) => i % 4 === 0)]; }""",
        plane,
    )
    return np.array(values).reshape(n, n)
