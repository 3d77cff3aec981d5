"""`monai-lung store-weights`: a checkpoint into a bundle."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from monai_lung.cli.options import PATH, bundle_option, command, trust_option

NETWORKS = ("find", "delineate", "rate", "malignancy", "correct", "segment", "classify")
"""Stages of the analysis, the one on request, and those of the paper's system."""


@command(short_help="Store a training's checkpoint in a bundle.")
@click.argument("network", metavar="NETWORK", type=click.Choice(NETWORKS))
@click.argument("checkpoint", metavar="CHECKPOINT", type=PATH)
@bundle_option("--bundle", "bundle", "Store it in the bundle in this folder rather than the installed one.")
@trust_option
def store_weights(network: str, checkpoint: Path, bundle: Path | None, trust_bundle: bool) -> None:
    """Store the weights of a CHECKPOINT as those of a bundle's NETWORK, in half precision.

    NETWORK is find, delineate, rate, malignancy or correct, or segment or classify of the paper's bundle. The SHA-256
    of the weights goes into the bundle's metadata.json, and other weights are refused from then on. Weights of another
    network than the bundle's inference.json describes are refused: set its width there first. `calibrate malignancy`
    stores those of the malignancy together with their calibration.
    """
    from monai_lung.stages import ALL_STAGES
    from monai_lung.weights import bundle_dir, save_weights

    stage = ALL_STAGES[network]
    folder = bundle or bundle_dir(stage.bundle)
    digest = save_weights(checkpoint, folder, stage.weights, trust_bundle=trust_bundle)
    click.echo(f"{digest[:12]} -> {folder / 'models' / stage.weights}")
