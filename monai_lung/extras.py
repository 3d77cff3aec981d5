"""Libraries that only some parts need, the extras of the package: the one guard of their imports."""

from __future__ import annotations

import importlib
from typing import Any

from monai_lung.errors import UsageError


def require(module: str, purpose: str, extra: str = "dicom") -> Any:
    """Import a module of an extra.

    Args:
        module: dotted name.
        purpose: what it is needed for, the subject of the message.
        extra: which brings it, or several, with commas between; "" for a package that no extra brings.

    Raises:
        UsageError: it isn't installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        install = f'"monai-lung[{extra}]"' if extra else package
        raise UsageError(f"{purpose} needs {package} ({error}): pip install {install}") from error
