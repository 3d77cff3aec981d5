"""Two checkouts compared: turns, ratios, memory, Dice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from research.benchmarks import checkouts
from research.benchmarks.checkouts import Comparison, compare, main

CHECKOUT = {
    "__init__.py": "",
    "io.py": "class CT:\n    hu = affine_lps = None\n\n\ndef read_ct(path):\n    return CT()\n",
    "lungs/__init__.py": "",
    "lungs/segment.py": "def segment_lungs(hu, affine):\n    return None\n",
    "inference.py": """import numpy as np


class Outline:
    mask, offset = np.ones((2, 2, WIDTH), bool), (3, 4, 5)


def find(ct, lungs, networks):
    return [1]


def delineate(ct, seeds, networks):
    return [Outline() for _ in seeds]
""",
    "pipeline.py": """import time


class Options:
    def __init__(self, device): pass


class Report:
    nodules = [1] * WIDTH


class Analyzer:
    networks = None

    def __init__(self, options): pass

    def analyze(self, path):
        with open(path / "turns", "a") as file:
            file.write("WIDTH")
        time.sleep(0.02 * WIDTH)
        return Report()
""",
}


def checkout(folder: Path, width: int) -> Path:
    """A checkout that takes time, and finds nodules, in proportion to `width`."""
    for name, text in CHECKOUT.items():
        path = folder / "monai_lung" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("WIDTH", str(width)))
    return folder


def test_they_run_by_turns_and_ratios_are_of_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = lambda ct, files: {"n": tuple(len(checkouts._outlines(file)[0]) for file in files)}  # noqa: E731
    monkeypatch.setattr(checkouts, "dice_of", sizes)
    ct = tmp_path / "ct"
    ct.mkdir()
    found = compare(checkout(tmp_path / "a", 4), ct, 3, own=checkout(tmp_path / "b", 2))
    assert (ct / "turns").read_text() == "42" * 4  # the first of each isn't counted
    assert [len(runs) for runs in found.runs] == [3, 3]
    assert all(run["wall_s"] >= 0.02 * n for runs, n in zip(found.runs, (4, 2), strict=True) for run in runs)
    assert found.dice == {"n": (16, 8)}
    assert all(run["peak_mb"] > 5 for runs in found.runs for run in runs)


def test_the_words_have_median_spread_memory_and_dice() -> None:
    runs = [
        [{"wall_s": w, "cpu_s": 2 * w, "peak_mb": m, "nodules": n} for w in (1.0, 2.0, 4.0)]
        for m, n in ((800, 3), (600, 2))
    ]
    for run, factor in zip(runs[1], (0.5, 1.0, 0.75), strict=True):
        run["wall_s"] *= factor
    text = "\n".join(Comparison(Path("ct"), (runs[0], runs[1]), {"n1": (0.8, 0.9)}).lines())
    assert "time, s: 2.00 / 2.00, ratio 0.750 (0.500 to 1.000)" in text
    assert "CPU time of all threads, s: 4.00 / 4.00, ratio 1.000 (1.000 to 1.000)" in text
    assert "peak memory, MB: 800 / 600, ratio 0.750" in text
    assert "nodules reported: 3 / 2" in text
    assert "Dice, n1: 0.800 / 0.900" in text


def test_a_checkout_that_fails_ends_the_comparison(tmp_path: Path) -> None:
    broken = checkout(tmp_path / "a", 4)
    (broken / "monai_lung" / "pipeline.py").write_text("raise ImportError")
    with pytest.raises(RuntimeError, match="a checkout failed"):
        compare(broken, tmp_path, 1, own=checkout(tmp_path / "b", 2))


def test_a_folder_that_is_not_a_checkout_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path), "CT"])
    assert "is not a checkout of monai-lung" in capsys.readouterr().err


def test_dice_of_voxels() -> None:
    block = set(map(tuple, np.argwhere(np.ones((2, 2, 2)))))
    half = set(map(tuple, np.argwhere(np.ones((2, 2, 1)))))
    assert checkouts._dice(block, half) == pytest.approx(2 * 4 / 12)
