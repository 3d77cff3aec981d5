"""The findings in each scan of the server, with their label map, kept in files. Needs no MONAI Label."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_lung.io.output import replacing, write_nifti


class Analyses:
    """The findings of each scan in `folder`, a JSON file and a label map a scan, whole or not at all.

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

    def kept(self, scan: str, weights: Mapping[str, str], image_sha256: str) -> tuple[Path, dict[str, Any]] | None:
        """Label map and findings of a scan, if they were made with these weights of this very image; else None."""
        content, labels = self.read(scan) or {}, self._path(scan).with_suffix(".nii.gz")
        same = content.get("weights") == dict(weights) and content.get("input", {}).get("sha256") == image_sha256
        if not same or not labels.is_file():
            return None
        return labels, {name: value for name, value in content.items() if name != "scan"}

    def write(
        self,
        scan: str,
        content: Mapping[str, Any],
        labels: NDArray[np.uint8] | None = None,
        affine_lps: NDArray[np.float64] | None = None,
    ) -> None:
        """Keep a scan's findings, or {"error", "weights"} where the analysis failed.

        Args:
            scan: its name.
            content: of `findings.json`.
            labels: (x, y, z), the label map, where there is one.
            affine_lps: (4, 4), of its grid.

        Raises:
            OutputError: a file can't be written.
        """
        self._path(scan).unlink(missing_ok=True)  # never findings beside the label map of others
        if labels is not None and affine_lps is not None:
            write_nifti(self._path(scan).with_suffix(".nii.gz"), labels, affine_lps)
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
