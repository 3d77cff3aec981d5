"""`docs/paper.md`: the paper figure by figure, drawn from what `research.paper.judge` has kept."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import click
import numpy as np
from matplotlib.figure import Figure

from monai_lung.errors import MonaiLungError
from monai_lung.io.output import replacing
from research import DOCS
from research.paper import tables
from research.paper.tables import NOT_TRAINED, Kept, rated

TEMPLATE = "template.md"
"""The text, with a place for each table and picture, beside this module."""
TABLES = (
    "goals",
    "networks",
    "sizes",
    "dice",
    "dice_gain",
    "malignancy",
    "malignancy_gain",
    "confusion",
    "misses",
    "whole_ct",
)


def write(docs: Path) -> Path:
    """Write `paper.md` and its pictures into a docs folder.

    Raises:
        InputError: what is kept there is damaged.
        OutputError: it can't be written.
    """
    kept = Kept.read(docs)
    template = resources.files("research.paper").joinpath(TEMPLATE).read_text(encoding="utf-8")
    parts: dict[str, str] = {name: getattr(tables, name)(kept) for name in TABLES}
    for name, draw, file, alt in (
        ("losses", losses, "paper-loss.png", "Loss of each epoch"),
        ("dice_picture", dice, "paper-dice.png", "Dice of each nodule by its diameter"),
        ("roc_picture", roc, "paper-roc.png", "ROC curves"),
    ):
        picture = draw(kept)
        parts[name] = f"{NOT_TRAINED}\n" if picture is None else f"![{alt}](images/{file})\n"
        if picture is not None:
            (docs / "images").mkdir(parents=True, exist_ok=True)
            with replacing(docs / "images" / file) as temporary:
                picture.savefig(temporary, dpi=90, format="png")
    page = docs / "paper.md"
    with replacing(page) as temporary:
        temporary.write_text(template.format(**parts), encoding="utf-8")
    return page


def losses(kept: Kept) -> Figure | None:
    """Loss of each epoch, of what segments and of what classifies; None without any."""
    if kept.losses.empty:
        return None
    picture = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = picture.subplots(1, 2)
    for name, own in kept.losses.groupby("network"):
        segments = name in tables.SYSTEMS
        axes = left if segments else right
        label = tables.SYSTEMS[str(name)] if segments else tables.RATERS[str(name)]
        axes.plot(own.epoch, own.loss, label=label)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss")
        if axes.lines:
            axes.legend(frameon=False)
    return picture


def dice(kept: Kept) -> Figure | None:
    """Dice on the paper's grid of each nodule by its diameter, 3D Res U-Net; None without any."""
    own = kept.nodules[(kept.nodules.system == "res-unet") & kept.nodules.dice_grid.notna()]
    if own.empty:
        return None
    picture = Figure(figsize=(6, 3.4), layout="constrained")
    axes = picture.subplots()
    axes.plot(own.diameter_mm, own.dice_grid, ".", alpha=0.5)
    axes.axvline(10, color="grey", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("diameter, mm")
    axes.set_ylabel("Dice")
    return picture


def roc(kept: Kept) -> Figure | None:
    """ROC curves with predicted masks; None without any."""
    found = {label: rated(kept, name, "predicted") for name, label in tables.RATERS.items()}
    present = {label: one for label, one in found.items() if one is not None}
    if not present:
        return None
    picture = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = picture.subplots()
    for label, one in present.items():
        order = np.argsort(-one.logit, kind="stable")
        true = one.malignant[order]
        axes.plot(np.cumsum(~true) / (~true).sum(), np.cumsum(true) / true.sum(), label=label)
    axes.plot([0, 1], [0, 1], ":", color="grey")
    axes.set_xlabel("1 - specificity")
    axes.set_ylabel("recall")
    axes.legend(frameon=False, fontsize=8)
    return picture


@click.command(help=__doc__)
@click.argument("docs", type=click.Path(path_type=Path, exists=True), default=DOCS)
def main(docs: Path) -> None:
    """Write the page of DOCS; errors on one line."""
    try:
        click.echo(write(docs))
    except MonaiLungError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
