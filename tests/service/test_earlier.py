"""The node finds the earlier examination of a patient: in its own store, or in an archive by C-FIND and C-MOVE."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_series import SeriesBuilder
from node_builder import free_port
from pydicom.dataset import Dataset
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, build_context, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from monai_lung import pipeline
from monai_lung.errors import ConfigError, PriorError
from monai_lung.io import find_cases
from monai_lung.model import CT, Lungs, Report, Series
from monai_lung.service import study as node_study
from monai_lung.service.config import (
    AnalysisSettings,
    Config,
    Destination,
    PriorArchive,
    PriorSettings,
    Sender,
    read_config,
)
from monai_lung.service.earlier import fetched, in_store

TODAY, BEFORE, LONG_AGO = datetime.date(2024, 7, 1), datetime.date(2023, 7, 3), datetime.date(2021, 1, 2)


def ct_of(study: str = "1.2.3", date: datetime.date | None = TODAY, key: str = "k", patient: str = "P-1") -> CT:
    series = Series(study + ".1", study, "CT", "Axial", (), True, "")
    hu = np.zeros((4, 4, 4), np.int16)
    name = "case-" + study
    return CT(hu, np.eye(4), name, Path("x"), series, study_date=date, patient_key=key, patient=("A^B", patient))


def stored(root: Path, ct: CT, formats: tuple[str, ...] = ("json", "nifti")) -> Path:
    """A result of `ct` as the node keeps it."""
    report = Report(ct, Lungs(np.ones((4, 4, 4), np.uint8), 3000.0, 2800.0), (), {})
    folder = pipeline.write(report, root / "made", formats)
    kept = root / "results" / ct.name / "1"
    kept.parent.mkdir(parents=True)
    folder.rename(kept)
    return kept


def test_the_newest_earlier_result_of_the_same_patient_is_taken(tmp_path: Path) -> None:
    now = ct_of()
    assert in_store(tmp_path, now) is None
    old = stored(tmp_path, ct_of("1.2.1", LONG_AGO))
    newer = stored(tmp_path, ct_of("1.2.2", BEFORE))
    stored(tmp_path, ct_of("1.2.4", BEFORE, key="other"))
    stored(tmp_path, ct_of("1.2.5", datetime.date(2025, 1, 1)))
    stored(tmp_path, ct_of("1.2.3", TODAY))  # the study itself
    assert in_store(tmp_path, now) == newer
    (newer / "lungs.nii.gz").unlink()
    assert in_store(tmp_path, now) == old
    (newer / "findings.json").write_text("{")
    assert in_store(tmp_path, now) == old
    assert in_store(tmp_path, replace(now, patient_key="")) is None
    assert in_store(tmp_path, replace(now, study_date=None)) is None


def test_images_that_are_still_there_go_before_their_result(tmp_path: Path) -> None:
    kept = stored(tmp_path, ct_of("1.2.2", BEFORE))
    images = tmp_path / "received" / kept.parent.name
    images.mkdir(parents=True)
    assert in_store(tmp_path, ct_of()) == kept
    (images / "a.dcm").write_bytes(b"x")
    assert in_store(tmp_path, ct_of()) == images


class PriorsArchive:
    """Answers C-FIND with its studies, and C-MOVE by sending their slices to the one title it knows."""

    def __init__(self, own_port: int) -> None:
        self.port, self.own_port = free_port(), own_port
        self.studies: dict[str, list[Dataset]] = {}
        self.asked: list[Dataset] = []
        self.move_status: int | None = None

    def add(self, study: str, date: str, slices: int = 12, patient: str = "P-1", modality: str = "CT") -> None:
        builder = SeriesBuilder(np.full((40, 32, slices), -800, np.int16))
        for data in builder.datasets:
            data.StudyInstanceUID, data.StudyDate, data.PatientID, data.Modality = study, date, patient, modality
        self.studies[study] = builder.datasets

    def __enter__(self) -> PriorsArchive:
        ae = AE("ARCHIVE")
        ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        ae.add_supported_context(StudyRootQueryRetrieveInformationModelMove)
        ae.requested_contexts = [build_context(CTImageStorage, ALL_TRANSFER_SYNTAXES[:2])]
        handlers = [(evt.EVT_C_FIND, self._find), (evt.EVT_C_MOVE, self._move)]
        self._server: Any = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        self.asked.append(event.identifier)
        for uid, slices in self.studies.items():
            answer = Dataset()
            answer.QueryRetrieveLevel, answer.StudyInstanceUID = "STUDY", uid
            answer.StudyDate, answer.PatientID = slices[0].StudyDate, slices[0].PatientID
            yield 0xFF00, answer

    def _move(self, event: evt.Event) -> Iterator[Any]:
        if event.move_destination != "PRIORS" or self.move_status is not None:
            yield None, None
            return
        yield "127.0.0.1", self.own_port
        slices = self.studies[str(event.identifier.StudyInstanceUID)]
        yield len(slices)
        for data in slices:
            yield 0xFF00, data


@pytest.fixture
def archive() -> Iterator[PriorsArchive]:
    with PriorsArchive(free_port()) as one:
        yield one


def settings(archive: PriorsArchive, **more: Any) -> PriorArchive:
    return PriorArchive("ARCHIVE", "127.0.0.1", archive.port, "PRIORS", archive.own_port, timeout_s=30, **more)


def test_an_archive_is_asked_and_sends_the_newest_earlier_ct(archive: PriorsArchive, tmp_path: Path) -> None:
    archive.add("1.9.1", "20210102")
    archive.add("1.9.2", "20230703")
    archive.add("1.9.3", "20240801")  # later than the study in hand
    archive.add("1.9.4", "20240101", patient="P-10")  # an archive that matches more than was asked
    archive.add("1.2.3", "20240701")  # the study itself
    folder = fetched(settings(archive), ct_of(), tmp_path)
    assert folder is not None
    assert len(list(folder.iterdir())) == 12
    (query,) = archive.asked
    assert (query.PatientID, query.StudyDate, query.ModalitiesInStudy) == ("P-1", "-20240701", "CT")
    (case,) = find_cases(folder)
    assert case.series is not None
    assert (case.series.study_uid, case.series.study_date) == ("1.9.2", BEFORE)


def test_a_study_without_a_chest_ct_is_passed_over(archive: PriorsArchive, tmp_path: Path) -> None:
    archive.add("1.9.1", "20230703")
    archive.add("1.9.2", "20240103", slices=3)  # a localizer
    folder = fetched(settings(archive), ct_of(), tmp_path)
    assert folder is not None
    assert len(list(folder.iterdir())) == 12


def test_an_archive_that_refuses_or_is_down_costs_the_prior_alone(archive: PriorsArchive, tmp_path: Path) -> None:
    archive.add("1.9.1", "20230703")
    archive.move_status = 0xA801
    assert fetched(settings(archive), ct_of(), tmp_path / "a") is None
    down = replace(settings(archive), port=free_port())
    assert fetched(down, ct_of(), tmp_path / "b") is None
    assert fetched(settings(archive), ct_of(patient=""), tmp_path / "c") is None


def test_a_prior_that_cannot_be_used_leaves_the_study_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(tmp_path, ct_of("1.2.2", BEFORE))
    config = Config(tmp_path, (Sender("CT", "127.0.0.1"),), (Destination("pacs", "A", "h", 104),))
    seen: list[Path | None] = []

    def analyze(self: pipeline.Analyzer, ct: CT, lungs: Lungs) -> Report:
        seen.append(self.options.prior)
        if self.options.prior is not None:
            raise PriorError("the lungs of both examinations can't be aligned")
        return Report(ct, lungs, ())

    monkeypatch.setattr(pipeline.Analyzer, "analyze", analyze)
    analyzer = pipeline.Analyzer()
    analyzer._networks = object()  # type: ignore[assignment]
    lungs = Lungs(np.ones((4, 4, 4), np.uint8), 3000.0, 2800.0)
    node_study._with_prior(analyzer, config, ct_of(), lungs, tmp_path / "work")
    assert seen == [tmp_path / "results" / "case-1.2.2" / "1", None]
    without = replace(config, prior=PriorSettings(own_store=False))
    node_study._with_prior(analyzer, without, ct_of(), lungs, tmp_path / "work")
    assert seen[2:] == [None]


NODE = """
storage = "store"
[[sender]]
ae_title = "CT1"
address = "10.1.2.0/24"
[[destination]]
name = "pacs"
ae_title = "ARCHIVE"
host = "pacs.example"
port = 104
"""


def test_context_and_prior_in_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text(
        NODE
        + '[analysis]\nsensitivity = "low"\nperson = {screening = true, risk = "high"}\n'
        + '[prior.archive]\nae_title = "PACS"\nhost = "pacs"\nport = 104\nown_ae_title = "PRIORS"\nown_port = 11113\n'
    )
    config = read_config(file)
    assert config.analysis == AnalysisSettings(sensitivity="low", person=config.analysis.person)
    assert (config.analysis.person.screening, config.analysis.person.risk) == (True, "high")
    assert config.prior.archive is not None
    assert config.prior.archive.own_port == 11113
    for wrong, what in (
        ('person = {risk = "medium"}', "analysis.person.risk"),
        ('sensitivity = "most"', "sensitivity"),
    ):
        file.write_text(NODE + f"[analysis]\n{wrong}\n")
        with pytest.raises(ConfigError, match=what):
            read_config(file)


def test_results_keep_what_a_later_comparison_needs() -> None:
    assert {"json", "nifti"} <= set(node_study._KEPT)
