"""One item after the other in this process, or in a few processes of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from monai_lung.engine.work import Item, Result, Results, Value, Work, attempt
from monai_lung.errors import MonaiLungError, UsageError

_work: Work[Any, Any] | None = None
"""The work of this process, where it's one of a pool."""


def run(build: Callable[[], Work[Item, Value]], items: Sequence[Item], *, workers: int = 1) -> Results[Value]:
    """Do all items; see `engine.work` for what an engine is.

    Args:
        build: makes the work; with several workers it travels to each, so it must be picklable, as the items.
        items: what to do.
        workers: 1 does the items in this process, in order; more are processes of one thread each.

    Raises:
        UsageError: no worker.
        Exception: whatever `build` raises.
    """
    if workers < 1:
        raise UsageError(f"{workers} workers can't do anything: give 1 or more")
    if workers > 1 and len(items) > 1:
        yield from _in_processes(build, items, workers)
    elif items:
        work = build()
        for index, item in enumerate(items):
            yield index, attempt(work, item)


def _in_processes(build: Callable[[], Work[Item, Value]], items: Sequence[Item], workers: int) -> Results[Value]:
    with ProcessPoolExecutor(min(workers, len(items)), get_context("spawn"), _use_one_thread) as pool:
        futures = {pool.submit(_attempt, build, item): index for index, item in enumerate(items)}
        try:
            for future in as_completed(futures):
                yield futures[future], _result(future)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _use_one_thread() -> None:
    """Keep the processes from taking each other's cores; runs before torch is imported, which reads it."""
    os.environ["OMP_NUM_THREADS"] = "1"


def _attempt(build: Callable[[], Work[Item, Value]], item: Item) -> Result[Value]:
    """One item in a process of the pool, which makes its work at the first."""
    global _work
    if _work is None:
        _work = build()
    return attempt(_work, item)


def _result(future: Future[Result[Value]]) -> Result[Value]:
    try:
        return future.result()
    except BrokenProcessPool:
        reason = "a worker process died, likely for lack of memory: run again with fewer workers"
        return Result(error=MonaiLungError(reason))
