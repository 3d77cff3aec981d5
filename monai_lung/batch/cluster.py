"""Items on a Ray cluster: actors hold the networks, each does one item at a time.

So what is under way is bounded by the number of actors, and memory stays flat however many items there are. An actor
that dies (killed for memory, its node gone) is replaced where there is room, and its item is tried again elsewhere.
Ray is imported only when a cluster is asked for.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from monai_lung.batch.work import Item, Result, Results, Value, Work, attempt
from monai_lung.errors import MonaiLungError, UsageError
from monai_lung.extras import require

_log = logging.getLogger(__name__)

TRIES = 3
"""Workers that may die over one item before it counts as failed; or, in a row, before one of them works; and starts of
Ray on this machine."""
_LOOK_S = 2.0
"""How often the cluster is asked for room, for nodes come and go."""
_PATIENCE_S = 30.0
"""Without a single worker for so long, the log says what is missing."""


@dataclass(frozen=True)
class Needs:
    """The resources that one worker takes from its node; with a share of `gpus`, several workers keep one GPU busy."""

    cpus: int = 1
    memory_gb: float = 2.0
    gpus: float = 0.0

    def resources(self) -> dict[str, float]:
        """By Ray's names of resources."""
        wanted = {"CPU": float(self.cpus), "GPU": self.gpus, "memory": self.memory_gb * 1024**3}
        return {name: amount for name, amount in wanted.items() if amount}

    def fit(self, node: dict[str, float]) -> int:
        """Workers that a node of these resources holds."""
        return min(int(node.get(name, 0) / amount + 1e-6) for name, amount in self.resources().items())


def run(
    build: Callable[[], Work[Item, Value]],
    items: Sequence[Item],
    *,
    address: str | None = None,
    needs: Needs | Callable[[float], Needs] | None = None,
) -> Results[Value]:
    """Do all items on a cluster; see `batch.work` for what an engine is.

    Paths in the items must lead to the same files on every node.

    Args:
        build: makes the work, once in each worker.
        items: what to do.
        address: host:port of the cluster's head, or auto; None takes RAY_ADDRESS, else starts Ray on this machine.
        needs: of one worker, or a function of the cluster's number of GPUs that says.

    Raises:
        UsageError: Ray isn't installed, or no cluster answers.
        MonaiLungError: Ray doesn't start on this machine, or no worker on the cluster.
        Exception: whatever `build` raises in a worker.
    """
    ray = _connect(address)
    try:
        if callable(needs):
            needs = needs(sum(node.get("GPU", 0) for node in _nodes(ray)))
        with closing(_ActorPool(ray, build, items, needs or Needs()).results()) as results:
            yield from results
    finally:
        ray.shutdown()


def _connect(address: str | None) -> ModuleType:
    """Ray, connected; it writes nothing to the terminal and sends no usage statistics."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = require("ray", "a cluster", extra="ray")
    address = address or os.environ.get("RAY_ADDRESS")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if not address:
        _start_here(ray, quiet)
        return ray
    try:
        _check_answers(address)
        ray.init(address, **quiet)
    except Exception as error:
        raise UsageError(
            f"no Ray cluster at {address}: {_line(error)}; start one with `ray start --head`, or check --address"
        ) from error
    return ray


def _start_here(ray: ModuleType, quiet: dict[str, Any]) -> None:
    """Start Ray on this machine; it gives its own processes 30 s, which a busy machine may need twice."""
    for trial in range(TRIES):
        try:
            ray.init("local", include_dashboard=False, object_store_memory=200 * 1024**2, **quiet)
            return
        except Exception as error:  # a bare Exception where its processes don't start
            ray.shutdown()
            if trial + 1 == TRIES:
                raise MonaiLungError(f"Ray doesn't start on this machine: {_line(error)}; free some memory") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")


def _check_answers(address: str) -> None:
    """Find out in five seconds whether anything listens at host:port; Ray itself tries for much longer.

    Raises:
        OSError: nothing does.
        ValueError: it's no host:port.
    """
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        raise ValueError("not of the form HOST:PORT")
    socket.create_connection((host, int(port)), timeout=5).close()


def _nodes(ray: ModuleType) -> list[dict[str, float]]:
    """Resources of each node that is alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


class _Worker:
    """The actor: makes its work once, then does one item after the other."""

    def __init__(self, build: Callable[[], Work[Any, Any]]) -> None:
        self._build = build
        self._work: Work[Any, Any] | None = None

    def start(self) -> Result[None]:
        """Make the work; an error of this would come in every worker."""

        def make(_: None) -> None:
            self._work = self._build()

        return _portable(attempt(make, None))

    def do(self, item: Any) -> Result[Any]:
        """One item."""
        if self._work is None:
            raise MonaiLungError("a worker was given an item before it had started")
        return _portable(attempt(self._work, item))


def _portable(result: Result[Value]) -> Result[Value]:
    """`result` with an error that survives pickling, its traceback as a note."""
    error = result.error
    if error is None:
        return result
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return Result(error=RuntimeError(f"{type(error).__name__}: {error}"))
    return result


class _ActorPool:
    """The actors of one run, and what each is doing.

    Attributes:
        waiting: indices of the items that nobody does yet.
        doing: what Ray owes us, to the actor and the item's index; None for an actor that is starting.
        deaths: of workers, by item.
    """

    def __init__(
        self, ray: ModuleType, build: Callable[[], Work[Item, Any]], items: Sequence[Item], needs: Needs
    ) -> None:
        self.ray, self.items, self.needs = ray, items, needs
        self.build = ray.put(build)
        options: dict[str, Any] = {"num_cpus": needs.cpus, "num_gpus": needs.gpus, "max_restarts": 0}
        self.hire = ray.remote(_Worker).options(memory=int(needs.memory_gb * 1024**3), **options).remote
        self.waiting = deque(range(len(items)))
        self.doing: dict[Any, tuple[Any, int | None]] = {}
        self.deaths: Counter[int] = Counter()
        self.false_starts = 0
        self.looked_s = self.worked_s = -1e9

    def results(self) -> Results[Any]:
        """Do everything; each item's result as it comes."""
        self.worked_s = time.monotonic()
        while self.waiting or any(index is not None for _, index in self.doing.values()):
            self._fill_up()
            done, _ = self.ray.wait(list(self.doing), timeout=_LOOK_S)
            for ref in done:
                actor, index = self.doing.pop(ref)
                try:
                    result = self.ray.get(ref)
                except self.ray.exceptions.RayError as error:
                    result = self._lost(actor, index, error)
                else:
                    if index is None and result.error:
                        raise result.error
                    self.false_starts = 0
                    self._go_on(actor)
                if index is not None and result is not None:
                    yield index, result

    def _fill_up(self) -> None:
        """Start workers where the cluster has room and there is something to do; wait for room where it has none."""
        now = time.monotonic()
        if now - self.looked_s < _LOOK_S and self.doing:
            return
        self.looked_s = now
        room = max(1, sum(self.needs.fit(node) for node in _nodes(self.ray)))
        busy = sum(index is not None for _, index in self.doing.values())
        while len(self.doing) < min(room, busy + len(self.waiting)):
            actor = self.hire(self.build)
            self.doing[actor.start.remote()] = actor, None
        if busy:
            self.worked_s = now
        elif now - self.worked_s > _PATIENCE_S:
            self.worked_s = now
            _log.warning("no node has room for a worker yet (a worker needs %s): waiting", self.needs.resources())

    def _go_on(self, actor: Any) -> None:
        """Give an actor the next item; let it go where there is none."""
        if self.waiting:
            index = self.waiting.popleft()
            self.doing[actor.do.remote(self.items[index])] = actor, index
        else:
            self.ray.kill(actor)

    def _lost(self, actor: Any, index: int | None, error: Exception) -> Result[Any] | None:
        """Take leave of a worker that died; what became of its item, None where it's tried again."""
        reason = _line(error)
        _log.info("a worker died: %s", reason)
        self.ray.kill(actor)
        self.looked_s = -1e9
        if index is None:
            self.false_starts += 1
            if self.false_starts >= TRIES and not any(i is not None for _, i in self.doing.values()):
                raise MonaiLungError(f"no worker starts on the cluster: {reason}; see Ray's logs") from error
            if not any(i is not None for _, i in self.doing.values()):
                time.sleep(self.false_starts * _LOOK_S)  # a head that is too busy takes new workers for abandoned
            return None
        self.deaths[index] += 1
        if self.deaths[index] < TRIES:
            self.waiting.appendleft(index)
            return None
        text = f"its worker died {TRIES} times, likely for lack of memory ({reason}): use a node with more memory"
        return Result(error=MonaiLungError(text))
