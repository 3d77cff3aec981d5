"""The study's command line: train, predict, write the page. What is done already isn't done again."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from monai_lung.errors import MonaiLungError, UsageError
from monai_lung.inference.networks import choose_device
from research import DOCS
from research.study import malignancy, page, protocol, segmentation, whole_ct
from research.study.budget import BUDGETS
from research.study.store import Study

SECTIONS = ("segmentation", "malignancy", "protocol", "whole-ct", "page")


def main(arguments: list[str] | None = None) -> int:
    """Run the sections that are wanted; 0 done, 1 failed, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="study", description=__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("MONAI_LUNG_DATA"),
        help="folder with lidc_crops/, lidc_slices/ and ct/ (default: the environment's MONAI_LUNG_DATA)",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/study"), help="predictions (default: %(default)s)")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where study.md goes (default: the checkout's docs)")
    parser.add_argument("--budget", choices=BUDGETS, default="cpu", help="how long to train (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, metavar="SECTION", help="%(choices)s")
    given = parser.parse_args(arguments)
    if given.data is None:
        parser.error("which data? give --data DATA, or set MONAI_LUNG_DATA")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        study = Study(given.data, given.out, BUDGETS[given.budget], choose_device(given.device))
        for section in SECTIONS:
            if section in given.only:
                RUNS[section](study, given.docs)
    except MonaiLungError as error:
        logging.getLogger(__name__).error("error: %s", error)
        return 2 if isinstance(error, UsageError) else 1
    return 0


def _segmentation(study: Study, docs: Path) -> None:
    """The comparison first, fold by fold, then the ablations."""
    segmentation.run(study, segmentation.SHIPPED, segmentation.SHIPPED_FOLD)
    for table in (True, False):
        names = [n for n, s in segmentation.SEGMENTERS.items() if s.table == table]
        for fold in range(study.n_folds if table else study.budget.ablation_folds):
            for name in names:
                segmentation.run(study, name, fold)


def _malignancy(study: Study, docs: Path) -> None:
    """The comparison first, fold by fold, then what one change makes."""
    for names in (malignancy.RATERS, malignancy.CHANGED):
        for fold in range(study.n_folds):
            for name in names:
                malignancy.run(study, name, fold)


def _protocol(study: Study, docs: Path) -> None:
    for model in reversed(protocol.MODELS):
        for unit in protocol.UNITS:
            for fold in range(study.n_folds):
                protocol.run(study, model, unit, fold)


RUNS: dict[str, Callable[[Study, Path], object]] = {
    "segmentation": _segmentation,
    "malignancy": _malignancy,
    "protocol": _protocol,
    "whole-ct": lambda study, docs: whole_ct.run(study),
    "page": page.write,
}

if __name__ == "__main__":
    sys.exit(main())
