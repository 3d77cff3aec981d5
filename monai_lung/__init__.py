"""Lungs, nodules and malignancy on chest CT.

`monai_lung.analyze(path)` is the whole way; everything heavy is imported when it is first used.
"""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

from monai_lung import shown
from monai_lung.version import __version__

_LAZY = {
    "analyze": "monai_lung.pipeline",
    "as_ct": "monai_lung.io",
    "find_nodules": "monai_lung.alone",
    "measure_at": "monai_lung.pointed",
    "measure_mask": "monai_lung.pointed",
    "read_ct": "monai_lung.io",
    "segment_lungs": "monai_lung.alone",
}
__all__ = [
    "__version__",
    "analyze",
    "as_ct",
    "find_nodules",
    "measure_at",
    "measure_mask",
    "read_ct",
    "segment_lungs",
]


def __getattr__(name: str) -> Any:
    """Import the functions on first use: `import monai_lung` must not cost seconds."""
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'monai_lung' has no attribute {name!r}")


def _in_notebook(name: str, thing: Any) -> Any:
    return getattr(importlib.import_module("monai_lung.report.notebook"), name)(thing)


for _name in ("ct_html", "report_html", "dataframe", "plot", "view"):
    shown.answer(_name, partial(_in_notebook, _name))
