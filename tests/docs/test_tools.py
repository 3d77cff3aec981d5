"""The scripts in `tools` name files of the repository that exist."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
from pages import ROOT, name

SCRIPTS = sorted(
    path
    for path in (ROOT / "tools").rglob("*")
    if path.is_file() and path.read_bytes().startswith((b"#!", b"# Sourced"))
)
_MADE = [line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()]


def _missing(script: str) -> list[str]:
    """Paths below $ROOT that aren't there, but for what the repository ignores; a path ends at the next variable."""
    found = re.findall(r'\$\{?ROOT\}?"?/([\w./*-]*)(\$?)', script)
    paths = {path.rpartition("/")[0] if cut else path for path, cut in found}
    kept = [path for path in paths if not any(fnmatch(f"{path}/", f"{made}/*") for made in _MADE)]
    return sorted(path for path in kept if not any(ROOT.glob(path)) and path)


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_files_of_a_script_exist(script: Path) -> None:
    assert not _missing(script.read_text(encoding="utf-8"))


def test_a_missing_file_is_noticed() -> None:
    assert len(SCRIPTS) > 10
    script = 'cat "$ROOT"/benchmarks/peers*.txt "$ROOT/tools/test" "$ROOT/.venv-x/bin" "${ROOT}/docs/$x" "$ROOT/no/$x"'
    assert _missing(script) == ["benchmarks/peers*.txt", "no"]
