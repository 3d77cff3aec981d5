"""The viewer's page in headless Chromium, with the NiiVue that ipyniivue brings."""

from __future__ import annotations

import re
import shutil
import threading
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from page_browser import CHROMIUM
from PIL import Image

from monai_lung.model import Report
from monai_lung.view.content import contents
from monai_lung.view.server import ViewServer

pytestmark = pytest.mark.slow
_SOFTWARE_GL = " --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader --ignore-gpu-blocklist"


@pytest.fixture(scope="module")
def tab(shown: Report):
    """The page of the phantom, loaded; at the end no error and no request but to its own address."""
    if find_spec("ipyniivue") is None:
        pytest.skip("ipyniivue isn't installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine")
    problems: list[str] = []
    flags = (CHROMIUM.replace(" --disable-gpu", "") + _SOFTWARE_GL).split()
    with ViewServer(contents(shown)) as server, playwright.sync_playwright() as driver:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        browser = driver.chromium.launch(executable_path=path, args=flags)
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.set_default_timeout(180_000)
        page.on("pageerror", lambda e: problems.append(str(e)))
        page.on("console", lambda m: m.type == "error" and problems.append(m.text))
        allowed = ("data:", "blob:", server.url)
        page.on("request", lambda r: r.url.startswith(allowed) or problems.append(f"request: {r.url}"))
        page.goto(server.url)
        page.wait_for_selector("body[data-state]", state="attached")
        assert page.get_attribute("body", "data-state") == "ready", page.inner_text("#status")
        yield page
        browser.close()
        server.shutdown()
        thread.join(10)
    assert not problems


def picture(tab, path: Path) -> np.ndarray:
    """Colours (rows, columns, 3) of the three planes."""
    tab.wait_for_timeout(500)
    tab.locator("#viewer").screenshot(path=path)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def red(image: np.ndarray) -> int:
    """How many of them are red."""
    r, g, b = np.moveaxis(image, -1, 0)
    return int(((r > 120) & (r > 1.5 * g) & (r > 1.5 * b)).sum())


def test_three_planes_with_the_first_finding_outlined(tab, tmp_path: Path) -> None:
    tab.screenshot(path=tmp_path / "page.png")
    image = picture(tab, tmp_path / "planes.png")
    assert (image.max(-1) > 60).mean() > 0.2  # tissue
    assert red(image) > 20
    tab.click("[data-mask=outlines]")
    assert red(picture(tab, tmp_path / "without.png")) == 0
    tab.click("[data-mask=outlines]")
    tab.click("[data-mask=nodules]")
    assert red(picture(tab, tmp_path / "filled.png")) > red(image)
    tab.click("[data-mask=nodules]")


def test_each_finding_is_gone_to(tab, shown: Report) -> None:
    places = {}
    for row in tab.query_selector_all("#findings button"):
        row.click()
        number = int(tab.get_attribute("body", "data-finding"))
        places[number] = tab.inner_text("#place")
    assert set(places) == {1, 2, 3}
    for nodule in shown.nodules:
        said = [float(v) for v in re.findall(r"-?\d+\.\d", places[nodule.id])]
        assert np.linalg.norm(np.subtract(said, nodule.measurements.center_mm)) < 1.1 * max(shown.ct.spacing_mm)


def test_keys_go_through_the_findings(tab) -> None:
    seen = []
    for _ in range(3):
        tab.keyboard.press("n")
        seen.append(tab.get_attribute("body", "data-finding"))
    assert sorted(seen) == ["1", "2", "3"]
    tab.keyboard.press("p")
    assert tab.get_attribute("body", "data-finding") == seen[1]


def test_windows_change_the_picture(tab, tmp_path: Path) -> None:
    lung = picture(tab, tmp_path / "lung.png")
    tab.get_by_role("button", name="Soft tissue").click()
    assert np.abs(picture(tab, tmp_path / "soft.png") - lung).mean() > 3
    tab.get_by_role("button", name="Lung", exact=True).click()
