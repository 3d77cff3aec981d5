"""Arrows between modules run one way: no circle of imports, those within functions counted."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("monai_lung", "research")
    for path in (ROOT / package).rglob("*.py")
}


def imported(tree: ast.AST) -> Iterator[str]:
    """Names of the modules that a module imports when it runs, not those for the type checker alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif not (isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            yield from imported(node)


def graph(modules: dict[str, str]) -> dict[str, set[str]]:
    """Module -> modules of the same package that it imports; `modules` are name -> source."""
    found = {}
    for module, source in modules.items():
        names = {name if name in modules else name.rpartition(".")[0] for name in imported(ast.parse(source))}
        found[module] = {name for name in names if name in modules and name != module}
    return found


def test_no_circle_of_imports() -> None:
    modules = {name: path.read_text(encoding="utf-8") for name, path in MODULES.items()}
    arrows = graph(modules)
    assert sum(map(len, arrows.values())) > len(modules)
    TopologicalSorter(arrows).prepare()


def test_what_is_installed_imports_no_research() -> None:
    for name, path in MODULES.items():
        if name.startswith("monai_lung"):
            names = imported(ast.parse(path.read_text(encoding="utf-8")))
            assert not [one for one in names if one.partition(".")[0] == "research"], name


def test_a_circle_within_functions_is_seen() -> None:
    modules = {"p.a": "from p import b", "p.b": "def f():\n    from p.c import d", "p.c": "import p.a"}
    with pytest.raises(CycleError):
        TopologicalSorter(graph(modules)).prepare()
    for_types = "if TYPE_CHECKING:\n    import p.a"
    TopologicalSorter(graph(modules | {"p.c": for_types})).prepare()
