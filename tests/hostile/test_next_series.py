"""Where the series that ranks first holds no lungs, every way in takes the next one; inspect says what analyze does."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import kinds_choices
import kinds_headers  # noqa: F401
import kinds_series  # noqa: F401
import pytest
from cage import Cage
from corpus import KINDS, Chest, Kind
from monai.transforms import LoadImaged
from stand_ins import networks as stand_ins

from monai_lung.batch.options import Engine
from monai_lung.batch.studies import Job, analyze_cases
from monai_lung.bundle.cases import ChestReader
from monai_lung.errors import LungsNotFoundError
from monai_lung.io import find_cases
from monai_lung.pipeline import Analyzer, Options
from monai_lung.prior import read_prior

WITH_HEADERS = [
    pytest.param(kind, id=kind.name, marks=[pytest.mark.slow] if kind.group == "header" else [])
    for kind in KINDS
    if kind.group in ("header", "series", "choice")
]
OF_PIXELS = "pixels|Hounsfield|nothing but the value|no air|rescale|decoder|ml of lung"
"""What only the pixels tell, which inspect doesn't read."""


@pytest.fixture(scope="module")
def study(chest: Chest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kinds_choices.legs_that_nothing_names(chest, tmp_path_factory.mktemp("study"))


@pytest.fixture
def analyzer() -> Analyzer:
    one = Analyzer(Options(device="cpu"))
    one._networks = stand_ins()
    return one


def test_the_report_is_of_the_chest_and_says_so(study: Path, analyzer: Analyzer) -> None:
    (case,) = find_cases(study)
    (other,) = case.others
    report = analyzer.analyze(study)
    assert report.ct.series is not None
    assert report.ct.series.uid == other.series.uid
    assert report.ct.name == case.name, "a case is a study: its folder doesn't depend on what its series hold"
    assert case.series.uid in report.warnings[0]
    assert set(report.timing_s) >= {"read", "lungs", "find"}


def test_a_series_that_is_named_is_the_only_one_tried(study: Path) -> None:
    (case,) = find_cases(study)
    with pytest.raises(LungsNotFoundError, match="ml of lung in the image"):
        Analyzer(Options(series_uid=case.series.uid)).analyze(study)


def test_the_bundles_and_a_prior_take_the_next_series_too(study: Path) -> None:
    (case,) = find_cases(study)
    image = LoadImaged("image", ChestReader(), expanduser=False, ensure_channel_first=True)({"image": case})["image"]
    assert image.shape[1:] == (72, 72, 40)
    prior = read_prior(study, Options())
    assert prior.ct is not None
    assert prior.lungs.right_ml > 200


def test_a_study_in_an_archive_is_finished_once(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monai_lung.inference.load_networks", lambda *_, **__: stand_ins())
    monkeypatch.setattr("monai_lung.batch.studies.declared_weights", lambda *_: {})
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for file in sorted(study.rglob("*.dcm")):
            archive.write(file, f"{file.parent.name}/{file.name}")
    job = Job(tmp_path / "out", Options(device="cpu"), ("json",))
    for finished in (False, True):
        cases = find_cases(tmp_path / "study.zip")
        assert job.finished(cases[0]) is finished
        ((case, result),) = analyze_cases(job, cases, Engine())
        assert result.error is None
        assert result.value is not None
        assert result.value["input"]["series_uid"] == case.others[0].series.uid


@pytest.mark.parametrize("kind", WITH_HEADERS)
def test_inspect_agrees_with_what_becomes_of_it(kind: Kind, chest: Chest, cage: Cage, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    given = kind.make(chest, tmp_path / "in")
    end = cage.run("inspect", given, "--json", folder=tmp_path)
    assert "Traceback" not in end.out + end.err
    if end.code:
        assert kind.refused, end.err
        assert re.search(kind.refused, end.err) or kind.code == 2
        return
    content = json.loads(end.out)
    chosen = [row for row in content["series"] if row["chosen"]]
    refused = [row["refused"] for row in chosen if row["refused"]]
    if not kind.refused or kind.code == 2:
        assert chosen or content["volumes"]
        assert not refused
    elif refused:
        assert re.search(kind.refused, refused[0])
    else:
        assert not chosen or re.search(OF_PIXELS, kind.refused)
