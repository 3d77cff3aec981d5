"""Every link within the repository leads somewhere, and every page can be reached from the index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import NOTEBOOK, PAGES, ROOT, anchors, links, name


def _broken(page: Path, text: str) -> list[str]:
    broken = []
    for link in links(text):
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        inside = ROOT in (path, *path.parents) and path.exists()
        if not inside or (anchor and path.suffix == ".md" and anchor not in anchors(path.read_text(encoding="utf-8"))):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    assert not _broken(page, page.read_text(encoding="utf-8"))


def test_links_of_the_notebook_lead_somewhere() -> None:
    import json

    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert links(text)
    assert not _broken(NOTEBOOK, text)


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    page = ROOT / "docs" / "index.md"
    text = "[a](nowhere.md) [b](study.md#no-such-heading) ![c](images/none.png) [d](../../outside) [e](study.md)"
    assert _broken(page, text) == ["nowhere.md", "study.md#no-such-heading", "images/none.png", "../../outside"]


def test_the_index_lists_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    listed = {(index.parent / link).resolve() for link in links(index.read_text(encoding="utf-8"))}
    missing = [name(page) for page in [*PAGES, NOTEBOOK] if page not in listed and page != index]
    assert not missing, "list them in docs/index.md, from which the site takes its table of contents"


def _pages_named(text: str) -> list[str]:
    """Pages that a text names by their path from the repository's root, `docs/....md`."""
    return re.findall(r"(?<![\w/*.-])docs/[\w/-]+\.md\b", text)


def test_pages_that_are_named_exist() -> None:
    kinds = {".py", ".md", ".json", ".yaml", ".html", ".js", ".txt", ""}
    rooms = [path for room in ("docs", "monai_lung", "tools", "bundles") for path in (ROOT / room).rglob("*")]
    files = [ROOT / "README.md", *(path for path in rooms if path.is_file() and path.suffix in kinds)]
    texts = {path: path.read_text(encoding="utf-8") for path in files if (ROOT / "docs" / "api") not in path.parents}
    named = [(name(path), page) for path, text in texts.items() for page in _pages_named(text)]
    assert len(named) > 20
    assert not [(where, page) for where, page in named if not (ROOT / page).is_file()]


def test_the_name_of_a_page_is_seen() -> None:
    text = "see docs/train.md, (docs/how-to/train.md) and `bundles/*/docs/README.md`; x/docs/a.md docs/a.mdx"
    assert _pages_named(text) == ["docs/train.md", "docs/how-to/train.md"]
