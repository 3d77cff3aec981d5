"""The earlier examination of a study's patient: a result or images that the node still has, or an archive's."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, build_context, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    CTImageStorage,
    EnhancedCTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from monai_lung.errors import InputError
from monai_lung.report import findings
from monai_lung.service.c_store import associate, client_context
from monai_lung.service.config import PriorArchive
from monai_lung.service.log import event, reason_of
from monai_lung.service.transport import NotSent

if TYPE_CHECKING:
    from monai_lung.model import CT

MOST_TRIED = 3
"""Studies of an archive that are fetched until one holds a chest CT."""
_PENDING = (0xFF00, 0xFF01)


def in_store(root: Path, ct: CT) -> Path | None:
    """The newest earlier examination of the patient of `ct` below the node's storage: its images, else its result.

    Args:
        root: the node's storage, with `received/` and `results/`.
        ct: the study in hand; without a patient key or a date nothing is looked for.
    """
    if not ct.patient_key or ct.study_date is None:
        return None
    found: list[tuple[datetime.date, Path]] = []
    for path in (root / "results").glob("*/*/findings.json"):
        date = _date_of(path, ct)
        if date is not None:
            found.append((date, path.parent))
    for _, result in sorted(found, key=lambda one: one[0], reverse=True):
        images = root / "received" / result.parent.name
        if images.is_dir() and any(images.iterdir()):
            return images
        if (result / "lungs.nii.gz").is_file():
            return result
    return None


def _date_of(path: Path, ct: CT) -> datetime.date | None:
    """Date of an earlier result of the same patient and another study; None where it isn't one."""
    try:
        source = findings.read(path)["input"]
        date = datetime.date.fromisoformat(source["study_date"])
    except (InputError, KeyError, TypeError, ValueError):
        return None
    own_study = ct.series.study_uid if ct.series else ""
    other = source.get("patient_key") == ct.patient_key and source.get("study_uid") != own_study
    return date if other and ct.study_date is not None and date <= ct.study_date else None


def fetched(archive: PriorArchive, ct: CT, into: Path) -> Path | None:
    """The newest earlier chest CT of the patient that an archive has, moved into a folder below `into`; None without.

    The archive is asked by C-FIND for CT studies of the patient before the day of this one, and sends them by C-MOVE to
    a port that listens for just so long. What it sends for is tried from the newest on, until one is a chest CT. An
    archive that doesn't answer is logged, and there is no prior.
    """
    from monai_lung.io import find_cases

    patient_id = ct.patient[1] if len(ct.patient) > 1 else ""
    if not patient_id or ct.study_date is None:
        return None
    try:
        studies = _studies(archive, patient_id, ct)
        for number, uid in enumerate(studies[:MOST_TRIED]):
            folder = into / f"prior-{number}"
            folder.mkdir(parents=True)
            try:
                _move(archive, uid, folder)
                if find_cases(folder):
                    return folder
            except InputError:
                shutil.rmtree(folder, ignore_errors=True)
    except (NotSent, OSError) as error:
        event("no prior from the archive", 30, reason=reason_of(error))
    return None


def _studies(archive: PriorArchive, patient_id: str, ct: CT) -> list[str]:
    """UIDs of the patient's earlier CT studies, the newest first."""
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.PatientID, query.ModalitiesInStudy = patient_id, "CT"
    query.StudyDate = f"-{ct.study_date:%Y%m%d}"
    query.StudyInstanceUID = query.StudyDescription = query.StudyTime = ""
    own = ct.series.study_uid if ct.series else ""
    found: list[tuple[str, str, str]] = []
    with _association(archive, StudyRootQueryRetrieveInformationModelFind) as association:
        for status, answer in association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind):
            if status and status.Status in _PENDING and answer is not None:
                date, time, uid = (str(answer.get(k) or "") for k in ("StudyDate", "StudyTime", "StudyInstanceUID"))
                same_patient = str(answer.get("PatientID") or patient_id) == patient_id
                if uid and uid != own and same_patient and date and date <= f"{ct.study_date:%Y%m%d}":
                    found.append((date, time, uid))
    return [uid for _, _, uid in sorted(found, reverse=True)]


def _move(archive: PriorArchive, study_uid: str, folder: Path) -> None:
    """Let the archive send a study into `folder`.

    Raises:
        NotSent: it refuses.
    """
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", study_uid
    with (
        _listening(archive, study_uid, folder),
        _association(archive, StudyRootQueryRetrieveInformationModelMove) as association,
    ):
        answers = association.send_c_move(query, archive.own_ae_title, StudyRootQueryRetrieveInformationModelMove)
        status = 0xFFFF
        for answer, _ in answers:
            status = answer.get("Status", 0xFFFF) if answer else 0xFFFF
    if status not in (0x0000, 0xB000):
        raise NotSent(f"the archive doesn't move the prior: status 0x{status:04X}")


@contextmanager
def _listening(archive: PriorArchive, study_uid: str, folder: Path) -> Iterator[None]:
    """A port that takes CT images of one study, for as long as the block runs."""
    ae = AE(archive.own_ae_title)
    for sop_class in (CTImageStorage, EnhancedCTImageStorage):
        ae.add_supported_context(sop_class, ALL_TRANSFER_SYNTAXES)

    def store(arrived: evt.Event) -> int:
        data = arrived.dataset
        if str(data.get("StudyInstanceUID")) != study_uid:
            return 0xA900
        data.file_meta = arrived.file_meta
        data.save_as(folder / f"{generate_uid()}.dcm", enforce_file_format=True)
        return 0x0000

    server: Any = ae.start_server(
        (archive.own_address, archive.own_port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)]
    )
    try:
        yield
    finally:
        server.shutdown()


@contextmanager
def _association(archive: PriorArchive, model: str) -> Iterator[Any]:
    tls = client_context(archive.tls, "prior.archive") if archive.tls else None
    where = (archive.host, archive.port)
    association = associate(where, archive.ae_title, archive.own_ae_title, [build_context(model)], tls=tls)
    association.dimse_timeout = archive.timeout_s
    try:
        yield association
    finally:
        association.release()
