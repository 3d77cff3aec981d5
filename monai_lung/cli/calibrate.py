"""`monai-lung calibrate ...`: probabilities and operating points of a bundle, from patients left out of training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import rich_click as click

from monai_lung.cli.options import PATH, Group, bundle_options, device_option
from monai_lung.cli.terminal import table


@click.group(cls=Group, short_help="Calibrate the networks that rate, on patients left out.")
def calibrate() -> None:
    """Calibrate the networks that rate, on patients that their training left out, and store the result in the bundle.

    A calibration or a threshold that was fitted on some patients flatters the figures of those patients.
    """


class Checkpoint(click.ParamType):
    """K=CHECKPOINT: a fold, and the checkpoint of the network that hasn't seen it."""

    name = "checkpoint"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, Path]:
        """The fold and the path."""
        if isinstance(value, tuple):
            return value
        fold, _, path = str(value).partition("=")
        if not fold.isdigit() or not path:
            self.fail(f"{value!r}: give K=CHECKPOINT, K the fold that the network hasn't seen", param, ctx)
        return int(fold), Path(path)


@calibrate.command(short_help="Join and calibrate the networks that rate malignancy.")
@click.argument("folder", metavar="DATA", type=PATH)
@click.argument("fold", metavar="FOLD", type=click.IntRange(0))
@click.argument("checkpoints", metavar="K=CHECKPOINT...", type=Checkpoint(), nargs=-1, required=True)
@bundle_options
def malignancy(folder: Path, fold: int, checkpoints: tuple[tuple[int, Path], ...], **bundles: Any) -> None:
    """Join the networks that rate malignancy, calibrate them, store both in the bundle, and judge them on FOLD.

    Give a checkpoint for each fold K other than FOLD, of `train malignancy --fold K --without FOLD`. Each network is
    calibrated on the nodules of the fold that it hasn't seen, with the readers' masks. Give the checkpoints of the
    trainings' ends (model_final): model_best was chosen on the very fold that calibrates it. One that learned from
    nodules of FOLD or K is refused.
    """
    from monai_lung.training.malignancy_calibration import calibrate_malignancy

    given = dict(checkpoints)
    if len(given) != len(checkpoints):
        raise click.UsageError("give one checkpoint for each fold")
    places = bundles["classification_dir"], bundles["segmentation_dir"], bundles["trust_bundle"]
    done = calibrate_malignancy(folder, fold, given, *places)
    click.echo(json.dumps(done.values, indent=4))
    click.echo(table((f"on fold {fold}", "value"), done.figures.items()))


@calibrate.command(short_help="Calibrate the nodule probability, and choose operating points.")
@click.argument("candidates", metavar="CANDIDATES", type=PATH)
@click.argument("checkpoint", metavar="CHECKPOINT", type=PATH)
@click.argument("docs", metavar="DOCS", type=PATH)
@click.argument("scans", metavar="SCAN...", nargs=-1, required=True)
@click.option(
    "--crops", metavar="FOLDER", type=PATH, required=True, help="Read the nodules that were set in from this folder."
)
@click.option("--store", is_flag=True, help="Write calibration and operating points into the classification bundle.")
@device_option
def nodules(
    candidates: Path, checkpoint: Path, docs: Path, scans: tuple[str, ...], crops: Path, store: bool, device: str
) -> None:
    """Calibrate the nodule probability on the SCANs that training left out, and choose the operating points.

    CANDIDATES is a folder of `train candidates`, CHECKPOINT one of `train rate --left-out SCAN...`. Candidates that the
    installed finding network scores below its `min_score` count as not found. The predictions are kept as
    DOCS/study/detection.csv.gz.
    """
    from monai_lung.training.nodule_calibration import calibrate_nodules

    done = calibrate_nodules(candidates, checkpoint, docs, scans, crops, device=device, store=store)
    click.echo(json.dumps(done.values, indent=4))
    click.echo(f"{done.candidates} candidates of {len(scans)} scans -> {done.kept}")
