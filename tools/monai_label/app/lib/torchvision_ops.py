"""torchvision beside a CPU build of torch that it wasn't compiled for."""

from __future__ import annotations

import importlib

from torch.library import Library

_LIBRARIES: list[Library] = []
"""A library's operators live as long as it does."""
_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor a, Tensor b, float c) -> Tensor",
)


def declare() -> None:
    """Make `import torchvision` work where its compiled operators can't be loaded.

    MONAI Label imports it for pictures alone; torchvision refuses to be imported while operators that it describes are
    unknown, so they are declared here, without any code behind them. Does nothing where torchvision loads as it is.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        library = Library("torchvision", "DEF")
        for operator in _OPERATORS:
            library.define(operator)
        _LIBRARIES.append(library)
        importlib.import_module("torchvision")
