"""Lungs, nodules and malignancy on chest CT.

`monai_lung.analyze(path)` is the whole way; everything heavy is imported when it is first used.
"""

from __future__ import annotations

from typing import Any

from monai_lung.version import __version__

__all__ = ["__version__", "analyze", "read_ct"]

_LAZY = {"analyze": "monai_lung.analysis", "read_ct": "monai_lung.io"}


def __getattr__(name: str) -> Any:
    """Import `analyze` and `read_ct` on first use: `import monai_lung` must not cost seconds."""
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'monai_lung' has no attribute {name!r}")
