"""The whole way of this package, its stages and its commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from research.benchmarks.child import Job, Run, evict, peak_mb


def whole(job: Job) -> Run:
    """Read, analyse and write the default files: seconds and busy cores of each stage, the networks' own share."""
    from monai_lung.pipeline import Analyzer, Options, write
    from research.benchmarks.flops import NetworkWatch

    analyzer = Analyzer(Options(device=job.device))
    watch = NetworkWatch(analyzer.networks, job.device)

    def run() -> dict[str, float]:
        watch.clear()
        busy = _Busy()
        report = analyzer.analyze(job.path, busy)
        out = Path(tempfile.mkdtemp())
        busy("write", 0.0)
        start = time.perf_counter()
        write(report, out)
        written_s = time.perf_counter() - start
        busy("", 0.0)
        size_mb = sum(p.stat().st_size for p in out.rglob("*") if p.is_file()) / 1e6
        shutil.rmtree(out)
        return {
            **{f"{stage}_s": s for stage, s in report.timing_s.items()},
            "write_s": written_s,
            "written_mb": size_mb,
            **{f"{stage}_cpu_s": s for stage, s in busy.cpu_s.items()},
            **watch.figures(),
            "nodules": len(report.nodules),
            "voxels": report.ct.hu.size,
            "so_far_mb": peak_mb(),
        }

    return run


class _Busy:
    """CPU seconds of all threads in each stage, by the analysis' own progress."""

    def __init__(self) -> None:
        self.cpu_s: dict[str, float] = {}
        self.stage, self.since_s = "", time.process_time()

    def __call__(self, stage: str, done: float) -> None:
        now = time.process_time()
        if self.stage:
            self.cpu_s[self.stage] = self.cpu_s.get(self.stage, 0.0) + now - self.since_s
        self.stage, self.since_s = stage, now


def lungs(job: Job) -> Run:
    """The lungs alone, of a CT in memory."""
    from monai_lung.io import read_ct
    from monai_lung.lungs import segment_lungs

    ct = read_ct(job.path)

    def run() -> None:
        segment_lungs(ct.hu, ct.affine_lps)

    return run


def studies(job: Job) -> Run:
    """One study after the other in one process: the seconds of each and the memory so far, to see what adds up."""
    from monai_lung.pipeline import Analyzer, Options, write

    analyzer = Analyzer(Options(device=job.device))

    def run() -> dict[str, float]:
        figures: dict[str, float] = {}
        for n in range(1, int(job.options["count"]) + 1):
            evict(job)
            start = time.perf_counter()
            with tempfile.TemporaryDirectory() as out:
                write(analyzer.analyze(job.path), out)
            figures[f"study_{n}_s"] = time.perf_counter() - start
            figures[f"study_{n}_mb"] = peak_mb()
        return figures

    return run


def analyze_command(job: Job) -> Run:
    """`monai-lung analyze` as a command, imports and all."""

    def run() -> dict[str, float]:
        evict(job)
        with tempfile.TemporaryDirectory() as out:
            return _command("-m", "monai_lung", "analyze", str(job.path), "-o", out, "--device", job.device, "-q")

    return run


def help_command(job: Job) -> Run:
    """`monai-lung --help` as a command."""
    return lambda: _command("-m", "monai_lung", "--help")


def import_package(job: Job) -> Run:
    """Python with nothing but `import monai_lung`."""
    return lambda: _command("-c", "import monai_lung")


def bare_python(job: Job) -> Run:
    """Python that does nothing, to compare with."""
    return lambda: _command("-c", "")


def import_networks(job: Job) -> Run:
    """The heavy imports and the four networks: what a short-lived process waits for before its first study."""
    return lambda: _command("-W", "ignore", "-c", "from monai_lung.inference import load_networks as f; f('cpu')")


def _command(*arguments: str) -> dict[str, float]:
    """Run this Python with arguments; its peak of memory.

    Raises:
        CalledProcessError: it failed.
    """
    command: Sequence[str] = (sys.executable, *arguments)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return {"peak_mb": usage.ru_maxrss * 1024 / 1e6}
