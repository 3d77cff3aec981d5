"""The node's folders, and files that are on the disk for good before anyone is told so."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from pathlib import Path
from typing import TextIO

from monai_lung.errors import OutputError, UsageError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Folders:
    """Everything that a node keeps, below one folder that it alone uses, open to its own user alone.

    `received/<study>/` holds what came in, `results/<study>/<revision>/` what goes out; `incoming`, `work` and `trash`
    are empty between two runs.

    Raises:
        OutputError: the folder can't be made or written.
        UsageError: another node uses it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.queue = root / "queue.sqlite"
        self.received, self.results = root / "received", root / "results"
        self.incoming, self.work, self.trash = root / "incoming", root / "work", root / "trash"
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _locked(root / "lock")
            for folder in (self.incoming, self.work, self.trash):
                shutil.rmtree(folder, ignore_errors=True)
            for folder in (self.received, self.results, self.incoming, self.work, self.trash):
                folder.mkdir(mode=0o700, exist_ok=True)
            sync_folder(root)
        except OSError as error:
            raise OutputError(f"storage {root} can't be used: {error.strerror}") from error

    def close(self) -> None:
        """Let another node have it."""
        self._lock.close()

    def free_bytes(self) -> int:
        """Space left for the node."""
        return shutil.disk_usage(self.root).free

    def new_file(self, data: bytes) -> Path:
        """Write bytes to a new file in `incoming`, forced to the disk; a file that fails is removed.

        Raises:
            OSError: no space left, for one.
        """
        path = self.incoming / secrets.token_hex(8)
        try:
            with open(path, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def discard(self, folder: Path) -> Path | None:
        """Take a folder away at once; what is returned is to be removed, which may take long."""
        target = self.trash / secrets.token_hex(8)
        try:
            os.rename(folder, target)
        except FileNotFoundError:
            return None
        return target


def place(file: Path, folder: Path, name: str) -> None:
    """Move a file into a folder, made where it is missing, so that a power cut can't undo it.

    Raises:
        OSError: no space left, for one.
    """
    if not folder.is_dir():
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)
    os.rename(file, folder / name)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _locked(path: Path) -> TextIO:
    file = open(path, "w")  # noqa: SIM115 - held as long as the node runs
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise UsageError(f"storage {path.parent} is in use by another node: stop it, or give another storage") from None
    return file
