"""Libraries that only some outputs need: the extras of the package."""

from __future__ import annotations

import importlib
from types import ModuleType

from monai_lung.errors import UsageError


def require(module: str, purpose: str, extra: str = "dicom") -> ModuleType:
    """Import a module of an extra.

    Args:
        module: dotted name.
        purpose: what it is needed for, the subject of the message.
        extra: which brings it.

    Raises:
        UsageError: it isn't installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise UsageError(f'{purpose} needs {package} ({error}): pip install "monai-lung[{extra}]"') from error
