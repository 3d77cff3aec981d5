"""The input and output of every engine.

An engine is called with `build`, which makes the work once in each process that does some (networks are loaded there),
and with the items. It yields (index of the item, `Result`) as they are done, in any order, and never raises for an item
that fails: whoever asked decides what a failure means.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")
Work = Callable[[Item], Value]
"""Does one item; what it raises is that item's failure."""


@dataclass(frozen=True)
class Result(Generic[Value]):
    """The result of one item: its value, or the error that its work raised."""

    value: Value | None = None
    error: Exception | None = None


Results: TypeAlias = Generator[tuple[int, Result[Value]], None, None]
"""Index and result of each item as they are done; closing it stops the engine."""


def attempt(work: Work[Item, Value], item: Item) -> Result[Value]:
    """`work(item)` with its error caught; an interrupt (Ctrl-C) passes through."""
    try:
        return Result(work(item))
    except Exception as error:
        return Result(error=error)


def in_order(results: Iterable[tuple[int, Result[Value]]]) -> Iterator[Result[Value]]:
    """The results in the order of the items, each as soon as all before it are there."""
    held: dict[int, Result[Value]] = {}
    following = 0
    for index, result in results:
        held[index] = result
        while following in held:
            yield held.pop(following)
            following += 1
