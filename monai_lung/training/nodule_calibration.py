"""The nodule probability and the operating points, fitted to candidates of scans that training left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from monai_lung.data.crops import read_table
from monai_lung.definitions import read_config, settings
from monai_lung.extras import require
from monai_lung.inference.networks import choose_device, load_rater
from monai_lung.io.json_text import json_text
from monai_lung.io.output import replacing
from monai_lung.metrics.froc import read_predictions, write_predictions
from monai_lung.stages import CLASSIFICATION, SEGMENTATION, FindSettings
from monai_lung.training.candidates import candidates_of
from monai_lung.training.operating_points import KEPT, calibration, logits_of, predictions_of
from monai_lung.weights import bundle_dir, resume


@dataclass(frozen=True)
class Calibrated:
    """The values of `rate_settings`, where the predictions are kept, and of how many candidates."""

    values: dict[str, Any]
    kept: Path
    candidates: int


def calibrate_nodules(
    candidates: Path,
    checkpoint: Path,
    docs: Path,
    scans: Sequence[str],
    crops: Path,
    *,
    device: str = "auto",
    store: bool = False,
) -> Calibrated:
    """Rate the candidates of scans that were left out, keep the predictions, and fit calibration and operating points.

    Args:
        candidates: folder of `candidate_runs.make_candidates`.
        checkpoint: of a training of the rating network without these scans.
        docs: folder whose `study` keeps the predictions.
        scans: names of the scans.
        crops: folder of the nodules that were set in.
        device: auto, cpu or cuda.
        store: write what was fitted into the installed classification bundle.

    Raises:
        MonaiLungError: files can't be read or written, the checkpoint is of another network, or pandas is missing.
    """
    require("pandas", "the calibration")
    rater = load_rater(choose_device(device))
    rater = replace(rater, rate=resume(rater.rate, checkpoint).eval())
    finding = bundle_dir(SEGMENTATION)
    least = settings(FindSettings, read_config(finding)["find_settings"], finding).min_score
    held = candidates_of(candidates / "held", only=scans, least_score=least)
    rows = {row.id: row for row in read_table(crops)}
    kept = docs / KEPT
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_predictions(predictions_of(held, logits_of(held, rater), rows, least), kept)
    slope, offset, points = calibration(read_predictions(kept))
    values = {
        "nodule_slope": slope,
        "nodule_offset": offset,
        "operating_points": points,
        "min_nodule": points["standard"],
    }
    if store:
        bundle = bundle_dir(CLASSIFICATION)
        config = read_config(bundle)
        config["rate_settings"] |= values
        with replacing(bundle / "configs" / "inference.json") as temporary:
            temporary.write_text(json_text(config), encoding="utf-8")
    return Calibrated(values, kept, len(held))
