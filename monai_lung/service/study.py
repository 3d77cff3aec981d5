"""The analysis of one received study: the best series is chosen as everywhere, analysed, and its results written."""

from __future__ import annotations

import hashlib
from pathlib import Path

from monai_lung.analysis import Analyzer, Options, write
from monai_lung.errors import InputError, LungsNotFoundError, NoSeriesError, NotCTError
from monai_lung.io import Case, find_cases
from monai_lung.service import log
from monai_lung.service.analyst import Analysis, Outcome
from monai_lung.service.config import Config
from monai_lung.service.document import write_document

FORMATS = ("json", "seg", "sr", "html", "figure")
FILES = {"seg": "seg.dcm", "sr": "sr.dcm", "report": "report.dcm"}
"""The file of each object that can be sent."""
_NOT_A_CHEST_CT = (NoSeriesError, NotCTError, LungsNotFoundError)


def make_analysis(config: Config) -> Analysis:
    """Load the networks; the result analyses a study.

    Raises:
        WeightsError: weights are missing or damaged.
        ConfigError: a bundle asks for code that isn't trusted.
        UsageError: the device isn't there.
    """
    chosen = config.analysis
    options = Options(
        device=chosen.device,
        allow_gaps=chosen.allow_gaps,
        segmentation_dir=chosen.segmentation_bundle,
        classification_dir=chosen.classification_bundle,
        trust_bundle=chosen.trust_bundle,
    )
    analyzer = Analyzer(options)
    _ = analyzer.networks  # loaded now rather than at the first study

    def analysis(source: Path, out: Path, fingerprint: str) -> Outcome:
        try:
            (case,) = find_cases(source)
            found = _fingerprint(case)
            if found == fingerprint:
                return Outcome("unchanged", fingerprint=found)
            report = analyzer.analyze(case)
            folder = write(report, out, FORMATS)
            write_document(report, folder)
            return Outcome("done", fingerprint=found, folder=folder)
        except _NOT_A_CHEST_CT as error:
            return Outcome("skipped", log.reason_of(error))
        except InputError as error:
            return Outcome("failed", log.reason_of(error))

    return analysis


def _fingerprint(case: Case) -> str:
    """A digest of the files of the chosen series."""
    files = sorted(case.series.files) if case.series else []
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()
