"""`monai-lung pack`: bundles as zips to share."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from monai_lung.cli.options import PATH, command, trust_option


@command(short_help="Pack bundles as zips to share, with TorchScript and ONNX.")
@click.argument("name", metavar="[BUNDLE]", default="all")
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=PATH,
    default="dist",
    show_default=True,
    help="Write the zips into this folder.",
)
@trust_option
def pack(name: str, output: Path, trust_bundle: bool) -> None:
    """Pack a BUNDLE for `python -m monai.bundle download` and the model zoo.

    BUNDLE is a name, a bundle's folder, or all (the default). Each zip is called NAME_vVERSION.zip and has the networks
    as TorchScript and ONNX too.
    """
    from monai_lung.bundle.packing import find_bundles
    from monai_lung.bundle.packing import pack as pack_bundle

    for bundle in find_bundles(name):
        click.echo(pack_bundle(bundle, output, trust_bundle=trust_bundle))
