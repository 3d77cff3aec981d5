"""Every link within the repository leads somewhere, and every page can be reached from the index."""

from __future__ import annotations

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
