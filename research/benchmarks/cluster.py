"""Studies per hour on Ray on this machine beside one process.

A CT, by default a phantom, is analysed some times by one process of one thread, then by as many one-thread workers on
Ray as there are cores.
"""

from __future__ import annotations

import json
import os
import resource
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from monai_lung.batch.cluster import Needs
from monai_lung.batch.cluster import run as run_on_ray
from monai_lung.batch.local import run as run_here
from monai_lung.batch.studies import CaseAnalysis, Job
from monai_lung.batch.work import Results
from monai_lung.io import find_cases
from monai_lung.io.cases import Case
from monai_lung.pipeline import Options

Seen = tuple[int, float, float, float]
"""Process, seconds, CPU seconds and peak memory (GB) of one study."""


class Clocked:
    """`CaseAnalysis` that says what a study cost; the networks are loaded before the first."""

    def __init__(self, job: Job) -> None:
        self.study = CaseAnalysis(job)
        self.study.analyzer.networks  # noqa: B018  loads them

    def __call__(self, case: Case) -> Seen:
        """Analyse `case`."""
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        self.study(case)
        peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        return os.getpid(), time.perf_counter() - wall_s, time.process_time() - cpu_s, peak_gb


def measured(results: Results[Seen]) -> dict[str, float]:
    """Figures of a run, from the start of its first study to the end of its last."""
    seen: list[Seen] = []
    ends: list[float] = []
    for _, result in results:
        if result.value is None:
            raise click.ClickException(str(result.error))
        seen.append(result.value)
        ends.append(time.perf_counter())
    starts = [end - one[1] for end, one in zip(ends, seen, strict=True)]
    hours = (max(ends) - min(starts)) / 3600
    return {
        "workers": len({one[0] for one in seen}),
        "studies": len(seen),
        "studies_per_hour": round(len(seen) / hours, 1),
        "cpu_s_per_study": round(sum(one[2] for one in seen) / len(seen), 2),
        "peak_gb_per_worker": round(max(one[3] for one in seen), 2),
    }


@click.command(help=__doc__)
@click.option("--ct", type=click.Path(path_type=Path, exists=True), help="What `monai-lung analyze` takes.")
@click.option("--studies", default=4, show_default=True, help="How often it is analysed.")
def main(ct: Path | None, studies: int) -> None:
    """Print the figures as JSON."""
    with tempfile.TemporaryDirectory() as scratch:
        path = ct.absolute() if ct else phantom(Path(scratch))
        case = find_cases(path)[0]
        cases = [replace(case, name=f"study-{n}") for n in range(studies)]
        build = partial(Clocked, Job(Path(scratch) / "out", Options(device="cpu"), ("json", "nifti")))
        one = measured(run_here(build, cases))
        many = measured(run_on_ray(build, cases, needs=Needs()))
    figures = {
        "one_process": one,
        "ray": many,
        "efficiency": round(many["studies_per_hour"] / (one["studies_per_hour"] * many["workers"]), 3),
        "load": [round(v, 1) for v in os.getloadavg()],
        "cores": os.cpu_count(),
    }
    click.echo(json.dumps(figures, indent=1))


def phantom(folder: Path) -> Path:
    """A chest of 256 x 256 x 60 voxels as DICOM."""
    from monai_lung.phantom import PhantomSpec, make_phantom, write_phantom

    return write_phantom(make_phantom(PhantomSpec(size=256, slices=60, pixel_mm=1.5, spacing_mm=5.0)), folder / "ct")


if __name__ == "__main__":
    main()
