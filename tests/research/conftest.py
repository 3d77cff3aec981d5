from __future__ import annotations

import sys
from pathlib import Path

import pytest

from research.study.store import Study

sys.path.insert(0, str(Path(__file__).parent))  # for the builder beside this file
from study_builder import make_study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return make_study(tmp_path)


@pytest.fixture(scope="session")
def run_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study with two segmenting networks and one that rates run on both folds, and one protocol. Read only."""
    from research.study import malignancy, protocol, segmentation

    study = make_study(tmp_path_factory.mktemp("study"))
    for fold in range(2):
        for name in ("res-unet", "unet"):
            segmentation.run(study, name, fold)
        malignancy.run(study, "nodule-resnet", fold)
        for unit in protocol.UNITS:
            protocol.run(study, "boosting", unit, fold)
    segmentation.run(study, "plain-bce-dice", 0)
    return study
