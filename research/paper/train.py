"""Trains the paper's networks, and those that it compares them with, on folds 1 to 4.

DATA holds lidc_crops/, BACKGROUNDS the scans of `monai-lung train backgrounds`; OUT takes the checkpoints. Run again
with the same OUT and options, each training continues where it was stopped.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import click

from monai_lung.errors import InputError, MonaiLungError, UsageError
from monai_lung.stages import PAPER
from monai_lung.training.paper import CLASSIFIERS, SEGMENTERS, render_folder
from monai_lung.weights import bundle_dir
from research.paper.files import LEFT_OUT, UNSEEN

NETWORKS = (*SEGMENTERS, *CLASSIFIERS)


def command(
    network: str, data: Path, lungs: Path, out: Path, recipe: str, changes: dict[str, object], run: dict[str, object]
) -> list[str]:
    """The command that trains one of `NETWORKS`.

    Args:
        network: its name.
        data: holds lidc_crops/.
        lungs: on the paper's grid (`render_folder`).
        out: of all trainings; this one's folder is made in it.
        recipe: of the config.
        changes: to the recipe's settings, by their keys.
        run: other keys of the config.
    """
    bundle = bundle_dir(PAPER)
    config = "train_segment.json" if network in SEGMENTERS else "train_classify.json"
    values: dict[str, object] = {
        "config_file": bundle / "configs" / config,
        "bundle_root": bundle,
        "dataset_dir": data / "lidc_crops",
        "lungs_dir": lungs,
        "output_dir": out / network,
        "architecture": network,
        "recipe": recipe,
        "exclude": list(UNSEEN),
        "exclude_backgrounds": list(LEFT_OUT),
        "resume": "true",
        **{f"recipes#{recipe}#{key}": value for key, value in changes.items()},
        **run,
    }
    words = [word for key, value in values.items() for word in (f"--{key}", str(value))]
    return [sys.executable, "-m", "monai.bundle", "run", *words]


def _given(**values: object) -> dict[str, object]:
    return {key: value for key, value in values.items() if value is not None}


@click.command(help=__doc__)
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.argument("backgrounds", type=click.Path(path_type=Path, exists=True))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--network",
    "networks",
    type=click.Choice(NETWORKS),
    multiple=True,
    default=("res-unet", "nodule-resnet"),
    show_default=True,
    help="Train this network; repeatable.",
)
@click.option(
    "--recipe",
    type=click.Choice(["cpu", "paper"]),
    default="cpu",
    show_default=True,
    help="paper has full width, whole sub-cases, 900 of them an epoch.",
)
@click.option("--width", type=int, help="Channels of the first layer of the network that segments.")
@click.option("--classify-width", type=int, help="Channels of the first layer of the network that classifies.")
@click.option("--patch", metavar="X,Y,Z", help="Voxels that the network that segments learns from at a time.")
@click.option("--samples", type=int, help="Such patches in an epoch.")
@click.option("--classify-samples", type=int, help="Nodules in an epoch of the network that classifies.")
@click.option("--epochs", type=int, help="Epochs of each network, for a trial.")
@click.option("--compiled", is_flag=True, help="Compile the network that segments: faster, with a C++ compiler.")
@click.option("--workers", type=int, help="Processes that draw patches beside the steps.")
def main(
    data: Path,
    backgrounds: Path,
    out: Path,
    networks: tuple[str, ...],
    recipe: str,
    width: int | None,
    classify_width: int | None,
    patch: str | None,
    samples: int | None,
    classify_samples: int | None,
    epochs: int | None,
    compiled: bool,
    workers: int | None,
) -> None:
    """Train one after the other, each in a process of its own; errors on one line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    lungs = out / "lungs"
    segment = _given(width=width, patch=patch and f"[{patch}]", samples=samples, epochs=epochs)
    classify = _given(width=classify_width, samples=classify_samples, epochs=epochs)
    try:
        if not (data / "lidc_crops").is_dir():
            raise InputError(f"{data / 'lidc_crops'}: not found; DATA holds lidc_crops/")
        if not any(backgrounds.glob("*.npz")):
            raise UsageError(
                f"{backgrounds}: holds no backgrounds (*.npz); make them with monai-lung train backgrounds"
            )
        render_folder(backgrounds, lungs)
        for name in networks:
            segments = name in SEGMENTERS
            run = _given(num_workers=workers, compiled="true" if compiled and segments else None)
            words = command(name, data, lungs, out, recipe, segment if segments else classify, run)
            if subprocess.run(words, check=False).returncode:
                raise InputError(f"{name}: the training ended with an error (see above); run the same command again")
    except MonaiLungError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"Judge them: tools/research paper.judge {data} {backgrounds} {out}")


if __name__ == "__main__":
    main()
