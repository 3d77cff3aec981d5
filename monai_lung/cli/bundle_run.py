"""Runs of a bundle's config, as `python -m monai.bundle run` does them, for the commands that train and evaluate."""

from __future__ import annotations

import ast
import contextlib
import difflib
import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rich_click as click
from click import get_current_context

from monai_lung.cli.options import Decorator, Session
from monai_lung.cli.terminal import show_progress_log
from monai_lung.errors import ConfigError, MonaiLungError, UsageError


class Setting(click.ParamType):
    """KEY=VALUE, a value of a config: a number, a list or text."""

    name = "setting"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """The key and its value; text that Python can't read stays text."""
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not key or not equals:
            self.fail(f"{value!r}: give KEY=VALUE, for example recipes#cpu#epochs=14", param, ctx)
        try:
            return key, ast.literal_eval(text)
        except (ValueError, SyntaxError):
            return key, {"true": True, "false": False}.get(text, text)


def set_option() -> Decorator:
    """The option --set; the command gets `settings`, pairs of key and value."""
    return click.option(
        "--set",
        "settings",
        metavar="KEY=VALUE",
        type=Setting(),
        multiple=True,
        help="Set any other value of the bundle's config, such as recipes#cpu#epochs=14. May be given several times.",
    )


def run_bundle(config: Path, values: Mapping[str, Any]) -> None:
    """Run a bundle's config in this process.

    Args:
        config: a file in the bundle's `configs`.
        values: of the config, by their ids; None and empty tuples stay as the config has them.

    Raises:
        UsageError: the config has no such id.
        MonaiLungError: what the run raised; MONAI's own error around it is its context.
    """
    from monai.bundle import ConfigWorkflow

    given = {key: _plain(value) for key, value in values.items() if value is not None and value != ()}
    _check_ids(config, given)
    session = get_current_context().find_object(Session) or Session()
    show_progress_log(session.verbosity)
    logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)  # that there is no logging file is meant
    root = str(config.parent.parent)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # MONAI logs there; a command's stdout is its result's
            flow = ConfigWorkflow(config_file=str(config), logging_file=False, bundle_root=root, **given)
            flow.initialize()
            flow.run()
            flow.finalize()
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, MonaiLungError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise cause from error


def _plain(value: Any) -> Any:
    """A value as a config has it."""
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _check_ids(config: Path, given: Mapping[str, Any]) -> None:
    """Refuse what the config doesn't have: MONAI would add it without a word."""
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{config}: can't be read ({' '.join(str(error).split())})") from error
    for key in given:
        here: Any = content
        for part in key.split("#"):
            if not isinstance(here, dict) or part not in here:
                near = difflib.get_close_matches(part, here, 1) if isinstance(here, dict) else []
                hint = f"; did you mean {near[0]}?" if near else ""
                raise UsageError(f"--set {key}: {config.name} has no {part}{hint}")
            here = here[part]
