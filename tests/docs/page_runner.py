"""Runs the shell lines of a page, as a reader would copy them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pages import ROOT


def run_line(
    line: str, folder: Path, *, package: Path = ROOT, options: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a line that calls `python` or `monai-lung` in `folder`, with the package that lies in `package`."""
    words = shlex.split(line, comments=True)
    program = {"python": [sys.executable], "monai-lung": [sys.executable, "-m", "monai_lung"]}[words[0]]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(package)}
    command = [*program, *words[1:], *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def lines_of(text: str) -> list[str]:
    """The lines of a block, continued ones joined."""
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
