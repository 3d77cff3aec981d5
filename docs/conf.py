"""Sphinx: the pages of docs/, the README, the bundles' cards and an API reference; built by tools/docs.

The source folder is the checkout itself, so that a link which works in the repository works on the site.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from monai_lung.version import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]

project = "monai-lung"
author = "The monai-lung authors"
copyright = author
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**", "bundles/*/docs/*.md"]
exclude_patterns = [".*", "build", "dist", "monai_lung", "out", "runs", "tests", "tools", "**/.ipynb_checkpoints"]

html_theme = "furo"
html_title = "monai-lung"
html_show_sourcelink = False

myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_cache_path = str(ROOT / "build" / "notebooks")
nb_execution_timeout = 1800
nb_execution_raise_on_error = True
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Every module gets a page below docs/api/, from the docstrings.
apidoc_modules = [
    {
        "path": str(ROOT / "monai_lung"),
        "destination": "docs/api",
        "separate_modules": True,
        "module_first": True,
    }
]
autodoc_mock_imports = ["ray"]
autodoc_default_options = {"members": True, "show-inheritance": True, "ignore-module-all": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
default_role = "code"  # docstrings have single backticks around code
suppress_warnings = ["toc.not_included", "ref.python", "docutils"]

_HEADING = re.compile(r"^## (.+)$", re.M)
_LINK = re.compile(r"^- \[[^]]+\]\(([^)#]+)\.(?:md|ipynb)\)", re.M)


def _add_contents(app: Sphinx, docname: str, content: list[str]) -> None:
    """Give three pages what only the site has; the pages themselves stay Markdown that any viewer shows.

    The index gets a table of contents for each of its headings, of the pages listed there; `api` one of the modules;
    `command-line` the help of every command.
    """
    if docname == root_doc:
        folder, (_, *parts) = Path(docname).parent, _HEADING.split(content[0])
        for caption, text in zip(parts[::2], parts[1::2], strict=True):
            targets = [Path(os.path.normpath(folder / target)).as_posix() for target in _LINK.findall(text)]
            content[0] += _toctree([f"/{target}" for target in targets], caption) if targets else ""
    elif docname == "docs/reference/api":
        content[0] += _toctree(["/docs/api/modules"])
    elif docname == "docs/reference/command-line":
        content[0] += _help_of_commands()


def _toctree(entries: list[str], caption: str = "") -> str:
    """A hidden table of contents: what the site's navigation shows."""
    options = [":hidden:", *([f":caption: {caption}"] if caption else [])]
    return "\n".join(["\n\n```{toctree}", *options, "", *entries, "```\n"])


def _help_of_commands() -> str:
    """The help of each command, as the command line prints it."""
    import rich_click as click

    from monai_lung.cli import cli

    def pages(command: click.Command, name: str, parent: click.Context | None = None) -> list[str]:
        context = command.make_context(name, [], parent=parent, resilient_parsing=True)
        text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        found = [f"## {context.command_path}\n\n```text\n{text}\n```"]
        if isinstance(command, click.Group):
            for below in command.list_commands(context):
                found += pages(command.get_command(context, below), below, context)
        return found

    return "\n\n" + "\n\n".join(pages(cli, "monai-lung")) + "\n"


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _add_contents)
