"""How findings hold on lungs that no network saw: operating points, calibration, and their page, from kept predictions.

The predictions (`study.froc.COLUMNS`) are those of `tools/calibrate_nodules`, `score` the rating network's logit. They
are kept in `docs/study`, so that the page can be drawn again without a training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from monai_lung.data.crops import CropRow
from monai_lung.data.lidc.labels import texture_class
from monai_lung.errors import InputError
from monai_lung.inference.networks import Rater
from monai_lung.inference.rate import mirrored_logits
from monai_lung.study.froc import RATES, Froc, froc, read_predictions, threshold_at
from monai_lung.training.calibration import DIGITS, fit_platt
from monai_lung.training.candidates import LESION, TRUE, Candidates, DrawCandidated, TwoLooksd
from monai_lung.transforms.rating import TARGETS

KEPT, BEFORE = "study/detection.csv.gz", "study/detection_0.1.csv.gz"
"""The predictions, in the docs' folder; and those of version 0.1's rating network on the same candidates."""
FALSE_A_SCAN: Mapping[str, float] = {"high": 4.0, "standard": 1.0, "low": 0.25}
"""False findings a scan that each sensitivity allows, on the scans left out."""
LARGE_MM = 12.0
"""Diameter of the sphere of an outline's volume from which a false finding is hard to forgive."""
FADED_HU = -400.0
"""A core below this is ground glass, whatever its readers said of it where it came from."""
_MIRROR_BATCH = 16
_BINS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
_GROUPS: Mapping[str, tuple[float, float]] = {
    "< 5 mm": (0, 5),
    "5-7 mm": (5, 7),
    "7-10 mm": (7, 10),
    "10-15 mm": (10, 15),
    "> 15 mm": (15, np.inf),
}


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
    import torch

    for first in range(0, len(candidates), _MIRROR_BATCH):
        batch = range(first, min(first + _MIRROR_BATCH, len(candidates)))
        image = torch.stack([channels(draw({"candidate": n}))["image"] for n in batch]).to(rater.device)
        rows.append(mirrored_logits(image, rater.rate)[:, TARGETS.index("nodule")].double().cpu().numpy())
    return np.concatenate(rows)


def predictions_of(
    candidates: Candidates, logits: NDArray[np.float64], crops: Mapping[str, CropRow], least_score: float
) -> list[dict[str, object]]:
    """A row for each nodule and for each false candidate (`study.froc.COLUMNS`).

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


def page(predictions: pd.DataFrame, before: pd.DataFrame | None = None) -> str:
    """The page in Markdown; `before` are an earlier rating network's predictions of the same candidates."""
    slope, offset, points = calibration(predictions)
    planted = predictions[~predictions["nodule"].str.startswith(LESION)]
    lesions = predictions[predictions["nodule"].str.startswith(LESION)]
    scans = sorted(predictions["scan"].unique())
    lines = [_TOP.format(scans=", ".join(scans), n=len(scans), patients=_patients(planted)), ""]
    lines += _table(["nodules set in", "n", *[f"{r:g}" for r in RATES], "CPM"], list(_curves(planted)))
    if before is not None:
        lines += ["", _BESIDE, ""]
        earlier = before[~before["nodule"].str.startswith(LESION)]
        head = ["rating", "n", *[f"{r:g}" for r in RATES], "CPM", "AUC of what was found"]
        both = [("what was judged", planted), ("version 0.1", earlier)]
        lines += _table(head, [[*_curve(name, table), f"{_auc(table):.3f}"] for name, table in both])
    lines += ["", _POINTS, ""]
    lines += _table(
        [
            "sensitivity",
            "nodule probability",
            "false findings a scan",
            f"of them >= {LARGE_MM:g} mm",
            "set in",
            "lesions",
        ],
        [_point_row(name, points[name], slope, offset, planted, lesions, len(scans)) for name in FALSE_A_SCAN],
    )
    lines += ["", _RELIABILITY.format(slope=slope, offset=offset), ""]
    lines += _table(
        ["probability", "candidates", "mean probability", "share that is true"], _bins(planted, slope, offset)
    )
    lines += ["", _LESIONS, ""]
    rows = [
        [row.scan, f"{row.diameter_mm:.0f}", f"{expit(slope * row.score + offset):.2f}" if row.found else "not found"]
        for row in lesions.itertuples()
    ]
    lines += _table(["scan", "outline, mm", "nodule probability"], rows)
    return "\n".join(lines) + "\n"


_TOP = """# Findings on lungs that no network saw

Drawn by `tools/draw_detection docs` from `docs/{kept}`.

{n} whole CTs of {n} patients were left out of the training of finding and rating:
{scans}.
Nodules of {patients} held-out patients (LIDC-IDRI, fold 0; three or more readers) were set into these lungs, by their
readers' marks with a soft edge, on the pleura where they were; some were grown to masses, some solid ones made ground
glass. The scans then went through finding, delineating and rating as any CT. What lies where somebody marked something
in the scan itself counts neither way. Sensitivity at 1/8 to 8 false findings a scan and their mean (CPM), as in LUNA16;
95 % intervals by bootstrap over scans. **With {n} scans they are wide**, and the operating points below were chosen on
these very scans. The finding network is the one that ships. The rating network that ships was trained on for three
epochs with these lungs as well; of it no such figures exist.
""".replace("{kept}", KEPT)
_BESIDE = """Beside the rating network of version 0.1, on the same candidates of the same finding network:"""
_POINTS = """## Operating points

`--sensitivity` in these scans. Findings below the point are candidates: listed in `findings.json`, drawn faintly, and
no guideline counts them."""
_RELIABILITY = """## Is the probability to be trusted?

The nodule probability is sigmoid({slope} x logit + {offset}), fitted on these same candidates (Platt 1999). It holds
for scans with as many nodules as were set in here, some 17 each; in a scan with few nodules fewer findings of the same
probability are true."""
_LESIONS = """## Lesions that the scans have themselves

Nodules and tumours of 6 mm or more that are marked in these scans; the readings are of a careful eye, not a
radiologist's."""


def _patients(planted: pd.DataFrame) -> int:
    return int(planted.loc[planted["nodule"] != "", "patient"].nunique())


def _curves(planted: pd.DataFrame) -> list[list[str]]:
    """A row of the FROC table for all nodules, each size and each texture."""
    nodule = planted["nodule"] != ""
    rows = [_curve("all", planted)]
    for name, (low, high) in _GROUPS.items():
        rows.append(_curve(name, planted[~nodule | planted["diameter_mm"].between(low, high, inclusive="left")]))
    for name in ("solid", "part-solid", "ground-glass"):
        rows.append(_curve(name, planted[~nodule | (planted["texture"] == name)]))
    return [row for row in rows if row]


def _curve(name: str, table: pd.DataFrame) -> list[str]:
    try:
        curve: Froc = froc(table)
    except ValueError:
        return []
    cells = [f"{s:.2f} ({a:.2f}-{b:.2f})" for s, (a, b) in zip(curve.sensitivity, curve.interval, strict=True)]
    low, high = curve.cpm_interval
    return [name, str(curve.nodules), *cells, f"{curve.cpm:.2f} ({low:.2f}-{high:.2f})"]


def _auc(table: pd.DataFrame) -> float:
    """Of nodules found against false findings."""
    from monai_lung.workflow.figures import auc_of

    found = table[table["found"].astype(bool)]
    auc = auc_of(found["score"].to_numpy(float), (found["nodule"] != "").to_numpy(bool))
    return float(auc(np.ones(len(found))))


def _point_row(
    name: str,
    point: float,
    slope: float,
    offset: float,
    planted: pd.DataFrame,
    lesions: pd.DataFrame,
    scans: int,
) -> list[str]:
    def kept(table: pd.DataFrame) -> pd.DataFrame:
        return table[table["found"].astype(bool) & (expit(slope * table["score"] + offset) >= point)]

    nodules, false = planted[planted["nodule"] != ""], planted[planted["nodule"] == ""]
    large = (kept(false)["diameter_mm"] >= LARGE_MM).sum()
    return [
        name,
        f"{point:.4f}",
        f"{len(kept(false)) / scans:.2f}",
        f"{large / scans:.2f}",
        f"{len(kept(nodules))} of {len(nodules)}",
        f"{len(kept(lesions))} of {len(lesions)}",
    ]


def _bins(planted: pd.DataFrame, slope: float, offset: float) -> list[list[str]]:
    found = planted[planted["found"].astype(bool)]
    probability = expit(slope * found["score"].to_numpy(float) + offset)
    true = (found["nodule"] != "").to_numpy(bool)
    rows = []
    for low, high in pairwise(_BINS):
        here = (probability >= low) & ((probability < high) | (high == 1))
        if here.any():
            rows.append(
                [f"{low:g}-{high:g}", str(here.sum()), f"{probability[here].mean():.2f}", f"{true[here].mean():.2f}"]
            )
    return rows


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def draw(docs: Path) -> None:
    """Draw `docs/detection.md` from the predictions kept there.

    Raises:
        InputError: they can't be read, or the page can't be written.
    """
    try:
        before = read_predictions(docs / BEFORE) if (docs / BEFORE).is_file() else None
        (docs / "detection.md").write_text(page(read_predictions(docs / KEPT), before), encoding="utf-8")
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{docs}: can't draw detection.md from {KEPT} ({error}): give the docs' folder") from error
