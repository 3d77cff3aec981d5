"""Options of the command line that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from monai_lung.model import Person

_KNOWN = ("age", "sex", "emphysema", "family_history", "spiculation")
_OPTIONS = (
    click.option("--age", type=click.IntRange(0, 120), help="Of the patient, in years; for the guidelines."),
    click.option("--sex", type=click.Choice(["F", "M"], case_sensitive=False), help="Of the patient."),
    click.option("--emphysema/--no-emphysema", default=None, help="Known of the patient."),
    click.option("--family-history/--no-family-history", default=None, help="Of lung cancer."),
    click.option("--spiculation/--no-spiculation", default=None, help="Seen at the nodules."),
)


def person_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options about the patient; `person_from` takes their values."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def person_from(values: dict[str, Any]) -> Person:
    """The person of the options' values, which are taken out of `values`."""
    from monai_lung.model import Person

    said = {name: values.pop(name) for name in _KNOWN}
    return Person(**said | {"sex": said["sex"] and said["sex"].upper()})
