"""How a CT and a report show themselves in a notebook: `model` asks here by name, and what draws them answers.

So `model`, which nearly every module imports, imports none of those that draw. The package says where they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_ANSWERS: dict[str, Callable[[Any], Any]] = {}


def answer(name: str, function: Callable[[Any], Any]) -> None:
    """Let `function` answer to `name`: given a CT or a report, it returns what a notebook shows."""
    _ANSWERS[name] = function


def shown(name: str, thing: Any) -> Any:
    """The notebook's view of a CT or a report.

    Raises:
        UsageError: a library for that isn't installed.
    """
    return _ANSWERS[name](thing)
