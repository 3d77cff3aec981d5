"""Options of the command line about the patient and about what is reported; nothing heavy is imported for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from monai_lung.model import Person

_OLDEST = 120
_SENSITIVITIES, _RISKS = ("high", "standard", "low"), ("low", "high")
_CATEGORIES = ("0", "1", "2", "3", "4A", "4B", "4X")
_KNOWN = (
    "age",
    "sex",
    "emphysema",
    "family_history",
    "spiculation",
    "risk",
    "known_cancer",
    "immunosuppressed",
    "screening",
    "earlier_category",
)

sensitivity_option = click.option(
    "--sensitivity",
    type=click.Choice(_SENSITIVITIES),
    default="standard",
    show_default=True,
    help="How readily a finding is reported; the rest is listed as candidates.",
)

guideline_option = click.option(
    "--guideline",
    type=click.Choice(["lung-rads", "fleischner"]),
    help="Guideline to show first. Default: fleischner for an incidental finding, else lung-rads.",
)

_OPTIONS = (
    click.option("--age", type=click.IntRange(0, _OLDEST), help="Age of the patient in years. Default: as in DICOM."),
    click.option(
        "--sex", type=click.Choice(["F", "M"], case_sensitive=False), help="Sex of the patient. Default: as in DICOM."
    ),
    click.option("--risk", type=click.Choice(_RISKS), help="Risk of lung cancer, by your judgement."),
    click.option("--known-cancer/--no-known-cancer", default=None, help="Whether a primary cancer is known."),
    click.option(
        "--immunosuppressed/--not-immunosuppressed", default=None, help="Whether the patient is immunosuppressed."
    ),
    click.option(
        "--screening/--incidental", default=None, help="Whether this is a screening CT or an incidental finding."
    ),
    click.option(
        "--earlier-category",
        type=click.Choice(_CATEGORIES, case_sensitive=False),
        help="Lung-RADS category of the earlier examination.",
    ),
    click.option(
        "--emphysema/--no-emphysema", default=None, help="Whether the patient has emphysema, for Brock's model."
    ),
    click.option(
        "--family-history/--no-family-history", default=None, help="Whether there is lung cancer in the family."
    ),
    click.option("--spiculation/--no-spiculation", default=None, help="Whether the only nodule is spiculated."),
)


def person_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options about the patient; `person_from` takes their values."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def person_from(values: dict[str, Any]) -> Person:
    """The person of the options' values, which are taken out of `values`."""
    from monai_lung.person import make_person

    said = {name: values.pop(name) for name in _KNOWN}
    return make_person(said | {"sex": said["sex"] and said["sex"].upper()})
