"""Two faults at once, drawn from the corpus: still one line, or the same lungs, or a warning; nothing half-written."""

from __future__ import annotations

import copy
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import kinds_files  # noqa: F401
import kinds_headers  # noqa: F401
import kinds_pixels  # noqa: F401
import kinds_series  # noqa: F401
import numpy as np
import pytest
from cage import Cage, End
from corpus import KINDS, Chest, Kind
from dicom_series import SeriesBuilder
from test_hostile import OF_THE_CHEST, PEAK_MB, PREFIX, same_lungs

DRAWS, LIMIT_S = 500, 1500.0
GROUPS = ("header", "pixels", "series", "files")
SAMPLE = (
    ("shuffled", "patients_mixed"),
    ("rescale_of_each_slice", "a_slice_is_missing"),
    ("numbers_contradict_positions", "zip_in_zip"),
    ("the_whole_series_twice", "rescale_missing_of_hu"),
)


@dataclass(frozen=True)
class Prepared(Chest):
    """The chest with a fault in it already: what the first kind left of its series."""

    builder: SeriesBuilder | None = None

    def series(self, **elements: object) -> SeriesBuilder:
        """The faulty series, with what the second kind says of all its slices."""
        if self.builder is None:
            return super().series(**elements)
        builder = copy.deepcopy(self.builder)
        for data in builder.datasets:
            for name, value in elements.items():
                if hasattr(type(data), name) or name[:1].isupper():
                    setattr(data, name, value)
        return builder


class Recording(Chest):
    """The sound chest, which remembers the last series that was made of it."""

    made: list[SeriesBuilder]

    def series(self, **elements: object) -> SeriesBuilder:
        """Its series, to be broken."""
        builder = super().series(**elements)
        self.made.append(builder)
        return builder


def both(first: Kind, second: Kind, chest: Chest, folder: Path) -> Path | None:
    """An input with both faults; None where they can't be put together."""
    recording = Recording(chest.hu)
    object.__setattr__(recording, "made", [])
    scratch = folder / "first"
    scratch.mkdir()
    try:
        first.make(recording, scratch)
        if not recording.made:
            return None
        shutil.rmtree(scratch, ignore_errors=True)
        (folder / "in").mkdir()
        return second.make(Prepared(chest.hu, recording.made[-1]), folder / "in")
    except Exception:  # a builder of faults that doesn't expect another one
        return None


@pytest.fixture(scope="module")
def sound(chest: Chest, cage: Cage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    end = cage.run("lungs", chest.series().write(folder / "ct"), "-o", folder / "lungs.nii.gz", folder=folder)
    assert end.code == 0, end.err
    return folder / "lungs.nii.gz"


def wrong(end: End, out: Path, sound: Path) -> str:
    """What is wrong with how a command ended, "" where nothing is."""
    notes = [line for line in end.out.replace("\n  ", " ").splitlines() if line.startswith("Note: ")]
    errors = [line for line in end.err.splitlines() if line.startswith(PREFIX)]
    if end.timed_out or end.peak_mb > PEAK_MB:
        return f"{end.seconds:.0f} s, {end.peak_mb:.0f} MB"
    if "Traceback" in end.out + end.err or any(": unexpected " in line for line in errors):
        return f"traceback: {end.err[-500:]}"
    if end.code not in (0, 1, 2) or len(errors) != (end.code > 0):
        return f"exit {end.code}: {end.err[-500:]}"
    if end.code:
        return "something was written" if out.exists() else ""
    if [file.name for file in out.iterdir()] != ["lungs.nii.gz"]:
        return "something was left beside the mask"
    if any(not OF_THE_CHEST.search(line) for line in notes):
        return ""
    try:
        same_lungs(out / "lungs.nii.gz", sound)
    except AssertionError as error:
        return f"other lungs, without a word: {error}"
    return ""


def run_pair(first: Kind, second: Kind, chest: Chest, cage: Cage, sound: Path, folder: Path) -> str | None:
    """What is wrong with a pair; None where the two can't be put together."""
    folder.mkdir(parents=True)
    given = both(first, second, chest, folder)
    if given is None:
        return None
    end = cage.run("lungs", given, "-o", folder / "out" / "lungs.nii.gz", folder=folder, timeout_s=120)
    return wrong(end, folder / "out", sound)


@pytest.mark.parametrize(("first", "second"), SAMPLE)
def test_a_few_pairs(first: str, second: str, chest: Chest, cage: Cage, sound: Path, tmp_path: Path) -> None:
    by_name = {kind.name: kind for kind in KINDS}
    assert run_pair(by_name[first], by_name[second], chest, cage, sound, tmp_path / "pair") == ""


@pytest.mark.slow
def test_random_pairs(chest: Chest, cage: Cage, sound: Path, tmp_path: Path) -> None:
    """500 draws, or as many as the time limit allows; the seed is in the message, PAIRS_SEED sets it."""
    seed = int(os.environ.get("PAIRS_SEED", time.time()))
    random, start = np.random.default_rng(seed), time.monotonic()
    kinds = [kind for kind in KINDS if kind.group in GROUPS]
    failed, done = [], 0
    while done < int(os.environ.get("PAIRS_DRAWS", DRAWS)) and time.monotonic() - start < LIMIT_S:
        first, second = (kinds[n] for n in random.choice(len(kinds), 2, replace=False))
        folder = tmp_path / "pair"
        reason = run_pair(first, second, chest, cage, sound, folder)
        shutil.rmtree(folder, ignore_errors=True)
        done += reason is not None
        if reason:
            failed.append(f"{first.name} + {second.name}: {reason}")
            print(failed[-1], flush=True)
    print(f"{done} pairs, seed {seed}, {time.monotonic() - start:.0f} s")
    assert not failed, f"seed {seed}, {done} draws:\n" + "\n".join(failed)
    assert done
