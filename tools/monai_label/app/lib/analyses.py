"""What the analysis found in each scan of the server, kept in files. This file needs no MONAI Label."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from monai_lung.io.output import replacing


class Analyses:
    """The findings of each scan in `folder`, a JSON file a scan, whole or not at all.

    A file of its own, not MONAI Label's datastore: its background processes write that one from their own, older copy.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, scan: str) -> dict[str, Any] | None:
        """Findings of a scan (`monai_lung.report.findings`), or {"error", "weights"}; None where there are none."""
        try:
            content: dict[str, Any] = json.loads(self._path(scan).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content

    def write(self, scan: str, content: Mapping[str, Any]) -> None:
        """Keep a scan's findings, or {"error", "weights"} where the analysis failed.

        Raises:
            OutputError: the file can't be written.
        """
        with replacing(self._path(scan)) as temporary:
            temporary.write_text(json.dumps({"scan": scan, **content}, indent=1) + "\n", encoding="utf-8")

    def probabilities(self, scan: str) -> list[float] | None:
        """Nodule probabilities of a scan, None where it wasn't analysed or can't be."""
        content = self.read(scan)
        if content is None or "nodules" not in content:
            return None
        return [float(nodule["nodule_probability"]) for nodule in content["nodules"]]

    def waiting(self, scans: Iterable[str], weights: Mapping[str, str]) -> list[str]:
        """Those of `scans` that weren't analysed with these weights (network to sha256), sorted."""
        return sorted(s for s in scans if (self.read(s) or {}).get("weights") != dict(weights))

    def _path(self, scan: str) -> Path:
        return self.folder / f"{hashlib.sha256(scan.encode()).hexdigest()[:24]}.json"
