"""The examples in the docstrings: there is one for each public function and transform, and all of them hold."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from monai.inferers import Inferer
from monai.transforms import Transform

import monai_lung
import monai_lung.bundle
import monai_lung.transforms

WITH_NETWORKS = {"analyze", "find_nodules", "measure_at", "measure_mask"}
"""Examples that run the shipped networks."""
NEED_MORE = {"ReadCropd", "OutlineCropd", "ClassifyRoisd", "RateNodulesd", "ReportNodulesd"}
"""Steps of the bundles that need a folder of crops, or a CT's outlines with the shipped networks."""


def modules() -> list[ModuleType]:
    """All modules of the package whose source has an example."""
    names = [
        info.name for info in pkgutil.walk_packages(monai_lung.__path__, "monai_lung.") if "bundles" not in info.name
    ]
    found = []
    for name in names:
        spec = importlib.util.find_spec(name)
        source = spec.loader.get_source(name) if spec and hasattr(spec.loader, "get_source") else ""
        if ">>> " in (source or ""):
            found.append(importlib.import_module(name))
    return found


def steps() -> Iterator[type]:
    """The transforms and inferers that the bundles' configs are built from."""
    for info in pkgutil.iter_modules(monai_lung.bundle.__path__, "monai_lung.bundle."):
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            own = inspect.isclass(value) and value.__module__ == info.name and not name.startswith("_")
            if own and issubclass(value, Transform | Inferer):
                yield value


def exported() -> list[Any]:
    """Whatever a user is offered."""
    own = [getattr(monai_lung, name) for name in monai_lung.__all__ if name != "__version__"]
    return [*own, *(getattr(monai_lung.transforms, name) for name in monai_lung.transforms.__all__), *steps()]


def test_each_public_function_and_transform_has_an_example() -> None:
    offered = exported()
    assert len(offered) > 30
    lacking = {thing.__name__ for thing in offered if ">>> " not in (thing.__doc__ or "")}
    assert lacking == NEED_MORE


EXAMPLES = [
    test for module in modules() for test in doctest.DocTestFinder(exclude_empty=True).find(module) if test.examples
]


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(test, marks=pytest.mark.slow if test.name.rpartition(".")[2] in WITH_NETWORKS else ())
        for test in EXAMPLES
    ],
    ids=lambda test: test.name.removeprefix("monai_lung."),
)
def test_an_example_holds(example: doctest.DocTest) -> None:
    lines: list[str] = []
    result = doctest.DocTestRunner().run(example, out=lines.append)
    assert result.failed == 0, "".join(lines)
