"""Commands, options, tools, configs and Python names that the pages mention exist."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
from collections.abc import Iterable
from pathlib import Path

import click
import pytest
from pages import PAGES, ROOT, blocks, name, shell_lines

from monai_lung.cli import cli

_HELP = {"-h", "--help"}


def _complaints(line: str) -> list[str]:
    """What of a line that calls `monai-lung` the program doesn't know."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return [f"{line}: not a line for a shell"]
    return [text for n, word in enumerate(words) if word == "monai-lung" for text in _call(words[n + 1 :], line)]


def _call(words: list[str], line: str) -> list[str]:
    command: click.Command = cli
    context = click.Context(cli)
    wrong = []
    for word in words:
        if word in ("|", ">", "&&", ";"):
            break
        if isinstance(command, click.Group) and not word.startswith("-"):
            found = command.get_command(context, word)
            if found is None:
                return [*wrong, f"{line}: no command {word}"]
            command = found
        elif re.match(r"--?[a-z]", word):
            known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | _HELP
            if word.partition("=")[0] not in known:
                wrong.append(f"{line}: no option {word}")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_and_options_exist(page: Path) -> None:
    calls = [line for line in shell_lines(page.read_text(encoding="utf-8")) if re.match(r"monai-lung( |$)", line)]
    assert not [complaint for line in calls for complaint in _complaints(line)]


@pytest.mark.parametrize(
    ("line", "complains"),
    [
        ("monai-lung analyze CT -o OUT --age 61", False),
        ("monai-lung lidc split a -o f.json --folds 5   # comment --nonsense", False),
        ("monai-lung analyse CT", True),
        ("monai-lung analyze CT --out OUT", True),
        ("monai-lung lidc prepare D -o P --min-reader 3", True),
    ],
)
def test_a_wrong_call_is_noticed(line: str, complains: bool) -> None:
    assert bool(_complaints(line)) == complains


def test_every_command_is_described() -> None:
    lines = [line for page in PAGES for line in shell_lines(page.read_text(encoding="utf-8"))]
    commands = {name: cli.get_command(click.Context(cli), name) for name in cli.list_commands(click.Context(cli))}
    paths = [f"monai-lung {n}" for n, c in commands.items() if not isinstance(c, click.Group)]
    paths += [f"monai-lung {n} {m}" for n, c in commands.items() if isinstance(c, click.Group) for m in c.commands]
    assert not [path for path in paths if not any(line.startswith(path) for line in lines)]


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name)
def test_tools_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    tools = set(re.findall(r"(?<![\w/.-])tools/[\w/]+(?:\.\w+)?", text))
    assert not [tool for tool in tools if not (ROOT / tool).exists()]


def _bundle_run(line: str, page: Path) -> list[str]:
    """What of a `monai.bundle run` its configs don't know."""
    words = shlex.split(line, comments=True)
    given = words[words.index("--config_file") + 1]
    configs = re.findall(r"[\w./-]+\.json", given.replace("my_", "bundles/lung_nodule_"))
    folders = (ROOT, page.parent.parent, *(ROOT / "bundles").glob("lung_nodule_[cps]*"))
    places = [folder for folder in folders if all((folder / config).is_file() for config in configs)]
    if not places:
        return [f"{line}: no config {given}"]
    options = [word[2:].replace("-", "_") for word in words[words.index("run") :] if word.startswith("--")]
    keys = {option.partition("#")[0] for option in options} - {"config_file", "bundle_root"}
    unknown = [sorted(keys - _ids(place / config for config in configs)) for place in places]
    return [f"{line}: no id {key}" for key in min(unknown, key=len)]


def _ids(configs: Iterable[Path]) -> set[str]:
    return {key for config in configs for key in json.loads(config.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_bundle_runs_name_configs_and_ids(page: Path) -> None:
    lines = shell_lines(page.read_text(encoding="utf-8"))
    runs = [line for line in lines if "monai.bundle run" in line and "--config_file" in line]
    assert not [complaint for line in runs for complaint in _bundle_run(line, page)]


def _missing_names(code: str) -> list[str]:
    """What a piece of Python imports that isn't there."""
    missing = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("monai_lung"):
            module = importlib.import_module(str(node.module))
            missing += [f"{node.module}.{a.name}" for a in node.names if not hasattr(module, a.name)]
    return missing


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_is_valid_and_its_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    made = {name.replace("/", ".") for name in re.findall(r"^```python (monai_lung/\S+)\.py$", text, re.MULTILINE)}
    assert not [m for code in blocks(text, "python") for m in _missing_names(code) if m not in made]


def test_functions_of_the_api_page_exist() -> None:
    text = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    named = re.findall(r"`(monai_lung(?:\.\w+)+)", text)
    assert len(named) > 10
    for path in named:
        module, _, attribute = path.rpartition(".")
        try:
            importlib.import_module(path)
        except ImportError:
            assert hasattr(importlib.import_module(module), attribute), path
