"""The interface of every way to a destination."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path


class NotSent(Exception):
    """A destination took an object not; the message says why, and is safe to log."""


class Transport(ABC):
    """A way to a destination."""

    @abstractmethod
    def send(self, files: Sequence[Path]) -> Iterator[Callable[[], None]]:
        """For each file, in order, a function that sends it and raises `NotSent` where it isn't taken.

        It ends early where the connection is lost on the way: the rest needs another one.

        Raises:
            NotSent: the destination can't be reached; holds for all files.
        """
