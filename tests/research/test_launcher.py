"""`tools/research`, up to where it would set anything up."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_it_lists_programs_that_are_there() -> None:
    said = subprocess.run([ROOT / "tools" / "research", "--help"], capture_output=True, text=True, check=True).stdout
    names = re.findall(r"^  ([\w.]+)  ", said, re.MULTILINE)
    files = [ROOT / "research" / name.replace(".", "/") for name in names]
    assert len(names) == 9
    assert not [f for f in files if not (f.with_suffix(".py").is_file() or (f / "__main__.py").is_file())]


def test_without_a_name_it_is_wrong_usage() -> None:
    assert subprocess.run([ROOT / "tools" / "research"], capture_output=True, check=False).returncode == 2
