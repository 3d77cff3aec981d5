"""`monai-lung phantom`: a synthetic chest CT with known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from monai_lung.cli.options import PATH, command, json_option
from monai_lung.cli.terminal import table

_IMAGE = "The image"


@command(short_help="Write a synthetic chest CT as DICOM, with its truth.")
@click.option(
    "-o", "--output", metavar="DIR", type=PATH, required=True, help="Write the folders dicom/ and truth/ into this one."
)
@click.option(
    "--nodule",
    "nodules",
    metavar="SPEC",
    multiple=True,
    help="Add a nodule X,Y,Z,MM[,WORD...], as above. May be given several times.",
)
@click.option(
    "--crops",
    metavar="FOLDER",
    type=PATH,
    help="Draw nodules from the readers' contours in this folder: a nodule's MM may then be an id from its table.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Draw branches and noise from this seed.")
@click.option(
    "--size", type=int, default=256, show_default=True, help="Set the number of columns and rows.", panel=_IMAGE
)
@click.option("--slices", type=int, default=60, show_default=True, help="Set the number of slices.", panel=_IMAGE)
@click.option("--pixel-mm", type=float, help="Set the pixel spacing. Default: 384 mm divided by --size.", panel=_IMAGE)
@click.option(
    "--spacing-mm", type=float, help="Set the slice spacing. Default: 300 mm divided by --slices.", panel=_IMAGE
)
@click.option("--thickness-mm", type=float, help="Set the slice thickness. Default: the slice spacing.", panel=_IMAGE)
@click.option(
    "--noise-hu",
    type=float,
    default=15,
    show_default=True,
    help="Add noise of this standard deviation.",
    panel=_IMAGE,
)
@click.option(
    "--kernel",
    type=click.Choice(["smooth", "standard", "sharp"]),
    default="standard",
    show_default=True,
    help="Reconstruct with this kernel.",
    panel=_IMAGE,
)
@click.option("--contrast", is_flag=True, help="Add contrast medium: blood of 250 HU.", panel=_IMAGE)
@click.option(
    "--position",
    type=click.Choice(["HFS", "FFS", "HFP", "FFP"]),
    default="HFS",
    show_default=True,
    help="Lay the patient in this position.",
    panel=_IMAGE,
)
@click.option(
    "--tilt-deg", type=float, default=0, show_default=True, help="Tilt the gantry by these degrees.", panel=_IMAGE
)
@click.option(
    "--padding-hu",
    type=click.IntRange(-3100, -1024),
    help="Cut a round field of view, and store this value outside it.",
    panel=_IMAGE,
)
@json_option
def phantom(
    output: Path, nodules: tuple[str, ...], crops: Path | None, contrast: bool, as_json: bool, **grid: Any
) -> None:
    """Write a synthetic chest CT as DICOM, with the truth about its nodules beside it.

    A nodule is X,Y,Z (LPS mm from a point between the lungs), its diameter in mm, and words: solid, part-solid or
    ground-glass; sphere, ellipsoid or lobulated; pleural. Example: --nodule 80,40,10,8,ground-glass. Without
    --nodule there is one of each kind. A phantom is for trying things out and testing; it says nothing about accuracy.
    """
    from monai_lung.phantom import PhantomSpec, make_phantom, parse_nodule, write_phantom

    chosen: dict[str, Any] = {name: value for name, value in grid.items() if value is not None}
    chosen.setdefault("pixel_mm", 384 / max(chosen["size"], 1))
    chosen.setdefault("spacing_mm", 300 / max(chosen["slices"], 1))
    if nodules:
        chosen["nodules"] = tuple(parse_nodule(text, crops) for text in nodules)
    made = make_phantom(PhantomSpec(blood_hu=250.0 if contrast else 45.0, **chosen))
    folder = write_phantom(made, output)
    if as_json:
        click.echo((output / "truth" / "nodules.json").read_text(encoding="utf-8").strip())
        return
    rows = [
        (
            t.id,
            " ".join(f"{v:.0f}" for v in t.center_mm),
            f"{t.diameter_mm:.1f}",
            f"{t.volume_mm3:.0f}",
            t.nodule.texture,
            t.nodule.shape + (", pleural" if t.nodule.pleural else ""),
        )
        for t in made.nodules
    ]
    click.echo(table(("#", "centre LPS mm", "mm", "mm3", "texture", "shape"), rows, "rlrrll"))
    click.echo(f"-> {folder}, the truth in {output / 'truth'}")
