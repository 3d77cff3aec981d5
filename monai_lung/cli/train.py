"""`monai-lung train ...`: one network, what its training learns from, or all networks as they ship."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich_click as click

from monai_lung.cli.bundle_run import run_bundle, set_option
from monai_lung.cli.options import PATH, Group, device_option
from monai_lung.cli.terminal import count_progress
from monai_lung.cli.train_all import train_all

CONFIGS = {
    "find": "train_find.json",
    "delineate": "train.json",
    "correct": "train_correct.json",
    "rate": "train_rate.json",
    "malignancy": "train_malignancy.json",
}
"""Which config of its bundle trains a network."""


@click.group(cls=Group, short_help="Train a network, or all networks as they ship.")
def train() -> None:
    """Train a network of a bundle, make what its training learns from, or train all networks as they ship.

    docs/how-to/train.md goes through a whole training. For several GPUs, start `python -m monai.bundle run` with
    torchrun.
    """


train.add_command(train_all)


def _run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of every training, by their ids in the configs."""
    for option in reversed(
        (
            click.option(
                "-o",
                "--output",
                "output_dir",
                metavar="RUN",
                type=PATH,
                required=True,
                help="Write checkpoints and the loss into this folder.",
            ),
            click.option(
                "--recipe",
                metavar="NAME",
                default="best",
                show_default=True,
                help="Train by this recipe of the config: best is for a GPU, cpu for two cores.",
            ),
            click.option("--start", metavar="FILE", type=PATH, help="Start from the weights of this checkpoint."),
            click.option("--resume", is_flag=True, default=None, help="Continue the training in RUN."),
            device_option,
            click.option("--bundle", metavar="DIR", type=PATH, help="Train this bundle rather than the installed one."),
            set_option(),
        )
    ):
        command = option(command)
    return command


def _fold_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of trainings on patients in folds."""
    for option in reversed(
        (
            click.option(
                "--fold-file",
                metavar="FILE",
                type=PATH,
                help="Read the folds from this file of `lidc split`. Default: the bundle's.",
            ),
            click.option(
                "--fold",
                metavar="N",
                type=click.IntRange(0),
                default=0,
                show_default=True,
                help="Validate on this fold, and don't train on it.",
            ),
            click.option("--exclude", metavar="PATIENT", multiple=True, help="Leave this patient out; repeatable."),
        )
    ):
        command = option(command)
    return command


def _train(network: str, bundle: Path | None, settings: tuple[tuple[str, Any], ...], values: dict[str, Any]) -> None:
    """Run the config of a network."""
    from monai_lung.io.paths import check_exists
    from monai_lung.stages import ALL_STAGES
    from monai_lung.weights import bundle_dir

    for key in ("dataset_dir", "background_dir", "slice_dir", "candidate_dir", "fold_file", "start"):
        if values.get(key) is not None:
            check_exists(values[key])
    folder = bundle or bundle_dir(ALL_STAGES[network].bundle)
    run_bundle(folder / "configs" / CONFIGS[network], {**values, **dict(settings)})


_DATASET = click.argument("dataset_dir", metavar="DATA", type=PATH)
_SLICES = click.option(
    "--slices", "slice_dir", metavar="FOLDER", type=PATH, help="Learn from the single-slice nodules in this folder too."
)


@train.command(short_help="Train the network that finds.")
@_DATASET
@click.option(
    "--backgrounds",
    "background_dir",
    metavar="FOLDER",
    type=PATH,
    required=True,
    help="Set the nodules into the lungs in this folder.",
)
@click.option(
    "--exclude-background",
    "exclude_backgrounds",
    metavar="NAME",
    multiple=True,
    help="Leave out this background (its file without .npz); repeatable.",
)
@_SLICES
@_run_options
@_fold_options
def find(bundle: Path | None, settings: tuple[tuple[str, Any], ...], **values: Any) -> None:
    """Train the network that finds nodules, on the nodules in DATA (the crop format) set into whole lungs."""
    _train("find", bundle, settings, values)


@train.command(short_help="Train the network that delineates.")
@_DATASET
@_run_options
@_fold_options
def delineate(bundle: Path | None, settings: tuple[tuple[str, Any], ...], **values: Any) -> None:
    """Train the network that delineates nodules, on DATA in the crop format."""
    _train("delineate", bundle, settings, values)


@train.command(short_help="Train the network that corrects an outline by clicks.")
@_DATASET
@_run_options
@_fold_options
def correct(bundle: Path | None, settings: tuple[tuple[str, Any], ...], **values: Any) -> None:
    """Train the network that corrects an outline by clicks, on DATA in the crop format.

    It starts from the bundle's network that delineates, whose outlines a simulated person corrects.
    """
    _train("correct", bundle, settings, values)


@train.command(short_help="Train the network that tells nodules from other findings.")
@click.argument("candidate_dir", metavar="CANDIDATES", type=PATH)
@click.option(
    "--left-out", metavar="SCAN", multiple=True, help="Validate on this scan, and don't train on it; repeatable."
)
@_run_options
def rate(bundle: Path | None, settings: tuple[tuple[str, Any], ...], **values: Any) -> None:
    """Train the network that tells nodules from other findings, on CANDIDATES of `train candidates`."""
    _train("rate", bundle, settings, values)


@train.command(short_help="Train a network that rates malignancy.")
@_DATASET
@click.option("--without", metavar="N", type=click.IntRange(0), multiple=True, help="Leave this fold out; repeatable.")
@_SLICES
@_run_options
@_fold_options
def malignancy(bundle: Path | None, settings: tuple[tuple[str, Any], ...], **values: Any) -> None:
    """Train a network that rates malignancy, on DATA in the crop format.

    Train one for each fold but the one that judges; `calibrate malignancy` joins them.
    """
    _train("malignancy", bundle, settings, values)


@train.command(short_help="Make whole lungs of the scans that the shipped weights saw.")
@click.argument("data", metavar="DATA", type=PATH)
@click.argument("out", metavar="OUT", type=PATH)
def backgrounds(data: Path, out: Path) -> None:
    """Make whole lungs, into which training sets nodules, of the scans that the shipped weights were trained on.

    DATA holds their folders ct/ and lungs/. For a download of LIDC-IDRI there is `lidc backgrounds`.
    """
    from monai_lung.training.shipped_scans import make_shipped_backgrounds

    for made in make_shipped_backgrounds(data, out):
        click.echo(made)


@train.command("hard-negatives", short_help="Find what a trained network mistakes for nodules.")
@click.argument("checkpoint", metavar="CHECKPOINT", type=PATH)
@click.argument("folder", metavar="BACKGROUNDS", type=PATH)
@click.argument("out", metavar="OUT", type=PATH)
def hard_negatives(checkpoint: Path, folder: Path, out: Path) -> None:
    """Write BACKGROUNDS again to OUT, with the places that the network of CHECKPOINT mistakes for nodules.

    Train the network that finds on from there: it sees these places more often.
    """
    from monai_lung.training.mining import mine_folder

    for made in mine_folder(checkpoint, folder, out):
        click.echo(made)


@train.command(short_help="Make the candidates that `train rate` learns from.")
@click.argument("data", metavar="DATA", type=PATH)
@click.argument("folder", metavar="BACKGROUNDS", type=PATH)
@click.argument("out", metavar="OUT", type=PATH)
@click.option("--checkpoint", metavar="FILE", type=PATH, help="Find with this checkpoint, not the installed network.")
def candidates(data: Path, folder: Path, out: Path, checkpoint: Path | None) -> None:
    """Set nodules into BACKGROUNDS and keep in OUT all that finding and delineating propose there.

    DATA holds lidc_crops/ and lidc_slices/. Files that are there already are kept, so it can be interrupted.
    """
    from monai_lung.training.candidate_runs import make_candidates

    with count_progress("scans") as progress:
        for made in make_candidates(data, folder, out, checkpoint, progress=progress):
            click.echo(made)
