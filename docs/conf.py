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

_LINK = re.compile(r"^- \[[^]]+\]\(([^)#]+)\.(?:md|ipynb)\)", re.M)


def _with_contents(app: Sphinx, docname: str, content: list[str]) -> None:
    """Give two pages a table of contents: the index one of the pages it lists, in its order; `api` one of the modules.

    The pages themselves stay plain Markdown, which a repository's viewer shows as it is.
    """
    if docname == root_doc:
        folder = Path(docname).parent
        entries = ["/" + Path(os.path.normpath(folder / target)).as_posix() for target in _LINK.findall(content[0])]
    elif docname == "docs/api":
        entries = ["/docs/api/modules"]
    else:
        return
    content[0] += "\n".join(["\n\n```{toctree}", ":hidden:", *entries, "```\n"])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _with_contents)
