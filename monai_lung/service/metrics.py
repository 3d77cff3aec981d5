"""Counters and gauges for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monai_lung.extras import require

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from monai_lung.service.health import State


def _client() -> Any:
    return require("prometheus_client", "monai-lung serve", extra="dicom,service")


class Metrics:
    """The metrics of one node, in a registry of its own; counters start at 0 with the process.

    Raises:
        UsageError: prometheus-client isn't installed.
    """

    def __init__(self) -> None:
        client = _client()
        self.registry: CollectorRegistry = client.CollectorRegistry()
        name, registry = "monai_lung", self.registry
        self._received = client.Counter(
            f"{name}_instances_received", "Instances received and stored", registry=registry
        )
        self._repeated = client.Counter(f"{name}_instances_repeated", "Instances received again", registry=registry)
        self._discarded = client.Counter(f"{name}_instances_discarded", "Objects discarded: not CT", registry=registry)
        self._refused = client.Counter(f"{name}_instances_refused", "Instances refused", ["status"], registry=registry)
        self._rejected = client.Counter(
            f"{name}_associations_rejected", "Connections and associations rejected", ["reason"], registry=registry
        )
        self._studies = client.Counter(f"{name}_analyses", "Analyses by outcome", ["outcome"], registry=registry)
        self._seconds = client.Histogram(
            f"{name}_analysis_seconds",
            "Duration of successful analyses",
            buckets=(1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800),
            registry=registry,
        )
        self._deliveries = client.Counter(
            f"{name}_deliveries", "Attempts to send an object", ["destination", "outcome"], registry=registry
        )
        self._gauges = {
            "studies": client.Gauge(f"{name}_studies", "Studies in the queue, by state", ["state"], registry=registry),
            "pending": client.Gauge(
                f"{name}_deliveries_pending", "Objects not yet delivered", ["destination"], registry=registry
            ),
            "oldest": client.Gauge(
                f"{name}_oldest_pending_delivery_seconds",
                "Age of the oldest pending delivery",
                ["destination"],
                registry=registry,
            ),
            "free": client.Gauge(f"{name}_storage_free_bytes", "Free space of the storage", registry=registry),
            "healthy": client.Gauge(f"{name}_healthy", "1 while /health answers 200", registry=registry),
        }

    def received(self, repeated: bool = False) -> None:
        """An instance was taken."""
        (self._repeated if repeated else self._received).inc()

    def discarded(self) -> None:
        """An instance that is not a CT was accepted and discarded."""
        self._discarded.inc()

    def refused(self, status: int) -> None:
        """An instance was refused with this DIMSE status."""
        self._refused.labels(f"0x{status:04X}").inc()

    def rejected(self, reason: str) -> None:
        """A connection or an association was rejected."""
        self._rejected.labels(reason).inc()

    def analysed(self, outcome: str, seconds: float) -> None:
        """An analysis ended."""
        self._studies.labels(outcome).inc()
        if outcome == "done":
            self._seconds.observe(seconds)

    def delivered(self, destination: str, outcome: str) -> None:
        """An object was sent, or not."""
        self._deliveries.labels(destination, outcome).inc()

    def show(self, state: State) -> bytes:
        """The text that Prometheus reads, with the gauges set from the node's state."""
        for study_state, count in state.studies.items():
            self._gauges["studies"].labels(study_state).set(count)
        for destination, (count, age_s) in state.pending.items():
            self._gauges["pending"].labels(destination).set(count)
            self._gauges["oldest"].labels(destination).set(age_s)
        self._gauges["free"].set(state.free_bytes)
        self._gauges["healthy"].set(not state.problems)
        text: bytes = _client().generate_latest(self.registry)
        return text
