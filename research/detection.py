"""The page on findings in lungs that no network saw, drawn from the predictions that `calibrate nodules` keeps.

They lie in `docs/study` (`metrics.froc.COLUMNS`, `score` is the rating network's logit), so that the page can be drawn
again without a training. With candidates and crops those of the shipped rating network are made again first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import click
import numpy as np
import pandas as pd
from scipy.special import expit

from monai_lung.errors import InputError, MonaiLungError, UsageError
from monai_lung.metrics.figures import auc_of
from monai_lung.metrics.froc import RATES, Froc, froc, read_predictions
from monai_lung.training.candidates import LESION
from monai_lung.training.operating_points import FALSE_A_SCAN, KEPT, calibration
from research import DOCS

SHIPS = "study/detection_ships.csv.gz"
"""Predictions of the rating network that ships, on lungs that it was trained on, in the docs' folder."""
BEFORE = "study/detection_0.1.csv.gz"
"""Predictions of version 0.1's rating network on the same candidates, in the docs' folder."""
LARGE_MM = 12.0
"""Diameter of the sphere of an outline's volume from which a false finding is hard to forgive."""
_BINS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
_GROUPS: Mapping[str, tuple[float, float]] = {
    "< 5 mm": (0, 5),
    "5-7 mm": (5, 7),
    "7-10 mm": (7, 10),
    "10-15 mm": (10, 15),
    "> 15 mm": (15, np.inf),
}


def page(predictions: pd.DataFrame, before: pd.DataFrame | None = None, ships: pd.DataFrame | None = None) -> str:
    """The page in Markdown.

    Args:
        predictions: of lungs left out.
        before: an earlier rating network's of the same candidates.
        ships: the shipped rating network's, on lungs that it was trained on.
    """
    slope, offset, points = calibration(predictions)
    planted = predictions[~predictions["nodule"].str.startswith(LESION)]
    lesions = predictions[predictions["nodule"].str.startswith(LESION)]
    scans = sorted(predictions["scan"].unique())
    lines = [_TOP.format(scans=", ".join(scans), n=len(scans), patients=_patients(planted)), ""]
    lines += _table(["nodules set in", "n", *[f"{r:g}" for r in RATES], "CPM"], list(_curves(planted)))
    if before is not None:
        lines += ["", _BESIDE, ""]
        earlier = before[~before["nodule"].str.startswith(LESION)]
        head = ["rating", "n", *[f"{r:g}" for r in RATES], "CPM", "AUC of the found ones"]
        both = [("the judged network", planted), ("version 0.1", earlier)]
        lines += _table(head, [[*_curve(name, table), f"{_auc(table):.3f}"] for name, table in both])
    lines += ["", _POINTS, ""]
    lines += _table(
        _POINT_HEAD,
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
    if ships is not None:
        lines += ["", *_shipped(ships, slope, offset, points)]
    return "\n".join(lines) + "\n"


def _shipped(ships: pd.DataFrame, slope: float, offset: float, points: Mapping[str, float]) -> list[str]:
    lesion = ships["nodule"].str.startswith(LESION)
    scans = ships["scan"].nunique()
    head = ["nodules set in", "n", *[f"{r:g}" for r in RATES], "CPM"]
    rows = [
        _point_row(name, points[name], slope, offset, ships[~lesion], ships[lesion], scans) for name in FALSE_A_SCAN
    ]
    return [
        _SHIPS.format(n=scans),
        "",
        *_table(head, _curves(ships[~lesion])),
        "",
        *_table(_POINT_HEAD, rows),
    ]


_POINT_HEAD = (
    "sensitivity",
    "nodule probability",
    "false findings a scan",
    f"of them >= {LARGE_MM:g} mm",
    "set in",
    "lesions",
)
_TOP = """# Findings on lungs that no network saw

Drawn by `tools/research detection` from `docs/{kept}`.

{n} whole CTs of {n} patients were left out of the training of finding and rating:
{scans}.
Nodules of {patients} held-out patients (LIDC-IDRI, fold 0; three or more readers) were set into these lungs, by their
readers' marks with a soft edge, on the pleura where they were; some were grown to masses, some solid ones made ground
glass. The scans then went through finding, delineating and rating as any CT. Findings at places that somebody marked
in the scan itself count neither way. Sensitivity at 1/8 to 8 false findings a scan and their mean (CPM), as in LUNA16;
95 % intervals by bootstrap over scans. **With {n} scans they are wide**, and the operating points below were chosen on
these very scans. Large outlines that branch, which an analysis leaves out (`inference.branching`), are still among the
false findings here. The finding network is the one that ships. The rating network that ships was trained further with
these lungs as well: see [below](#the-rating-network-that-ships).
""".replace("{kept}", KEPT)
_SHIPS = """## The rating network that ships

It was trained on for seven epochs with all lungs, first three, then four in which large false candidates counted three
times. So no lungs are left that it hasn't seen, and **its false findings here are too few**; the nodules set in, of the
same held-out patients, are new to it. All {n} scans (two are reconstructions of one), at the operating points above."""
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
        ships = read_predictions(docs / SHIPS) if (docs / SHIPS).is_file() else None
        (docs / "detection.md").write_text(page(read_predictions(docs / KEPT), before, ships), encoding="utf-8")
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{docs}: can't draw detection.md from {KEPT} ({error}): give the docs' folder") from error


def keep_shipped(docs: Path, candidates: Path, crops: Path) -> None:
    """Rate the candidates of held-out nodules with the installed network, and keep the predictions (`SHIPS`).

    Args:
        docs: the docs' folder.
        candidates: a folder of `monai-lung train candidates`.
        crops: of the nodules that were set in.

    Raises:
        MonaiLungError: something can't be read or written.
    """
    from monai_lung.data.crops import read_table
    from monai_lung.definitions import read_config, settings
    from monai_lung.inference.networks import choose_device, load_rater
    from monai_lung.metrics.froc import write_predictions
    from monai_lung.stages import SEGMENTATION, FindSettings
    from monai_lung.training.candidates import candidates_of
    from monai_lung.training.operating_points import logits_of, predictions_of
    from monai_lung.weights import bundle_dir

    finding = bundle_dir(SEGMENTATION)
    least = settings(FindSettings, read_config(finding)["find_settings"], finding).min_score
    held = candidates_of(candidates / "held", least_score=least)
    logits = logits_of(held, load_rater(choose_device("auto")))
    rows = {row.id: row for row in read_table(crops)}
    write_predictions(predictions_of(held, logits, rows, least), docs / SHIPS)


@click.command(help=__doc__)
@click.argument("docs", type=click.Path(path_type=Path, exists=True), default=DOCS)
@click.option("--candidates", type=click.Path(path_type=Path, exists=True), help="Rate what lies here again.")
@click.option("--crops", type=click.Path(path_type=Path, exists=True), help="Of the nodules that were set in there.")
def main(docs: Path, candidates: Path | None, crops: Path | None) -> None:
    """Draw the page of DOCS; errors on one line."""
    try:
        if candidates and crops:
            keep_shipped(docs, candidates, crops)
        elif candidates or crops:
            raise UsageError("--candidates and --crops: give both or neither")
        draw(docs)
    except MonaiLungError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
