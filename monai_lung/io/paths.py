"""Paths of inputs: which files a folder, a zip archive or a single path stands for."""

from __future__ import annotations

import atexit
import os
import re
import stat
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from monai_lung.errors import DecodeError, UsageError

VOLUME_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
_MAX_UNZIPPED_BYTES = 8 * 1024**3
_LONGEST_SHOWN = 400
_APPLE_DOUBLE = b"\x00\x05\x16\x07"
_unzipped: dict[tuple[Path, int, int], tempfile.TemporaryDirectory] = {}
"""Archives, with their size and time of change, and what was unpacked of them."""


def shown(path: Path | str) -> str:
    """A path as one printable line, whatever bytes its name holds."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:100]}…{text[100 - _LONGEST_SHOWN :]}"


def is_volume(path: Path) -> bool:
    """Whether the name is that of a volume file (NIfTI, NRRD, MHA)."""
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def volumes_among(files: Iterable[Path]) -> list[Path]:
    """The volume files, without those of folders that hold a `findings.json`: they are results of an earlier run."""
    files = list(files)
    results = {file.parent for file in files if file.name == "findings.json"}
    return [file for file in files if is_volume(file) and file.parent not in results]


def stem(path: Path) -> str:
    """A file's name without its volume suffix, safe as a name in any folder; never empty, at most 80 characters."""
    name = path.name
    for suffix in VOLUME_SUFFIXES:
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
            break
    name = os.fsencode(name).decode("utf-8", "replace")
    return re.sub(r"[^\w.+-]+|\ufffd", "_", name).strip("._ ")[:80] or "volume"


def list_files(path: Path) -> list[Path]:
    """Every regular file below a folder, sorted by name; symbolic links are followed, each folder is entered once.

    Pipes, sockets and devices are left out: reading one could wait forever. So are macOS's companions of files
    (`is_apple_double`).
    """
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(path, followlinks=True):
        try:
            info = os.stat(folder)
        except OSError:
            folders.clear()
            continue
        if (info.st_dev, info.st_ino) in seen:
            folders.clear()
            continue
        seen.add((info.st_dev, info.st_ino))
        folders.sort()
        files = (Path(folder, name) for name in sorted(names))
        found.extend(file for file in files if is_regular(file) and not is_apple_double(file))
    return found


def is_apple_double(path: Path) -> bool:
    """Whether it's a file "._NAME" in which macOS keeps the attributes of NAME on foreign disks and in archives."""
    if not path.name.startswith("._"):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(4) == _APPLE_DOUBLE
    except OSError:
        return False


def is_regular(path: Path) -> bool:
    """Whether a path leads to a regular file (False where it can't be told)."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def check_exists(path: Path) -> None:
    """Refuse a path that leads nowhere.

    Raises:
        UsageError: it isn't there, or it's neither a file nor a folder.
    """
    try:
        exists = path.exists()
    except (OSError, ValueError):
        exists = False
    if not exists:
        raise UsageError(f"{shown(path)} does not exist: give a folder of DICOM slices, a zip, NIfTI, NRRD or MHA file")
    if not path.is_dir() and not is_regular(path):
        raise UsageError(f"{shown(path)} is neither a file nor a folder")


def unzip(path: Path) -> Path:
    """A temporary folder with the files of a zip archive; it's removed by `forget_unzipped` or when the process ends.

    DICOM files get numbers for names, so that nothing about the patient shows in the temporary folder.

    Raises:
        DecodeError: the archive is damaged, encrypted, or unpacks to more than 8 GiB.
    """
    info = path.stat()
    key = path.absolute(), info.st_size, info.st_mtime_ns
    if key in _unzipped:
        return Path(_unzipped[key].name)
    holder = tempfile.TemporaryDirectory(prefix="monai-lung-", ignore_cleanup_errors=True)
    try:
        _extract(path, Path(holder.name))
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError, ValueError) as error:
        holder.cleanup()
        reason = " ".join(str(error).split())
        raise DecodeError(f"the zip archive {shown(path)} can't be unpacked: {reason}") from error
    _unzipped[key] = holder
    return Path(holder.name)


def archive_of(file: Path) -> Path | None:
    """The archive that a file was unpacked from by `unzip`, None for any other file."""
    return next((key[0] for key, holder in _unzipped.items() if Path(holder.name) in file.parents), None)


def forget_unzipped(path: Path) -> None:
    """Remove what was unpacked of an archive, if anything; `unzip` would do it again."""
    for key in [key for key in _unzipped if key[0] == path.absolute()]:
        _unzipped.pop(key).cleanup()


def _extract(path: Path, folder: Path) -> None:
    left = _MAX_UNZIPPED_BYTES
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > left:
            raise ValueError("it holds more than 8 GiB")
        for number, entry in enumerate(archive.infolist()):
            if entry.is_dir():
                continue
            name = Path(entry.filename.replace("\\", "/"))
            target = folder / f"{number:06d}"
            if is_volume(name):
                if name.name.startswith("._") and _starts_as_apple_double(archive, entry):
                    continue
                target.mkdir()
                target /= stem(name) + next(s for s in VOLUME_SUFFIXES if name.name.lower().endswith(s))
            with archive.open(entry) as source, open(target, "wb") as file:
                while chunk := source.read(1 << 20):
                    left -= len(chunk)
                    if left < 0:  # counted while unpacking: the sizes that an archive declares may lie
                        raise ValueError("it holds more than 8 GiB")
                    file.write(chunk)


def _starts_as_apple_double(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    with archive.open(entry) as file:
        return file.read(4) == _APPLE_DOUBLE


@atexit.register
def _remove_unzipped() -> None:
    for holder in _unzipped.values():
        holder.cleanup()
