"""`monai-lung evaluate`: a bundle's figures on nodules that readers marked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import rich_click as click

from monai_lung.cli.bundle_run import run_bundle, set_option
from monai_lung.cli.options import PATH, bundle_option, command, device_option, json_option, trust_option
from monai_lung.cli.terminal import table
from monai_lung.errors import UsageError

TASKS = ("segmentation", "classification")


@command(short_help="Measure a bundle on nodules that readers marked.")
@click.argument("task", metavar="TASK", type=click.Choice(TASKS))
@click.argument("dataset_dir", metavar="DATA", type=PATH)
@click.option(
    "-o", "--output", "output_dir", metavar="OUT", type=PATH, required=True, help="Write figures and predictions here."
)
@click.option("--fold-file", metavar="FILE", type=PATH, help="Read the folds from this file. Default: the bundle's.")
@click.option(
    "--fold", metavar="N", type=click.IntRange(0), help="Evaluate on the patients of this fold. Default: on all."
)
@click.option("--checkpoint", metavar="FILE", type=PATH, help="Evaluate this checkpoint before it is stored.")
@click.option(
    "--mask",
    type=click.Choice(["predicted", "readers"]),
    help="Rate nodules by the segmentation network's masks, or by those of half of the readers. Default: predicted.",
)
@click.option(
    "--store",
    is_flag=True,
    help="Put the figures into the bundle's metadata.json and model card; those of other weights are refused.",
)
@device_option
@bundle_option("--bundle", "bundle", "Evaluate the bundle in this folder rather than the installed one.")
@trust_option
@set_option()
@json_option
def evaluate(
    task: str,
    bundle: Path | None,
    store: bool,
    settings: tuple[tuple[str, Any], ...],
    as_json: bool,
    **values: Any,
) -> None:
    """Measure a bundle's network on DATA in the crop format, also of patients never seen.

    TASK is segmentation or classification. Each figure has its number of nodules and patients and a 95 % interval by
    bootstrap over patients. Crops can't tell how many false findings a scan has: for that, analyse whole scans.
    """
    from monai_lung.bundle.eval_metrics import record
    from monai_lung.io.paths import check_exists
    from monai_lung.weights import bundle_dir

    if values["mask"] is not None and task != "classification":
        raise UsageError("--mask is for classification")
    for key in ("dataset_dir", "fold_file", "checkpoint"):
        if values[key] is not None:
            check_exists(values[key])
    folder = bundle or bundle_dir(f"lung_nodule_{task}")
    run_bundle(folder / "configs" / "evaluate.json", {**values, **dict(settings)})
    metrics = values["output_dir"] / "metrics.json"
    content = json.loads(metrics.read_text(encoding="utf-8"))
    if as_json:
        click.echo(json.dumps(content, indent=1))
    else:
        header = ("figure", "nodules of", "value", "95 % interval", "n", "patients")
        click.echo(table(header, _rows(content["figures"]), "llrlrr"))
        click.echo(f"-> {metrics}")
    if store:
        record(metrics, folder)


def _rows(figures: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[tuple[str, ...]]:
    """A row for each figure and group of nodules."""
    for name, groups in figures.items():
        for group, figure in groups.items():
            low, high = figure.get("low"), figure.get("high")
            interval = "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
            value = "" if figure["value"] is None else f"{figure['value']:.3f}"
            yield name, group, value, interval, str(figure.get("n", "")), str(figure.get("patients", ""))
