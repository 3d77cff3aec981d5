"""Libraries that only the node needs: the extra `service`."""

from __future__ import annotations

import importlib
from typing import Any

from monai_lung.errors import UsageError


def require(module: str) -> Any:
    """Import a module of the extra `service`.

    Raises:
        UsageError: it isn't installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise UsageError(
            f'monai-lung serve needs {package} ({error}): pip install "monai-lung[dicom,service]"'
        ) from error
