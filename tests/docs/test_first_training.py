"""The tutorial `docs/tutorials/first-training.md`, run from its first command to its last with fewer epochs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from page_runner import lines_of, run_line
from pages import ROOT

PAGE = (ROOT / "docs" / "tutorials" / "first-training.md").read_text(encoding="utf-8")
FEW = ("--recipes#cpu#epochs", "2", "--recipes#cpu#batch", "2", "--recipes#cpu#patch", "[16, 16, 16]")


@pytest.mark.slow
def test_every_command_of_the_tutorial_runs(tmp_path: Path) -> None:
    for language, name, text in re.findall(r"^```(\w*) ?([^\n]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        if language == "python":
            (tmp_path / name).write_text(text)
            continue
        folder = tmp_path
        for line in lines_of(text):
            if line.startswith("cd "):
                folder = folder / line.removeprefix("cd ")
                continue
            few = FEW if "configs/train.json" in line else ()
            given = re.sub(r"--recipes#cpu#epochs \d+", "", line) if few else line
            done = run_line(given, folder, options=few)
            assert done.returncode == 0, f"{line}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
    metrics = json.loads((tmp_path / "out" / "mine" / "metrics.json").read_text())
    assert metrics["figures"]["dice"]["all"]["n"] == 4
    (case,) = (tmp_path / "out" / "phantom").iterdir()
    weights = json.loads((case / "findings.json").read_text())["weights"]
    stored = json.loads((tmp_path / "my_segmentation" / "configs" / "metadata.json").read_text())["weights_sha256"]
    assert weights["delineate"] == stored["model.pt"]
