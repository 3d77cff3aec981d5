"""Choosing an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from monai_lung.batch import local
from monai_lung.batch.work import Item, Results, Value, Work
from monai_lung.errors import UsageError

if TYPE_CHECKING:
    from monai_lung.batch.cluster import Needs


@dataclass(frozen=True)
class Engine:
    """Where cases are done.

    Attributes:
        name: local or ray.
        address: of the Ray cluster, see `batch.cluster.run`.
        workers: processes of the local engine.

    Raises:
        UsageError: the name is unknown, or an option belongs to the other engine.
    """

    name: str = "local"
    address: str | None = None
    workers: int = 1

    def __post_init__(self) -> None:
        if self.name not in ("local", "ray"):
            raise UsageError(f"engine {self.name!r}: must be local or ray")
        if self.address and self.name != "ray":
            raise UsageError("--address is that of a Ray cluster: add --engine ray")
        if self.workers != 1 and self.name == "ray":
            raise UsageError("--workers is for --engine local: a cluster has as many workers as it has room for")

    @property
    def here(self) -> bool:
        """Whether all is done in this process, one item after the other."""
        return self.name == "local" and self.workers == 1

    def run(
        self,
        build: Callable[[], Work[Item, Value]],
        items: Sequence[Item],
        needs: Needs | Callable[[float], Needs] | None = None,
    ) -> Results[Value]:
        """Do all items; arguments, results and errors as `batch.local.run` and `batch.cluster.run` have them."""
        if self.name == "local":
            return local.run(build, items, workers=self.workers)
        from monai_lung.batch import cluster

        return cluster.run(build, items, address=self.address, needs=needs)
