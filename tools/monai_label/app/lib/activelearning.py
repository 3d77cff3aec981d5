"""Which scan comes next, and the analyses that this is decided by."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy

from lib.analyses import Analyses
from lib.doubt import ranked

log = logging.getLogger(__name__)


class Doubt(Strategy):  # type: ignore[misc]
    """Serves the scan without a label in which the analysis is expected to call most nodules wrongly.

    A nodule of probability p counts min(p, 1 - p), a scan the sum over its nodules (`lib.doubt`). Scans that were
    handed out before wait behind the others; scans that weren't analysed yet come after those that were.
    """

    def __init__(self, analyses: Analyses) -> None:
        super().__init__("Scans with the most doubtful nodules first")
        self.analyses = analyses

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """The next scan's `id`, and its doubt as `weight`; None where every scan has a label."""
        scans = datastore.get_unlabeled_images(request.get("label_tag"), request.get("labels"))
        served = {scan: _served(datastore.get_image_info(scan), str(request.get("strategy"))) for scan in scans}
        order = ranked({scan: self.analyses.probabilities(scan) for scan in scans}, served)
        return {"id": order[0][0], "weight": round(order[0][1], 4)} if order else None


class DoubtScoring(ScoringMethod):  # type: ignore[misc]
    """Analyses in the background the scans that `Doubt` knows nothing of, or that older weights have seen.

    Args:
        analyze: analyses a scan of the datastore and keeps what it finds; raises nothing.
        waiting: names of the scans that need it.
    """

    def __init__(self, analyze: Callable[[str], None], waiting: Callable[[], list[str]]) -> None:
        super().__init__("Analyse the scans that have no label and no analysis by the present weights")
        self.analyze, self.waiting = analyze, waiting

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Analyse them all; `analyzed` says how many there were."""
        scans = self.waiting()
        for n, scan in enumerate(scans, start=1):
            log.info("analysis %d of %d", n, len(scans))
            self.analyze(scan)
        return {"analyzed": len(scans)}


def _served(info: Mapping[str, Any], strategy: str) -> int:
    """When a scan was last handed out by a strategy, in seconds; 0 for never."""
    return int(info.get("strategy", {}).get(strategy, {}).get("ts", 0))
