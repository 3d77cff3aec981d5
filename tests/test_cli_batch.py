"""Many cases: a line each, a table on a terminal, what was finished before, and the pace."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from monai_lung import pipeline
from monai_lung.batch.studies import maker
from monai_lung.cli import run
from monai_lung.cli.case_display import FEW, CaseDisplay, Counts, case_line, duration
from monai_lung.errors import DecodeError
from monai_lung.io import read_ct, write_nifti
from monai_lung.model import Lungs, Report

MANY = FEW + 3


@pytest.fixture
def analysed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the cases that were analysed, at once and without nodules; "ct3" fails."""
    names: list[str] = []

    class Quick:
        def __init__(self, options: pipeline.Options) -> None:
            self.options = options

        def analyze(self, case, progress=None) -> Report:
            names.append(case.name)
            if progress:
                progress("find", 0.5)
            if case.name == "ct3":
                raise DecodeError("ct3: truncated")
            ct, made_by = read_ct(case), maker(self.options)
            lungs = Lungs(np.ones(ct.hu.shape, np.uint8), 3000, 2800)
            return Report(
                ct, lungs, (), {}, self.options.person, weights=made_by["weights"], software=made_by["software"]
            )

    monkeypatch.setattr(pipeline, "Analyzer", Quick)
    return names


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A command on `MANY` volumes."""
    for n in range(MANY):
        hu = np.random.default_rng(n).integers(-1000, 200, (16, 16, 12)).astype(np.int16)
        (tmp_path / "in").mkdir(exist_ok=True)
        write_nifti(tmp_path / "in" / f"ct{n}.nii.gz", hu, np.diag([2.0, 2.0, 3.0, 1.0]))
    return ["analyze", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--format", "json"]


def test_of_many_each_is_a_line_and_the_end_says_how_it_went(words, analysed, capsys, tmp_path) -> None:
    assert run(words) == 1
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0] == f"1/{MANY} ct0: no nodules -> {tmp_path / 'out' / 'ct0'}"
    assert len(lines) == MANY - 1 + 2
    assert re.fullmatch(rf"{MANY} cases: {MANY - 1} done, 1 failed, 0 nodules, \d+ s", lines[-2])
    assert lines[-1] == f"One page of all: monai-lung summarize {tmp_path / 'out'}"
    first, *rest = said.err.splitlines()
    assert first == f"4/{MANY} ct3: truncated", "told when it happens"
    assert rest == ["monai-lung: error: 1 of 8 cases failed:", "monai-lung: error: ct3: truncated"]


def test_a_second_run_passes_over_what_is_finished_and_says_so(words, analysed, capsys) -> None:
    run(words)
    del analysed[:]
    capsys.readouterr()
    run(words)
    assert analysed == ["ct3"]
    said = capsys.readouterr()
    assert f"{MANY - 1} of {MANY} cases are already finished and skipped; --no-resume repeats them" in said.err
    assert f"{MANY - 1} done ({MANY - 1} before), 1 failed" in said.out
    del analysed[:]
    run([*words, "--no-resume"])
    assert len(analysed) == MANY


def test_on_a_terminal_a_table_stands_below_and_is_gone_at_the_end(words, analysed, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    run(words)
    said = capsys.readouterr()
    for name in ("done", "before", "failed", "nodules", "an hour", "left"):
        assert name in said.err
    assert "\x1b[2K" in said.err, "erased"
    assert len([line for line in said.out.splitlines() if "no nodules" in line]) == MANY - 1
    assert "\x1b" not in said.out


def test_json_is_alone_on_stdout(words, analysed, capsys) -> None:
    run([*words, "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert (len(answer["cases"]), len(answer["failed"])) == (MANY - 1, 1)


def test_pace_counts_this_run_alone() -> None:
    counts = Counts(total=1000, done=500, before=400, unread=1, started=100.0)
    rate, left = counts.pace(100.0 + 990)
    assert rate == pytest.approx(360)
    assert left == pytest.approx(5000)
    assert Counts(total=10, done=3, before=3, started=0.0).pace(50.0) == (None, None)


def test_the_engines_first_word_is_what_was_finished_before() -> None:
    batch = CaseDisplay(as_json=False, debug=False)
    batch.fail("empty", "holds nothing")
    with batch.running(10):
        for done in (4, 5, 6):
            batch.counted(done, 10)
    assert (batch.counts.total, batch.counts.before, batch.counts.done) == (11, 4, 7)
    assert batch.counts.pace(batch.counts.started + 20)[0] == pytest.approx(360)


@pytest.mark.parametrize(("seconds", "text"), [(9.6, "10 s"), (125, "2 min 05 s"), (7384, "2 h 03 min")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_line_of_a_case_has_its_category() -> None:
    findings = {"nodules": [{}, {}], "guidelines": {"lung_rads_2022": {"category": "4B", "modifier": "S"}}}
    assert case_line(findings, Path("out/x"), 3, 9) == "3/9 x: 2 nodules, Lung-RADS 4BS -> out/x"
    findings["guidelines"] = {"lung_rads_2022": {"category": "not-applicable"}}
    assert case_line(findings, Path("out/x"), 3, 9) == "3/9 x: 2 nodules -> out/x"
