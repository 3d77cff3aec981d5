"""From files to a CT in memory, and from arrays to files.

`find_cases` says what a path holds, `read_ct` reads it, `CTReader` does the same for MONAI's `LoadImage`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_lung.io.cases import Case, distinct, find_cases
    from monai_lung.io.content import content_sha256
    from monai_lung.io.image_reader import CTReader
    from monai_lung.io.images import as_ct
    from monai_lung.io.output import replacing, replacing_folder, write_nifti
    from monai_lung.io.reader import read_ct
    from monai_lung.io.series import choose, discover

_HOME = {
    "CTReader": "image_reader",
    "Case": "cases",
    "as_ct": "images",
    "choose": "series",
    "content_sha256": "content",
    "discover": "series",
    "distinct": "cases",
    "find_cases": "cases",
    "read_ct": "reader",
    "replacing": "output",
    "replacing_folder": "output",
    "write_nifti": "output",
}
__all__ = [
    "CTReader",
    "Case",
    "as_ct",
    "choose",
    "content_sha256",
    "discover",
    "distinct",
    "find_cases",
    "read_ct",
    "replacing",
    "replacing_folder",
    "write_nifti",
]


def __getattr__(name: str) -> Any:
    """Import on first use: a reader of DICOM needs no MONAI, a writer no pydicom."""
    if name in _HOME:
        return getattr(import_module(f"monai_lung.io.{_HOME[name]}"), name)
    raise AttributeError(f"module 'monai_lung.io' has no attribute {name!r}")
