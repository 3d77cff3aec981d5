"""Libraries that only some outputs need: the extra `dicom`."""

from __future__ import annotations

import importlib
from types import ModuleType

from monai_lung.errors import UsageError


def require(module: str, purpose: str) -> ModuleType:
    """Import a module of the extra `dicom`.

    Args:
        module: dotted name.
        purpose: what it is needed for, the subject of the message.

    Raises:
        UsageError: it isn't installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise UsageError(f'{purpose} needs {package} ({error}): pip install "monai-lung[dicom]"') from error
