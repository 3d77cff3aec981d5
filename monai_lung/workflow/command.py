"""What `python -m monai.bundle run` says to a person who runs a config of ours.

MONAI wraps an error of a config in its own, with some 65 lines of traceback, and takes an option that no config knows
without a word. Our configs call `check_command` first (in `initialize`), which mends both, but for what fails before
that: a config that isn't there. A config that is used from Python, as MONAI Label does, isn't touched.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import logging
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

from monai_lung.errors import MonaiLungError, UsageError
from monai_lung.terminal import show_error

_TRACKING = {"output_dir", "tracking_uri", "experiment_name", "run_name", "save_execute_config"}
"""What MONAI's `--tracking` takes beside."""


def check_command() -> None:
    """Where the process is `python -m monai.bundle run`, make an error of ours one line, and refuse unknown options.

    Exit codes are then those of `monai-lung`: 1, 2 for a `UsageError`, 130 when interrupted. Errors that aren't ours
    keep their traceback.

    Raises:
        UsageError: an option is neither one of MONAI's nor in a config.
    """
    main = getattr(sys.modules.get("__main__"), "__spec__", None)
    if main is None or main.name != "monai.bundle.__main__":
        return
    sys.excepthook = _show
    logging.getLogger("monai.handlers.StatsHandler").addFilter(_without_traceback)
    from monai.bundle import ConfigParser, ConfigWorkflow
    from monai.bundle.scripts import create_workflow, run, run_workflow

    given = given_options(sys.argv[1:])
    files = {name: _listed(given[name]) for name in ("config_file", "args_file") if given.get(name)}
    if "args_file" in files:
        arguments = ConfigParser.load_config_file(str(files["args_file"]))
        files.setdefault("config_file", arguments.get("config_file", ""))
        given = arguments | given
    if not files.get("config_file"):  # given by its place: MONAI has found it, we can't
        return
    parser = ConfigParser()
    parser.read_config(files["config_file"])
    takes = (run, run_workflow, create_workflow, ConfigWorkflow.__init__)
    own = {name for one in takes for name in inspect.signature(one).parameters}
    refuse_unknown(given, parser.get(), own | (_TRACKING if "tracking" in given else set()))


def chosen(recipes: Mapping[str, Any], recipe: str) -> Any:
    """The settings of a recipe.

    Raises:
        UsageError: there is none of that name.
    """
    if recipe not in recipes:
        raise UsageError(f"--recipe {recipe}: the config has only {', '.join(sorted(recipes))}")
    return recipes[recipe]


def refuse_unknown(options: Iterable[str], config: Mapping[str, Any], own: set[str]) -> None:
    """Refuse the first option that sets nothing which a config has.

    Args:
        options: as MONAI takes them, `fold` or `recipes#cpu#epochs`; `::` may stand for `#`.
        config: the configs, merged.
        own: what MONAI's command takes itself.

    Raises:
        UsageError: the option isn't known. New arguments of an object (`_target_`) are; for new sections there are
            configs of one's own.
    """
    for option in options:
        if option in own or option.startswith("_"):
            continue
        place: Any = config
        for step in option.lstrip("+~").replace("::", "#").split("#"):
            if isinstance(place, Mapping) and "_target_" not in place and step not in place:
                known = [str(key) for key in place] + (list(own) if place is config else [])
                close = difflib.get_close_matches(step, known, n=1)
                meant = f"; is {close[0]} meant?" if close else ": it has " + ", ".join(sorted(known))
                raise UsageError(f"--{option}: the config has no {step}{meant}")
            place = _inside(place, step)


def _inside(place: Any, step: str) -> Any:
    """What an id's next step leads to, None where that can't be known before the config is evaluated."""
    if isinstance(place, Mapping):
        return place.get(step)
    if isinstance(place, list) and step.isdigit() and int(step) < len(place):
        return place[int(step)]
    return None


def given_options(words: Sequence[str]) -> dict[str, str]:
    """Options of a command line as python-fire reads them, without their dashes, to their values.

    `--name value`, `--name=value`, one dash for two, `--noname` for False where nothing follows; what follows a bare
    `--` is fire's own.
    """
    words = words[: list(words).index("--")] if "--" in words else words
    given = {}
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if _is_option(word):
            name, equals, value = word.lstrip("-").partition("=")
            name = name.replace("-", "_")
            if not equals:
                value = "" if _is_option(following) else following
            off = name.startswith("no") and not value and not equals
            given[name[2:] if off else name] = value
    return given


def _is_option(word: str) -> bool:
    """Whether python-fire takes a word for an option: a negative number is none."""
    return re.match(r"--|-[A-Za-z]", word) is not None


def _listed(text: str) -> str | list[str]:
    """One file, or several as in `"['a.json','b.json']"`."""
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
    return [str(one) for one in value] if isinstance(value, list | tuple) else text


def _without_traceback(record: logging.LogRecord) -> bool:
    """A filter that takes the traceback of an error of ours out of what MONAI logs when a training ends with it."""
    if record.exc_info and isinstance(record.exc_info[1], MonaiLungError):
        record.exc_info = None
    return True


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """`sys.excepthook`: one line for an error of ours, however often MONAI wrapped it."""
    if isinstance(error, KeyboardInterrupt):
        show_error("interrupted")
        raise SystemExit(130)
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, MonaiLungError):
        cause = cause.__cause__
    if cause is None:
        sys.__excepthook__(kind, error, trace)
        return
    show_error(message_of(cause))
    raise SystemExit(2 if isinstance(cause, UsageError) else 1)


def message_of(error: BaseException) -> str:
    """The message of an error; of one that a worker of a DataLoader reported, without its traceback."""
    text = str(error).strip()
    if "Original Traceback" in text:  # torch.utils.data puts the worker's whole traceback into the message
        found = re.findall(rf"^{re.escape(type(error).__module__)}\.\w+: (.*)", text, re.MULTILINE | re.DOTALL)
        text = found[-1] if found else text
    return text
