"""Analyses that stand in for the networks: quick, and as bad as a test wants. Run in the node's child process.

What a study does is written in the SeriesDescription of its slices.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from monai_lung.errors import OutputError, WeightsError
from monai_lung.service.analyst import Analysis, Outcome
from monai_lung.service.config import Config

CLASSES = {
    "seg": "1.2.840.10008.5.1.4.1.1.66.4",
    "sr": "1.2.840.10008.5.1.4.1.1.88.34",
    "report": "1.2.840.10008.5.1.4.1.1.104.1",
}


def make_stub(_: Config) -> Analysis:
    return analyse


def make_without_weights(_: Config) -> Analysis:
    raise WeightsError("models/find.pt: no such file; fetch the bundle again")


def make_dead(_: Config) -> Analysis:
    os._exit(3)


def analyse(source: Path, out: Path, fingerprint: str) -> Outcome:
    """Three small objects, with other UIDs each time an analysis runs: so that a second one would show."""
    files = sorted(source.glob("*.dcm"))
    first = dcmread(files[0], stop_before_pixels=True)
    found = hashlib.sha256(" ".join(f.name for f in files).encode()).hexdigest()
    if found == fingerprint:
        return Outcome("unchanged", fingerprint=found)
    misbehave(str(first.get("SeriesDescription", "")), source)
    if first.get("SeriesDescription") == "skip":
        return Outcome("skipped", "no lungs in it")
    folder = out / "case"
    folder.mkdir(parents=True)
    (folder / "findings.json").write_text(f'{{"slices": {len(files)}}}')
    for kind, sop_class in CLASSES.items():
        write_object(folder / f"{kind}.dcm", kind, sop_class, first, len(files))
    return Outcome("done", fingerprint=found, folder=folder)


def misbehave(how: str, source: Path) -> None:
    runs = source.parent.parent / f"runs-{source.name}"
    runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
    if how == "raise":
        raise ValueError("Test^Patient is not a number")
    if how == "killed" or (how == "killed once" and runs.read_text() == "x"):
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "hang":
        time.sleep(600)
    if how == "slow":
        time.sleep(6)
    if how == "disk full once" and runs.read_text() == "x":
        raise OutputError("results can't be written: no space left on the device")


def write_object(path: Path, kind: str, sop_class: str, source: Dataset, slices: int) -> None:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = sop_class
    uid = f"2.25.{int.from_bytes(os.urandom(12))}"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = uid
    data.StudyInstanceUID, data.SeriesInstanceUID = source.StudyInstanceUID, f"{source.SeriesInstanceUID}.9"
    data.PatientID, data.PatientName, data.Modality = source.PatientID, source.PatientName, kind.upper()
    data.InstanceNumber = slices
    data.save_as(path, enforce_file_format=True)
