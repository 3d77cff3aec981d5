"""The analysis of one received study: the best series is chosen as everywhere, analysed, and its results written."""

from __future__ import annotations

from pathlib import Path

from monai_lung.analysis import Analyzer, Options, write
from monai_lung.errors import InputError, LungsNotFoundError, NoSeriesError, NotCTError
from monai_lung.io import Case, find_cases
from monai_lung.io.content import files_sha256
from monai_lung.report.formats import FORMATS
from monai_lung.service import log
from monai_lung.service.analyst import Analysis, Outcome
from monai_lung.service.config import Config
from monai_lung.service.document import DOCUMENT, write_document

_KEPT = tuple(name for name, entry in FORMATS.items() if entry.on_node)
FILES = {**{name: entry.files[0] for name, entry in FORMATS.items() if entry.needs_dicom}, "report": DOCUMENT}
"""The file of each object that can be sent."""
_NOT_A_CHEST_CT = (NoSeriesError, NotCTError, LungsNotFoundError)


def make_analysis(config: Config) -> Analysis:
    """Load the networks; the result analyses a study.

    Raises:
        WeightsError: weights are missing or damaged.
        UsageError: the device isn't there.
    """
    analyzer = Analyzer(Options(device=config.analysis.device, allow_gaps=config.analysis.allow_gaps))
    _ = analyzer.networks  # loaded now rather than at the first study

    def analysis(source: Path, out: Path, fingerprint: str) -> Outcome:
        try:
            (case,) = find_cases(source)
            found = _fingerprint(case)
            if found == fingerprint:
                return Outcome("unchanged", fingerprint=found)
            report = analyzer.analyze(case)
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
    return files_sha256([path for one in (case, *case.others) if one.series for path in one.series.files])
