"""Two checkouts on the same CTs in one run: time, memory, and Dice of the outlines against LIDC-IDRI's readers.

    python -m research.benchmarks.checkouts OTHER CT... [--repeats 5]

compares the checkout OTHER (a git worktree of an earlier commit) with this one. Each has a process of its own; they
analyse by turns, one at a time, so that whatever else the machine does slows both alike, and ratios are of neighbours.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parents[2]
CHILD = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
from monai_lung.inference import delineate, find
from monai_lung.io import read_ct
try:
    from monai_lung.lungs.segment import segment_lungs
    from monai_lung.pipeline import Analyzer, Options
except ModuleNotFoundError:  # a checkout of version 0.1 or soon after
    from monai_lung.analysis import Analyzer, Options
    from monai_lung.transforms.lungs import segment_lungs
path, outlines = Path(sys.argv[1]), Path(sys.argv[2])
analyzer = Analyzer(Options("cpu"))
analyzer.networks
ct = read_ct(path)
found = delineate(ct, find(ct, segment_lungs(ct.hu, ct.affine_lps), analyzer.networks), analyzer.networks)
np.savez(outlines, *[np.argwhere(one.mask) + one.offset for one in found])
del ct, found
print("ready", flush=True)
for _ in sys.stdin:
    cpu, start = time.process_time(), time.perf_counter()
    report = analyzer.analyze(path)
    end = {"wall_s": time.perf_counter() - start, "cpu_s": time.process_time() - cpu, "nodules": len(report.nodules)}
    end["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps(end), flush=True)
"""
"""Runs in either checkout, so it asks for nothing but what both have: one argument is the CT, one where outlines go."""


@dataclass(frozen=True)
class Comparison:
    """The results of one CT: runs of the other checkout and of this one by turns, and their Dice for each nodule."""

    ct: Path
    runs: tuple[list[dict[str, Any]], list[dict[str, Any]]]
    dice: dict[str, tuple[float, float]]

    def ratios(self, key: str) -> NDArray[np.float64]:
        """This checkout's over the other's, of each pair of runs."""
        other, own = (np.array([run[key] for run in runs]) for runs in self.runs)
        return np.asarray(own / other)

    def lines(self) -> list[str]:
        """The comparison in words."""
        found = [f"{self.ct}: {len(self.runs[0])} pairs of runs, the other checkout / this one"]
        for key, name in (("wall_s", "time, s"), ("cpu_s", "CPU time of all threads, s")):
            other, own = (np.median([run[key] for run in runs]) for runs in self.runs)
            ratios = self.ratios(key)
            spread = f"{ratios.min():.3f} to {ratios.max():.3f}"
            found.append(f"  {name}: {other:.2f} / {own:.2f}, ratio {np.median(ratios):.3f} ({spread})")
        other, own = (max(run["peak_mb"] for run in runs) for runs in self.runs)
        found.append(f"  peak memory, MB: {other:.0f} / {own:.0f}, ratio {own / other:.3f}")
        other, own = (runs[-1]["nodules"] for runs in self.runs)
        found.append(f"  nodules reported: {other} / {own}")
        found += [f"  Dice, {name}: {a:.3f} / {b:.3f}" for name, (a, b) in self.dice.items()]
        return found


class _Process:
    """A checkout at work in a process of its own; it waits until it is asked."""

    def __init__(self, checkout: Path, ct: Path, outlines: Path, folder: Path) -> None:
        environment = os.environ | {"PYTHONPATH": str(checkout)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(ct), str(outlines)],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def _answer(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError("a checkout failed: its error is above")
        return line

    def run(self) -> dict[str, Any]:
        """One analysis."""
        if self._process.stdin:
            self._process.stdin.write("run\n")
            self._process.stdin.flush()
        result: dict[str, Any] = json.loads(self._answer())
        return result

    def end(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.communicate()


def compare(other: Path, ct: Path, repeats: int, own: Path = HERE) -> Comparison:
    """Analyse a CT with both checkouts by turns: one run of each that isn't counted, then `repeats` pairs."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = [folder / "other.npz", folder / "own.npz"]
        processes: list[_Process] = []
        try:
            for checkout, file in zip((other, own), files, strict=True):
                processes.append(_Process(checkout, ct, file, folder))
            runs: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
            for number in range(repeats + 1):
                for process, done in zip(processes, runs, strict=True):
                    one = process.run()
                    if number:
                        done.append(one)
        finally:
            for process in processes:
                process.end()
        return Comparison(ct, runs, dice_of(ct, files))


def dice_of(ct: Path, files: Sequence[Path]) -> dict[str, tuple[float, float]]:
    """Dice of the best outline in each file for each nodule that three readers of LIDC-IDRI marked, none elsewhere.

    The truth is the voxels that half of the readers marked.
    """
    from monai_lung.io import read_ct
    from monai_lung.lidc.grid import draw_nodules
    from monai_lung.lidc.index import read_index

    volume = read_ct(ct)
    scans = [s for s in read_index() if volume.series and s.series_uid == volume.series.uid]
    outlines = [_outlines(file) for file in files]
    found = {}
    for scan in scans:
        for nodule, masks in draw_nodules(volume, scan):
            if len(nodule.annotations) >= 3:
                truth = set(map(tuple, np.argwhere(masks.consensus(share=0.5)) + masks.offset))
                other, own = (max((_dice(truth, one) for one in given), default=0.0) for given in outlines)
                found[nodule.id] = (other, own)
    return found


def _outlines(file: Path) -> list[set[tuple[int, ...]]]:
    """The voxels of each outline that a checkout wrote."""
    with np.load(file) as held:
        return [set(map(tuple, voxels)) for voxels in held.values()]


def _dice(a: set[tuple[int, ...]], b: set[tuple[int, ...]]) -> float:
    return 2 * len(a & b) / (len(a) + len(b))


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(prog="python -m research.benchmarks.checkouts", description=__doc__.split("\n")[0])
    parser.add_argument("other", metavar="OTHER", type=Path, help="Checkout to compare this one with.")
    parser.add_argument("cts", metavar="CT", type=Path, nargs="+", help="CT to analyse.")
    parser.add_argument("--repeats", type=int, default=5, help="Number of pairs of runs for each CT.")
    given = parser.parse_args(arguments)
    if not (given.other / "monai_lung").is_dir():
        parser.error(f"{given.other} is not a checkout of monai-lung: give one, such as a git worktree")
    if given.repeats < 1:
        parser.error("--repeats: give 1 or more")
    for ct in given.cts:
        lines = compare(given.other.resolve(), ct.resolve(), given.repeats).lines()
        sys.stdout.write("\n".join([*lines, ""]))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
