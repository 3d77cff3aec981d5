"""The rating network's calibration and operating points, from candidates in lungs that no network saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from monai_lung.data.crops import CropRow
from monai_lung.data.ratings import texture_class
from monai_lung.inference.networks import Rater
from monai_lung.inference.rate import mirrored_logits
from monai_lung.metrics.froc import threshold_at
from monai_lung.training.calibration import DIGITS, fit_platt
from monai_lung.training.candidates import TRUE, Candidates, DrawCandidated, TwoLooksd
from monai_lung.transforms.rating import TARGETS

if TYPE_CHECKING:
    import pandas as pd

KEPT = "study/detection.csv.gz"
"""Where the docs' folder keeps the predictions."""
FALSE_A_SCAN: Mapping[str, float] = {"high": 4.0, "standard": 1.0, "low": 0.25}
"""False findings a scan that each sensitivity allows, on the scans left out."""
FADED_HU = -400.0
"""A core below this is ground glass, whatever its readers said of it where it came from."""
_MIRROR_BATCH = 16


def logits_of(candidates: Candidates, rater: Rater) -> NDArray[np.float64]:
    """The nodule's logit (n,) of each candidate, as inference has it: averaged over four mirrors.

    Raises:
        ValueError: the network has no wide look.
    """
    settings = rater.rate_settings
    if settings.wide_spacing_mm is None:
        raise ValueError("rate_settings without wide_spacing_mm: candidates are kept for networks with two looks")
    looks = settings.spacing_mm, settings.wide_spacing_mm
    draw = DrawCandidated(candidates, *looks, settings.region, augment=False)
    channels = TwoLooksd(*looks)
    rows = []
    for first in range(0, len(candidates), _MIRROR_BATCH):
        batch = range(first, min(first + _MIRROR_BATCH, len(candidates)))
        image = torch.stack([channels(draw({"candidate": n}))["image"] for n in batch]).to(rater.device)
        rows.append(mirrored_logits(image, rater.rate)[:, TARGETS.index("nodule")].double().cpu().numpy())
    return np.concatenate(rows)


def predictions_of(
    candidates: Candidates, logits: NDArray[np.float64], crops: Mapping[str, CropRow], least_score: float
) -> list[dict[str, object]]:
    """A row for each nodule and for each false candidate (`metrics.froc.COLUMNS`).

    A nodule with several candidates is scored by its best. `crops` are those set in, by their IDs. What the
    finding network scores below `least_score` isn't found.
    """
    rows: dict[tuple[str, str], dict[str, object]] = {}
    for n, kind in enumerate(candidates.kind):
        scan, name = str(candidates.scan[n]), str(candidates.id[n])
        place = " ".join(f"{v:.0f}" for v in candidates.center_mm[n])
        size = f"{candidates.nodule_mm[n]:.1f}"  # a crop may be there twice, as it is and grown
        key = (scan, f"{name} {size}" if name in crops else f"{name} {place}")
        row: dict[str, object] = {
            "scan": scan,
            "nodule": key[1] if kind == TRUE else "",
            "patient": crops[name].patient if name in crops else scan,
            "diameter_mm": round(float(np.nan_to_num(candidates.nodule_mm[n], nan=candidates.diameter_mm[n])), 1),
            "texture": _texture(crops[name], candidates.nodule_hu[n]) if name in crops else "",
            "found": bool(candidates.score[n] >= least_score),
            "score": float(logits[n]),
        }
        if key not in rows or (row["found"], row["score"]) > (rows[key]["found"], rows[key]["score"]):
            rows[key] = row
    return [rows[key] for key in sorted(rows)]


def _texture(row: CropRow, mean_hu: float) -> str:
    """As the readers rated it, but for a solid one that was made ground glass."""
    if mean_hu <= FADED_HU:
        return "ground-glass"
    return texture_class(row.ratings.get("texture", (5,)))


def calibration(predictions: pd.DataFrame) -> tuple[float, float, dict[str, float]]:
    """`nodule_slope`, `nodule_offset` and the operating points of what was found, to `DIGITS` decimals.

    An operating point is the nodule probability above which at most `FALSE_A_SCAN` false findings a scan lie.
    """
    found = predictions[predictions["found"].astype(bool)]
    true = (found["nodule"] != "").to_numpy(bool)
    slope, offset = (round(v, DIGITS) for v in fit_platt(found["score"].to_numpy(float), true))
    scans = predictions["scan"].nunique()
    false = found.loc[~true, "score"].to_numpy(float)
    step = 10.0**-DIGITS
    points = {}
    for name, rate in FALSE_A_SCAN.items():
        threshold = threshold_at(false, scans, rate)
        probability = float(expit(slope * threshold + offset)) if np.isfinite(threshold) else 0.0
        points[name] = round(min(float(np.floor(probability / step) * step + step), 1.0), DIGITS)
    return slope, offset, points
