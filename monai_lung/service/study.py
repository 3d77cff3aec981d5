"""The analysis of one received study: the best series is chosen as everywhere, analysed, and its results written."""

from __future__ import annotations

import shutil
from pathlib import Path

from monai_lung.chest import read_chest
from monai_lung.errors import InputError, LungsNotFoundError, NoSeriesError, NotCTError
from monai_lung.io import Case, find_cases
from monai_lung.io.content import files_sha256
from monai_lung.model import CT, Lungs, Report
from monai_lung.person import make_person
from monai_lung.pipeline import Analyzer, Options, write
from monai_lung.report.formats import FORMATS
from monai_lung.service import log
from monai_lung.service.analyst import Analysis, Outcome
from monai_lung.service.config import Config
from monai_lung.service.document import DOCUMENT, write_document
from monai_lung.service.earlier import fetched, in_store

_KEPT = tuple(name for name, entry in FORMATS.items() if entry.on_node)
FILES = {**{name: entry.files[0] for name, entry in FORMATS.items() if entry.needs_dicom}, "report": DOCUMENT}
"""The file of each object that can be sent."""
_NOT_A_CHEST_CT = (NoSeriesError, NotCTError, LungsNotFoundError)


def make_analysis(config: Config) -> Analysis:
    """Load the networks; the result analyses a study.

    Raises:
        WeightsError: weights are missing or damaged.
        ConfigError: a bundle asks for code that isn't trusted.
        UsageError: the device isn't there.
    """
    settings = config.analysis
    analyzer = Analyzer(
        Options(
            device=settings.device,
            allow_gaps=settings.allow_gaps,
            sensitivity=settings.sensitivity,
            person=make_person(vars(settings.person)),
            segmentation_dir=settings.segmentation_bundle,
            classification_dir=settings.classification_bundle,
            trust_bundle=settings.trust_bundle,
        )
    )
    _ = analyzer.networks  # loaded now rather than at the first study

    def analysis(source: Path, out: Path, fingerprint: str) -> Outcome:
        try:
            (case,) = find_cases(source)
            found = _fingerprint(case)
            if found == fingerprint:
                return Outcome("unchanged", fingerprint=found)
            report = _with_prior(analyzer, config, *read_chest(case, allow_gaps=settings.allow_gaps), out)
            folder = write(report, out, _KEPT)
            write_document(report, folder, config.analysis.report_shows)
            return Outcome("done", fingerprint=found, folder=folder)
        except _NOT_A_CHEST_CT as error:
            return Outcome("skipped", log.reason_of(error))
        except InputError as error:
            return Outcome("failed", log.reason_of(error))

    return analysis


def _fingerprint(case: Case) -> str:
    """A digest of the files of all series that may be analysed."""
    return files_sha256([file for one in (case, *case.others) if one.series for file in one.series.files])


def _with_prior(analyzer: Analyzer, config: Config, ct: CT, lungs: Lungs, out: Path) -> Report:
    """The report of a study against the patient's earlier examination, where there is one that can be compared."""
    prior = in_store(config.storage, ct) if config.prior.own_store else None
    work = out / ".prior"
    try:
        if prior is None and config.prior.archive is not None:
            prior = fetched(config.prior.archive, ct, work)
        if prior is None:
            return analyzer.analyze(ct, lungs=lungs)
        try:
            return analyzer.against(prior).analyze(ct, lungs=lungs)
        except InputError as error:  # of the earlier examination, else it comes again
            log.event("prior can't be used", 30, reason=log.reason_of(error))
            return analyzer.analyze(ct, lungs=lungs)
    finally:
        shutil.rmtree(work, ignore_errors=True)
