"""Transforms of chest CTs: array and dictionary (`d`) versions, composable in bundle configs.

What needs MONAI is imported when it's first asked for, so that the functions beside them start fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "AveragedSpacingd": "averaged_spacing",
    **dict.fromkeys(("LungMask", "LungMaskd", "LungParenchyma", "LungParenchymad", "NearLungsd"), "lung_mask"),
    **dict.fromkeys(("LungWindow", "LungWindowd", "SoftWindowd"), "lung_window"),
    "LungSpacingd": "spacing",
    **dict.fromkeys(("CropToLungs", "CropToLungsd", "SubCases", "SubCasesd"), "subcases"),
    **dict.fromkeys(("NoduleRoi", "NoduleRoid"), "roi"),
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a transform when it's first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
