from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))  # for the report's builder and the browser
from report_builder import build_report

from monai_lung.model import Report
from monai_lung.view.content import contents
from monai_lung.view.server import ViewServer


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A report of three nodules; the patient lies obliquely, so that places must go through the affine."""
    return build_report(tmp_path_factory.mktemp("view"), 3, shape=(72, 60, 44), layout="feet-first")


@pytest.fixture(scope="session")
def niivue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in for NiiVue's JavaScript, where ipyniivue isn't installed."""
    path = tmp_path_factory.mktemp("niivue") / "widget.js"
    path.write_text("export default {};\n", encoding="utf-8")
    return path


@pytest.fixture
def server(shown: Report, niivue: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("monai_lung.view.content.niivue_file", lambda: niivue)
    with ViewServer(contents(shown)) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join(10)
    assert not thread.is_alive()
