"""The program: its commands, the options that all of them have, and exit codes.

Exit codes: 0 done, 1 a case failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence

import rich_click as click
from click.exceptions import Exit

from monai_lung.cli.options import Group, Session
from monai_lung.cli.terminal import PROGRAM, error_message, show_error
from monai_lung.errors import UsageError
from monai_lung.version import __version__

log = logging.getLogger(__name__)

COMMANDS: Mapping[str, Sequence[str]] = {
    "Analyse CTs": ("analyze", "measure", "lungs", "inspect"),
    "Work with results": ("summarize", "view", "revise", "serve"),
    "Train networks": ("lidc", "train", "calibrate", "store-weights", "evaluate", "pack"),
    "Try things out": ("phantom", "bench"),
}
"""Commands by panel of the help. Each is the function of its name in the module of its name, "-" as "_"."""

HELP: Mapping[str, object] = {
    "theme": "default-nu",
    "max_width": 100,
    "append_metavars_help_string": "{}",
    "show_arguments": False,
    "padding_helptext_first_line": (0, 0, 1, 0),
    "text_paragraph_linebreaks": "\n\n",
    "options_table_column_types": ["opt_short", "opt_long_metavar", "help"],
    "options_table_help_sections": ["help", "default", "required"],
    "required_long_string": "(required)",
    "default_string": "(default: {})",
}
"""How the help looks; `rich_click.RichHelpConfiguration` has the names."""


class LazyGroup(Group):
    """Imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, in the order of the help."""
        return [name for names in COMMANDS.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name; None where there is none."""
        if cmd_name not in self.list_commands(ctx):
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(f"monai_lung.cli.{name}"), name)
        return command


@click.group(
    cls=LazyGroup,
    panels=[click.RichCommandPanel(title, commands=list(names)) for title, names in COMMANDS.items()],
    context_settings={
        "help_option_names": ["-h", "--help"],
        "rich_help_config": HELP,
    },
)
@click.version_option(__version__, prog_name=PROGRAM)
def cli() -> None:
    """Find, measure and rate lung nodules on chest CT.

    For research and decision support. It is not a medical device; a qualified reader must review every result.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; None takes those of the process.

    Returns:
        The exit code.
    """
    session = Session()
    try:
        return cli.main(arguments, prog_name=PROGRAM, standalone_mode=False, obj=session) or 0
    except click.ClickException as error:
        show_error(error.format_message())
        return 2
    except Exit as left:
        return left.exit_code
    except (KeyboardInterrupt, click.Abort):
        show_error("interrupted; finished cases are kept, run again for the rest")
        return 130
    except BrokenPipeError:  # the reader of a pipe left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if session.debug:
            log.error("traceback", exc_info=True)
        show_error(error_message(error))
        return 2 if isinstance(error, UsageError) else 1
