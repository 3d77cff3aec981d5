"""The tutorial notebook: in order as it lies there, and run from the first to the last cell."""

from __future__ import annotations

import ast
import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from pages import NOTEBOOK


def _cells(kind: str) -> list[dict[str, Any]]:
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert content["nbformat"] == 4
    return [cell for cell in content["cells"] if cell["cell_type"] == kind]


def test_no_outputs_and_no_paths_of_a_machine() -> None:
    for cell in _cells("code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
    assert not re.findall(r"(?<![\w.])/(?:home|tmp|root|work|Users|mnt)\b", NOTEBOOK.read_text(encoding="utf-8"))


def test_code_is_valid_and_imports_what_exists() -> None:
    tree = ast.parse("\n".join("".join(cell["source"]) for cell in _cells("code")))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in imports if str(node.module).startswith("monai_lung")]
    assert len(ours) > 5
    for node in ours:
        module = importlib.import_module(str(node.module))
        assert not [alias.name for alias in node.names if not hasattr(module, alias.name)]


def test_every_stage_is_explained() -> None:
    titles = re.findall(r"^## (.*)$", "\n".join("".join(cell["source"]) for cell in _cells("markdown")), re.M)
    wanted = ("Read it", "Look at it", "Lungs", "Find", "Delineate", "Rate", "Measure", "All at once")
    assert [title for title in titles if title.startswith(wanted)] == [
        title for start in wanted for title in titles if title.startswith(start)
    ]


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="needs the extra docs")
    nbformat = pytest.importorskip("nbformat", reason="needs the extra docs")
    pytest.importorskip("ipykernel", reason="needs the extra docs")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)

    nbclient.NotebookClient(notebook, timeout=1800, kernel_name="python3", resources={}).execute(cwd=str(tmp_path))

    printed = "".join(o.get("text", "") for c in notebook.cells for o in c.get("outputs", ()) if "text" in o)
    assert re.search(r"right \d{4} ml, left \d{4} ml", printed)
    (folder,) = tmp_path.glob("monai-lung-*/out/*")
    assert {"findings.json", "report.html", "seg.dcm", "sr.dcm", "figure.png"} <= {p.name for p in folder.iterdir()}
    images = [o for c in notebook.cells for o in c.get("outputs", ()) if "image/png" in o.get("data", {})]
    assert len(images) >= 4
