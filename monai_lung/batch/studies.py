"""Many studies through the analysis, on any engine; what an earlier run has finished is not done again.

A result is finished where its `findings.json` says that the same version and weights made it of the same content
(`io.content`) for the same person, and the files of every format asked for lie beside it. With a prior a case is always
analysed. A result of other content is never replaced: the case gets another name (`report.place`).
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_lung import pipeline
from monai_lung.batch.options import Engine
from monai_lung.batch.work import Result, Results, in_order
from monai_lung.errors import ConfigError, InputError, OutputError, UsageError
from monai_lung.io.content import is_of
from monai_lung.io.output import check_folder
from monai_lung.report.formats import DEFAULT_FORMATS, files_of, possible, with_format_warnings
from monai_lung.report.place import own_name
from monai_lung.weights import declared_paper_weights, declared_weights

if TYPE_CHECKING:
    from monai_lung.batch.cluster import Needs
    from monai_lung.io import Case
    from monai_lung.model import Person

_log = logging.getLogger(__name__)

Findings = dict[str, Any]
"""The content of a `findings.json`."""
Watch = Callable[["Case"], AbstractContextManager[pipeline.Progress | None]]
"""Shows how far one case is while the block runs."""

GPU_SHARE = 0.25
"""Of a GPU for a worker: reading, lungs and measuring run on the CPU meanwhile."""


@dataclass(frozen=True)
class Job:
    """Options for the output of each case.

    Attributes:
        out: results go to `out/<case>/`.
        options: of the analysis.
        formats: as `report.formats.check_formats` gives them.
        show_patient: put the patient's name and ID into the results.
        resume: pass over what is finished; else all is done again.
    """

    out: Path
    options: pipeline.Options
    formats: Collection[str] = DEFAULT_FORMATS
    show_patient: bool = False
    resume: bool = True

    @cached_property
    def _maker(self) -> Findings:
        return maker(self.options)

    def finished(self, case: Case) -> bool:
        """Whether `out/<case>/` is what an analysis of `case` would give; see the module."""
        from monai_lung.report import findings

        folder = self.out / case.name
        if not self.resume or self.options.prior is not None or not (folder / "findings.json").is_file():
            return False
        try:
            found = findings.read(folder / "findings.json")
            return (
                all(found[key] == value for key, value in self._maker.items())
                and _same_person(found["person"], self.options.person)
                and (found["operating_point"] or {}).get("name", "standard") == self.options.sensitivity
                and "prior" not in found
                and ("patient" in found["input"]) == self.show_patient
                and (self.options.allow_gaps or case.series is None or not found["input"]["resampled"])
                and all((folder / name).exists() for name in files_of(possible(self.formats, dicom=bool(case.series))))
                and is_of(found["input"]["sha256"], case)
            )
        except (InputError, OSError, KeyError, TypeError):
            return False


def settled(out: Path, cases: Sequence[Case]) -> list[Case]:
    """The cases under the names that their results have in `out`: none takes the place of another input's result."""
    taken: set[str] = set()
    result = []
    for case in cases:
        try:
            name = own_name(out, case.name, partial(is_of, case=case), taken)
        except InputError:  # whoever reads the case will say so
            name = case.name
        taken.add(name.lower())
        result.append(case.named(name))
    return result


def maker(options: pipeline.Options) -> Findings:
    """The makers of findings, as these name them: `software` and `weights`.

    Raises:
        WeightsError: the bundles aren't there.
    """
    if options.pipeline == "paper":
        weights = declared_paper_weights(options.paper_dir)
    else:
        weights = declared_weights(options.segmentation_dir, options.classification_dir)
    return {"software": pipeline.software(), "weights": weights}


def _same_person(found: Findings, person: Person) -> bool:
    """Whether findings were made with what the user says of the patient; what DICOM says is the input's own."""
    for name, value in vars(person).items():
        own = value is None and found["sources"].get(name) == "DICOM"
        if name != "sources" and not own and found[name] != value:
            return False
    return True


class CaseAnalysis:
    """The work: analyses a case with networks that are loaded once, writes its folder, gives its findings."""

    def __init__(self, job: Job, watch: Watch | None = None) -> None:
        self.job = job
        self.watch = watch or (lambda case: nullcontext())
        self.analyzer = pipeline.Analyzer(job.options)
        self._latest = Path()

    def __call__(self, case: Case) -> Findings:
        """The findings of `case`; errors as `pipeline.analyze` and `pipeline.write`."""
        from monai_lung.report.findings import to_dict

        job, case = self.job, self._unpacked(case)
        with self.watch(case) as progress:
            report = with_format_warnings(self.analyzer.analyze(case, progress), job.formats)
            pipeline.write(report, job.out, job.formats, show_patient=job.show_patient)
        return to_dict(report, job.show_patient)

    def _unpacked(self, case: Case) -> Case:
        """`case` with its files there: of the archives of a batch one is unpacked at a time, on the machine at work."""
        from monai_lung.io import find_cases
        from monai_lung.io.paths import forget_unzipped

        if case.path != self._latest:
            forget_unzipped(self._latest)
        self._latest = case.path
        if case.series is None or case.series.files[0].exists() or not case.path.is_file():
            return case
        cases = find_cases(case.path, self.job.options.series_uid)
        (found,) = (c for c in cases if c.series and c.series.uid == case.series.uid)
        return found.named(case.name)


class RemoteCaseAnalysis(CaseAnalysis):
    """`CaseAnalysis` in a worker of a cluster, which may be on another machine.

    Raises:
        ConfigError: that machine hasn't the same version, weights or output folder as the one that asks.
    """

    def __init__(self, job: Job, asked_by: Findings) -> None:
        super().__init__(job)
        host, here = socket.gethostname(), maker(job.options)
        versions = [made["software"]["monai-lung"] for made in (here, asked_by)]
        if versions[0] != versions[1] or here["weights"] != asked_by["weights"]:
            raise ConfigError(f"{host} has another version of monai-lung, or other weights: install the same there")
        if not job.out.is_dir():
            raise ConfigError(f"{host} doesn't see {job.out}: give an output folder that all nodes share")

    def __call__(self, case: Case) -> Findings:
        """As `CaseAnalysis`; an input that isn't on this machine is an InputError that says so."""
        if not case.path.exists():
            raise InputError(f"{case.path} isn't there on {socket.gethostname()}: give a folder that all nodes share")
        return super().__call__(case)


def analyze_cases(
    job: Job,
    cases: Sequence[Case],
    engine: Engine,
    *,
    watch: Watch | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Generator[tuple[Case, Result[Findings]], None, None]:
    """Analyse the cases that aren't finished; every case with its findings or its error, in the order of `cases`.

    The cases come back under the names that their results have (`settled`).

    Args:
        job: what to make of each.
        cases: with distinct names, and absolute paths for a cluster.
        engine: where.
        watch: shows each case, where the engine works in this process.
        progress: called with the cases behind us and the cases in all.

    Raises:
        UsageError: no cluster answers.
        OutputError: nothing can be written to `job.out`; no case was begun.
        ConfigError: a node of the cluster isn't set up as this machine is.
    """
    from monai_lung.report import findings

    cases = settled(job.out, cases)
    done = {n for n, case in enumerate(cases) if job.finished(case)}
    waiting = [case for n, case in enumerate(cases) if n not in done]
    if done:
        _log.warning("%d of %d cases are already finished and skipped; --no-resume repeats them", len(done), len(cases))
    with closing(_counted(_run(job, waiting, engine, watch), len(done), len(cases), progress)) as counted:
        results = in_order(counted)
        for n, case in enumerate(cases):
            if n in done:
                yield case, Result(findings.read(job.out / case.name / "findings.json"))
            else:
                yield case, next(results)


def _run(job: Job, waiting: list[Case], engine: Engine, watch: Watch | None) -> Results[Findings]:
    check_folder(job.out)
    if engine.here or not waiting:
        return Engine().run(partial(CaseAnalysis, job, watch), waiting)
    if engine.name == "local":
        return engine.run(partial(CaseAnalysis, job), waiting)
    try:
        job.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{job.out} can't be written: {error.strerror}; give another output folder") from error
    return engine.run(
        partial(RemoteCaseAnalysis, job, maker(job.options)), waiting, partial(_needs, job.options.device)
    )


def _needs(device: str, gpus: float) -> Needs:
    """Of one worker on a cluster with so many GPUs."""
    from monai_lung.batch.cluster import Needs

    if device == "cuda" and not gpus:
        raise UsageError("device cuda: the cluster has no GPU; use --device cpu")
    return Needs(gpus=GPU_SHARE if device == "cuda" or (device == "auto" and gpus) else 0.0)


def _counted(
    results: Results[Findings], done: int, total: int, progress: Callable[[int, int], None] | None
) -> Results[Findings]:
    """`results`, with `progress` called before the first and after each."""
    tell = progress or (lambda done, total: None)
    tell(done, total)
    for one in results:
        done += 1
        tell(done, total)
        yield one
