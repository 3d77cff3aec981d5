"""How one input is told from another: a digest of its files' content, whatever they are called and wherever they lie.

UIDs don't: anonymisers give equal ones to two patients, and a volume file has none. Reading a study once more costs
about as long as the disk takes: SHA-256 runs at one to two gigabytes a second and core.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from monai_lung.errors import DecodeError
from monai_lung.io.detached import check_data_file
from monai_lung.io.paths import shown
from monai_lung.io.pixels import in_parallel

if TYPE_CHECKING:
    from monai_lung.io.cases import Case


def content_sha256(case: Case) -> str:
    """SHA-256 of what a case is read from.

    Of one file it is the file's own. Of several it's that of their digests (hexadecimal, sorted, a space between), so
    that neither names nor order matter.

    Raises:
        DecodeError: a file can't be read (any more), or its voxels lie elsewhere.
    """
    return case.sha256 or files_sha256(case.series.files if case.series else _volume_files(case.path))


def is_of(sha256: str, case: Case) -> bool:
    """Whether this is the digest of one of the series that may be analysed for a case (`chest.read_chest`).

    Raises:
        DecodeError: a file can't be read.
    """
    return any(content_sha256(one) == sha256 for one in (case, *case.others))


def files_sha256(files: Sequence[Path]) -> str:
    """`content_sha256` of files.

    Raises:
        DecodeError: one can't be read.
    """
    digests = sorted(in_parallel(_digest, files))
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()


def _volume_files(path: Path) -> list[Path]:
    """A volume file, and where its header is a file of its own (.nhdr, .mhd) that of its voxels."""
    if path.suffix.lower() not in (".nhdr", ".mhd"):
        return [path]
    return list(dict.fromkeys([path.resolve(), check_data_file(path).path.resolve()]))


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DecodeError(f"{shown(path)} can't be read any more: {error.strerror}") from error
