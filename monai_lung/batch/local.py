"""One item after the other in this process, or in a few processes of this machine."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from monai_lung.batch.work import Item, Result, Results, Value, Work, attempt
from monai_lung.errors import MonaiLungError, UsageError

_work: Work[Any, Any] | None = None
"""The work of this process, where it's one of a pool."""


def run(build: Callable[[], Work[Item, Value]], items: Sequence[Item], *, workers: int = 1) -> Results[Value]:
    """Do all items; see `batch.work` for what an engine is.

    Args:
        build: makes the work; with several workers it travels to each, so it must be picklable, as the items.
        items: what to do.
        workers: 1 does the items in this process, in order; more are processes of one thread each.

    Raises:
        UsageError: no worker.
        Exception: whatever `build` raises.
    """
    if workers < 1:
        raise UsageError(f"{workers} workers: give 1 or more")
    if workers > 1 and len(items) > 1:
        yield from _in_processes(build, items, workers)
    elif items:
        work = build()
        for index, item in enumerate(items):
            yield index, attempt(work, item)


def _in_processes(build: Callable[[], Work[Item, Value]], items: Sequence[Item], workers: int) -> Results[Value]:
    """All items in pools: after a process has died, those in work are done again, each alone, and then the rest."""
    waiting = deque(enumerate(items))
    while waiting:
        suspects = yield from _until_one_dies(build, waiting, min(workers, len(waiting)))
        for suspect in suspects:
            alone = deque([suspect])
            for index, _ in (yield from _until_one_dies(build, alone, 1)):
                reason = "its process died, even alone, likely for lack of memory: free some, or use a larger machine"
                yield index, Result(error=MonaiLungError(reason))


def _until_one_dies(
    build: Callable[[], Work[Item, Value]], waiting: deque[tuple[int, Item]], workers: int
) -> Generator[tuple[int, Result[Value]], None, list[tuple[int, Item]]]:
    """Do what is `waiting` until a process dies; gives the items in work then, at most one for each process."""
    in_work: dict[Future[Result[Value]], tuple[int, Item]] = {}
    with ProcessPoolExecutor(workers, get_context("spawn"), _use_one_thread) as pool:
        try:
            while waiting or in_work:
                while waiting and len(in_work) < workers:
                    future = pool.submit(_attempt, build, waiting[0][1])
                    in_work[future] = waiting.popleft()
                done, _ = wait(in_work, return_when=FIRST_COMPLETED)
                for future in sorted(done, key=lambda f: f.exception() is not None):
                    if not isinstance(future.exception(), BrokenProcessPool):
                        yield in_work.pop(future)[0], future.result()
                if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
                    break
        except BrokenProcessPool:
            pass  # found out as an item was handed over; it still waits
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return list(in_work.values())


def _use_one_thread() -> None:
    """Keep the processes from taking each other's cores; runs before torch is imported, which reads it."""
    os.environ["OMP_NUM_THREADS"] = "1"


def _attempt(build: Callable[[], Work[Item, Value]], item: Item) -> Result[Value]:
    """One item in a process of the pool, which makes its work at the first."""
    global _work
    if _work is None:
        _work = build()
    return attempt(_work, item)
