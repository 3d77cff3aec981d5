"""The Markdown pages of the repository, read as a viewer reads them."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bundles/*/docs/*.md")], key=lambda path: str(path)
)
NOTEBOOK = ROOT / "docs" / "tutorials" / "notebook.ipynb"

_MARKDOWN = MarkdownIt("commonmark").enable("table")


def name(path: Path) -> str:
    """A page's path in the repository."""
    return str(path.relative_to(ROOT))


def tokens(text: str) -> list[Token]:
    """All tokens, those within a line too."""
    return [t for token in _MARKDOWN.parse(text) for t in (token, *(token.children or ()))]


def links(text: str) -> list[str]:
    """Targets of links and pictures that aren't addresses of the web."""
    targets = [str(t.attrs.get("href") or t.attrs.get("src") or "") for t in tokens(text)]
    return [unquote(target) for target in targets if target and not re.match(r"[a-z]+:", target)]


def anchors(text: str) -> set[str]:
    """What a heading is called in an address: lower case, without punctuation, spaces as hyphens."""
    parsed = _MARKDOWN.parse(text)
    headings = [parsed[n + 1] for n, token in enumerate(parsed) if token.type == "heading_open"]
    texts = ["".join(t.content for t in heading.children or ()) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}


def blocks(text: str, *languages: str) -> list[str]:
    """Code blocks in one of these languages; "" is a block that names none."""
    found = [t for t in tokens(text) if t.type in ("fence", "code_block")]
    return [t.content for t in found if (t.info.split() or [""])[0] in languages]


def shell_lines(text: str) -> list[str]:
    """Lines of all shell code, with continued lines joined, and of code within sentences."""
    joined = "\n".join(blocks(text, "", "bash", "sh", "console", "text")).replace("\\\n", " ")
    lines = [line.strip().removeprefix("$ ") for line in joined.splitlines()]
    return lines + [" ".join(t.content.split()) for t in tokens(text) if t.type == "code_inline"]
