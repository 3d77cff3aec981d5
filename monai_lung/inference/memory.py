"""Going on with less where memory runs out: fewer windows at once, then an error that says so."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from monai_lung.errors import OutOfMemoryError, out_of_memory

log = logging.getLogger(__name__)
Result = TypeVar("Result")


def within_memory(run: Callable[[int], Result], batch: int, device: torch.device) -> Result:
    """`run(batch)`; where memory runs out, again with half of the batch, down to one.

    Args:
        run: computes with that many windows or patches at once; its result doesn't depend on how many.
        batch: how many at first.
        device: named in the error; what torch keeps of its memory is given back before another try.

    Raises:
        OutOfMemoryError: not even one fits.
    """
    while True:
        try:
            return run(batch)
        except Exception as error:
            if not out_of_memory(error):
                raise
            if batch == 1:
                raise OutOfMemoryError(
                    f"the memory of {device} is too small for the networks, even one window at a time: "
                    + ("use --device cpu" if device.type == "cuda" else "close other programs")
                ) from error
        batch //= 2  # outside of the handler: the error holds what the failed try had allocated
        log.warning("memory ran out on %s: trying again with %d at once", device, batch)
        if device.type == "cuda":
            torch.cuda.empty_cache()
