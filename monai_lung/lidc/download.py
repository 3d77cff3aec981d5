"""Find LIDC-IDRI's series in a download from TCIA, whatever its folders are called.

The classic layout is LIDC-IDRI/LIDC-IDRI-0001/<study UID>/<series UID>/000001.dcm. The NBIA Data Retriever's is
manifest-1600709154662/LIDC-IDRI/LIDC-IDRI-0001/01-01-2000-NA-NA-30178/3000566.000000-NA-03192/1-001.dcm, where only the
headers say which series it is. Either way a folder with .dcm files is one series, the XML lies in it, and radiographs
have folders of their own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from monai_lung.errors import UsageError

_PATIENT = re.compile(r"LIDC-IDRI-\d{4}")


@dataclass(frozen=True)
class Download:
    """The content of a download.

    Attributes:
        folders: series UID to its folder, for the wanted series.
        unreadable: folders of which no file has a readable header.
        unknown: folders of CTs that aren't wanted: not in the database.
        others: number of folders of other series (radiographs).
    """

    folders: dict[str, Path]
    unreadable: tuple[Path, ...]
    unknown: tuple[Path, ...]
    others: int


def find_series(root: Path, wanted: Collection[str]) -> Download:
    """Look through a download for the wanted series; only one header of a folder is read.

    Raises:
        UsageError: the folder isn't there, or holds no .dcm file.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder: give the one that LIDC-IDRI was downloaded to")
    folders: dict[str, Path] = {}
    unreadable: list[Path] = []
    unknown: list[Path] = []
    others = 0
    for folder, subfolders, names in os.walk(root):
        subfolders.sort()
        files = [Path(folder, name) for name in sorted(names) if name.lower().endswith(".dcm") and name[0] != "."]
        if files:
            uid, modality = (Path(folder).name, "CT") if Path(folder).name in wanted else _series(files)
            if uid is None:
                unreadable.append(Path(folder))
            elif uid in wanted:
                folders.setdefault(uid, Path(folder))
            elif modality == "CT":
                unknown.append(Path(folder))
            else:
                others += 1
    if not folders and not unreadable and not unknown and not others:
        raise UsageError(f"{root} holds no .dcm file: give the folder that LIDC-IDRI was downloaded to")
    return Download(folders, tuple(unreadable), tuple(unknown), others)


def patient_of(folder: Path) -> str:
    """The patient that a folder's path names, "" where it names none."""
    names = [part for part in folder.parts if _PATIENT.fullmatch(part)]
    return names[-1] if names else ""


def _series(files: list[Path]) -> tuple[str | None, str]:
    """UID and modality in the first readable header; None where there is none."""
    import pydicom

    for file in files:
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["SeriesInstanceUID", "Modality"])
            return str(header.SeriesInstanceUID), str(header.get("Modality", ""))
        except Exception:  # damaged files raise nearly anything; the next one may do
            continue
    return None, ""
