"""A whole analysis, killed at random moments: the output has all of a result or nothing, and a rerun completes it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

KILLS = 12


def _start(ct: Path, out: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "monai_lung", "-q", "analyze", str(ct), "-o", str(out), "--format", "all"]
    return subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _findings(case: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((case / "findings.json").read_text())
    for volatile in ("timing_s", "created", "output"):
        found.pop(volatile, None)
    return found


@pytest.mark.slow
def test_killed_at_random_moments(phantom_dir: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    began = time.monotonic()
    process = _start(phantom_dir, whole)
    _, error = process.communicate()
    lasts_s = time.monotonic() - began
    assert process.returncode == 0, error
    (reference,) = [p for p in whole.iterdir() if p.is_dir()]
    files = {str(p.relative_to(reference)) for p in reference.rglob("*")}
    assert len(files) > 6
    chance = random.Random(7)
    out, died = tmp_path / "out", 0
    for turn in range(KILLS):
        left = set(out.glob(".new-*"))  # by the run before
        process = _start(phantom_dir, out)
        if turn % 2:  # while it writes
            while process.poll() is None and set(out.glob(".new-*")) <= left:
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.5))
        else:
            time.sleep(chance.uniform(0.3, 1.0) * lasts_s)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            died += 1
        process.communicate()
        for case in [p for p in out.iterdir() if p.is_dir() and not p.name.startswith(".")] if out.exists() else []:
            assert {str(p.relative_to(case)) for p in case.rglob("*")} == files
            assert _findings(case) == _findings(reference)
            shutil.rmtree(case)  # else the next run passes it over
    assert died >= KILLS / 4
    process = _start(phantom_dir, out)
    _, error = process.communicate()
    assert process.returncode == 0, error
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in whole.iterdir()), "leftovers stay"
    assert _findings(out / reference.name) == _findings(reference)
