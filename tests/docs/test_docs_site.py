"""The site builds without a warning, with a page for every module."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    for module in ("sphinx", "myst_nb", "furo", "pynetdicom"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {module}: the extras docs and service")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "-b", "html"]
    command += ["-c", str(ROOT / "docs"), "-d", str(tmp_path / "trees"), "-D", "nb_execution_mode=off"]
    done = subprocess.run(
        [*command, str(ROOT), str(tmp_path / "site")],
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    site = tmp_path / "site" / "docs"
    assert "toctree-l1" in (site / "index.html").read_text(encoding="utf-8")
    pages = {path.stem for path in (site / "api").glob("monai_lung*.html")}
    assert {"monai_lung.pipeline", "monai_lung.io.reader", "monai_lung.clinical.guidelines.brock"} <= pages
    assert "Mean of long and short axis" in (site / "api" / "monai_lung.model.html").read_text(encoding="utf-8")
