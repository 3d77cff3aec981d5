"""Files that appear whole or not at all.

Everything is written under a hidden temporary name beside its place, forced to the disk, then renamed. What a process
that was killed leaves behind is removed by the next one that writes there.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_lung.errors import OutputError
from monai_lung.io.paths import shown
from monai_lung.model import LPS_RAS

_log = logging.getLogger(__name__)
_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]
_NAME = re.compile(r"\.(?P<kind>new|old)-(?P<host>[0-9a-f]{6})-(?P<pid>\d+)-[0-9a-f]{8}\.(?P<name>.+)", re.DOTALL)
_WINDOWS = os.name == "nt"
_mine: set[Path] = set()
"""Temporary paths that this process is using."""
_MARKS = ("findings.json", "votes.nii.gz", "truth/nodules.json")
"""The files by which a result, a scan prepared for training and a phantom are told from a user's folder."""
_ERROR = "error.json"
"""Says of a case why there is no result."""
_REASONS = {
    errno.ENOSPC: "no space left on the device: free some and run again",
    errno.EDQUOT: "the disk quota is used up: free some space and run again",
    errno.EFBIG: "the file would be larger than the file system allows",
    errno.EROFS: "the file system is read-only: give another output folder",
    errno.EACCES: "permission denied: give another output folder",
    errno.EPERM: "permission denied: give another output folder",
    errno.ENOTDIR: "a file is where a folder should be: give another output folder",
    errno.EISDIR: "a folder is where a file should be: give another name",
    errno.EEXIST: "a file is where a folder should be: give another output folder",
    errno.ENAMETOOLONG: "the name is too long: give another one",
    errno.EIO: "the device reports an error",
}


def write_nifti(path: Path | str, array: NDArray[Any], affine_lps: NDArray[np.float64]) -> None:
    """Write an array as NIfTI, whole or not at all; the same array gives the same bytes.

    Args:
        path: ends with .nii.gz or .nii.
        array: (X, Y, Z); its type is kept (bool becomes uint8).
        affine_lps: (4, 4), voxel index to LPS mm; on disk it's RAS, in sform and qform, code 1 (scanner).

    Raises:
        OutputError: it can't be written.
    """
    import nibabel

    array = array.astype(np.uint8) if array.dtype == bool else array
    image: Any = nibabel.Nifti1Image(array, None)
    affine = LPS_RAS @ np.asarray(affine_lps, float)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    with replacing(path) as temporary:
        nibabel.save(image, temporary)


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """A temporary path (with the same suffix) that takes the place of `path` when the block ends well.

    The folder is made where it's missing. When the block fails, the temporary file is removed and what was at `path`
    stays.

    Raises:
        OutputError: no space, read-only, no permission, or a folder is in the way.
    """
    path = Path(path)
    with _reported(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    temporary = _temporary(path, "new")
    try:
        with _reported(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(path)
            yield temporary
            _flush(temporary)
            os.replace(temporary, path)
            _flush(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        _mine.discard(temporary)


@contextmanager
def replacing_folder(path: Path | str, ours: Collection[str] = ()) -> Iterator[Path]:
    """A temporary folder that takes the place of the folder `path`, with all that was in it, when the block ends well.

    When the block fails, the temporary folder is removed and what was at `path` stays. Of two processes that write the
    same folder each writes its own; the one that ends last stays, whole. Only an empty folder, or one that this package
    wrote, is replaced: another may be the user's, the input's own even.

    Args:
        path: of the folder.
        ours: names of files that this package writes there: a folder that holds nothing else is its own.

    Raises:
        OutputError: no space, read-only, no permission, or a file or a folder with other files is in the way.
    """
    path = Path(path)
    temporary = _temporary(path, "new")
    try:
        with _reported(path):
            if path.exists() and not path.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            _check_ours(path, ours)
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(path)
            temporary.mkdir()
            yield temporary
            for folder, _, names in os.walk(temporary):
                for name in names:
                    _flush(Path(folder, name))
                _flush(Path(folder))
            _swap(temporary, path)
            _flush(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        _mine.discard(temporary)


def check_folder(path: Path | str) -> None:
    """Find out, before hours of work, whether files can be written into the folder `path`, which needn't be there yet.

    Nothing is left behind.

    Raises:
        OutputError: no space, read-only, no permission, or a file is in the way.
    """
    whole = Path(path).absolute()
    try:
        nearest = next(folder for folder in (whole, *whole.parents) if folder.exists())
        with tempfile.TemporaryFile(dir=nearest) as probe:
            probe.write(b"0")
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, f"{error.strerror}: give another output folder")
        raise OutputError(f"{shown(Path(path))} can't be written: {reason}") from error


def _check_ours(path: Path, ours: Collection[str]) -> None:
    """Refuse to replace a folder that this package didn't write."""
    try:
        names = set(os.listdir(path))
    except FileNotFoundError:
        return
    if not names <= {*ours, _ERROR} and not any((path / mark).is_file() for mark in _MARKS):
        raise OutputError(f"{shown(path)} holds other files; give another output folder")


def _swap(temporary: Path, path: Path) -> None:
    """Put a folder in the place of another; a process that does the same at the same time only costs a retry."""
    for _ in range(100):
        try:
            os.rename(temporary, path)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        old = _temporary(path, "old")
        try:
            with suppress(FileNotFoundError):
                os.rename(path, old)
            placed = _placed(temporary, path, old)
            shutil.rmtree(old, ignore_errors=True)
            if placed:
                return
        finally:
            _mine.discard(old)
    raise OutputError(f"{shown(path)} is being replaced by other processes all the time: run again")


def _placed(temporary: Path, path: Path, old: Path) -> bool:
    """Whether `temporary` took the place that was cleared; False where another process was faster.

    `old` is the last whole result until then: it goes back at an error, or stays for the next run to bring back.
    """
    try:
        os.rename(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        with suppress(OSError):
            os.rename(old, path)
        raise
    return True


def _temporary(path: Path, kind: str) -> Path:
    name = f".{kind}-{_HOST}-{os.getpid()}-{secrets.token_hex(4)}.{path.name}"
    temporary = path.with_name(name)
    _mine.add(temporary)
    return temporary


def _remove_leftovers(path: Path) -> None:
    """Remove what dead processes of this machine left beside `path`; a folder that was moved away comes back.

    A process can die between moving the old folder away and putting the new one in its place: then the old one is the
    last whole result.
    """
    for entry in os.scandir(path.parent):
        match = _NAME.fullmatch(entry.name)
        left = path.parent / entry.name
        if not match or match["name"] != path.name or match["host"] != _HOST or left in _mine:
            continue
        if int(match["pid"]) != os.getpid() and _alive(int(match["pid"])):
            continue
        _log.info("removing what an interrupted run left behind")
        if match["kind"] == "old" and not path.exists():
            with suppress(OSError):
                os.rename(left, path)
        elif entry.is_dir(follow_symlinks=False):
            shutil.rmtree(left, ignore_errors=True)
        else:
            with suppress(OSError):
                left.unlink()


def _alive(pid: int) -> bool:
    if _WINDOWS:  # its signal 0 is Ctrl-C; so nothing can be asked there, and what a killed process left stays
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # no process has this number
        return False
    except OSError:
        return True
    return True


def _flush(path: Path) -> None:
    """Force a file or a folder's entries to the disk; Windows opens no folders, and flushes what may be written."""
    if _WINDOWS and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if _WINDOWS else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that can't sync a folder
            raise
    finally:
        os.close(descriptor)


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Turn the errors of a disk into an OutputError of one line; others pass."""
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0)
        elsewhere = isinstance(error.filename, str | Path) and path.parent not in Path(error.filename).parents
        if reason is None or (elsewhere and Path(error.filename) not in (path.parent, *path.parents)):
            raise
        raise OutputError(f"{shown(path)} can't be written: {reason}") from error
