"""Headers of NRRD and MetaImage, before their reader opens the file that they name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from monai_lung.errors import DecodeError, GeometryError
from monai_lung.io.paths import is_regular, shown

_HEADER_BYTES = 64 * 1024
_DATA_FILE = re.compile(rb"^\s*(?:data ?file\s*:|ElementDataFile\s*=)[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_SPACING = re.compile(rb"^\s*Element(?:Spacing|Size)\s*=[^\r\n]*-\s*[\d.]", re.IGNORECASE | re.MULTILINE)
_PACKED = re.compile(rb"^\s*(?:encoding\s*:\s*(?!raw)|CompressedData\s*=\s*True)", re.IGNORECASE | re.MULTILINE)
_SPACE = re.compile(
    rb"^space\s*:\s*(RAS|LAS|LPS|(?:right|left)-anterior-superior|left-posterior-superior)\s*$",
    re.IGNORECASE | re.MULTILINE,
)
"""Spaces of a NRRD that lie in the patient, and that its reader turns to LPS. It takes the vectors of others
(scanner-xyz, 3D-right-handed, a mere dimension) for LPS as they are."""
_MATRIX = re.compile(
    rb"^\s*(?:(?:TransformMatrix|Rotation|Orientation)\s*=|AnatomicalOrientation\s*=\s*RAI\b)",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True)
class Voxels:
    """Where the voxels of a NRRD or MetaImage are, and what its header says of them.

    `oriented` is False where it says nothing of how the image lies in the patient, or only in a scanner or a space of
    its own.
    """

    path: Path
    compressed: bool
    oriented: bool
    nrrd: bool


def check_data_file(path: Path) -> Voxels:
    """Make sure that a NRRD or MetaImage takes its voxels from itself or from one regular file below its folder.

    Its reader would open whatever the header names: another user's file, a device without end, a pipe that nobody
    writes to.

    Raises:
        DecodeError: the voxels are elsewhere, in several files, or in none.
        GeometryError: a voxel size is negative: readers drop the sign, and with it the side.
    """
    with open(path, "rb") as file:
        head = file.read(_HEADER_BYTES)
    nrrd = head.startswith(b"NRRD")
    if nrrd:
        head = re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0]
    elif not (last := _DATA_FILE.search(head)) or path.suffix.lower() in (".nrrd", ".nhdr"):
        raise DecodeError(f"{shown(path)} can't be read: it is neither NRRD nor MetaImage; fetch the file again")
    else:
        head = head[: last.end()]
    target = path
    for name in _DATA_FILE.findall(head):
        if name.strip() and name.strip().upper() != b"LOCAL":
            target = _checked(path, Path(name.strip().decode("utf-8", "surrogateescape")))
    if not nrrd and _SPACING.search(head):
        raise GeometryError(f"{shown(path)} has a negative voxel size: export it with its directions")
    oriented = bool((_SPACE if nrrd else _MATRIX).search(head))
    return Voxels(target, bool(_PACKED.search(head)), oriented, nrrd)


def _checked(path: Path, name: Path) -> Path:
    if name.name.upper().startswith("LIST") or "%" in name.name:
        raise DecodeError(f"{shown(path)} has its voxels in several files: store it as one")
    folder = path.resolve().parent
    target = (folder / name).resolve()
    if folder not in target.parents:
        raise DecodeError(f"{shown(path)} takes its voxels from outside of its folder: store it as one file")
    if not is_regular(target):
        raise DecodeError(f"{shown(path)} takes its voxels from {shown(name)}, which is not a regular file")
    return target
