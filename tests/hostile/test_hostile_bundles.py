"""Every kind of broken bundle ends as it says, and nothing in it runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import kinds_bundles
import numpy as np
import pytest
from cage import Cage
from corpus import KINDS, Chest, Kind
from test_hostile import check

OWN = [kind for kind in KINDS if kind.make.__module__ == kinds_bundles.__name__]
SETUP = f"{kinds_bundles.__name__}:use_broken_bundles"


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles") / "now"


@pytest.fixture(scope="module")
def torch_cage(bundle_folder: Path) -> Iterator[Cage]:
    """Runs whole analyses with the bundles that lie in `bundle_folder`."""
    os.environ["HOSTILE_BUNDLES"] = str(bundle_folder)
    with Cage("monai_lung.cli", "monai_lung.pipeline", "monai_lung.inference", "monai_lung.report.findings") as one:
        yield one


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Air: networks are loaded before its lungs are looked for."""
    air = np.random.default_rng(0).normal(-1000, 10, (32, 32, 10)).astype(np.int16)
    return Chest(air).series().write(tmp_path_factory.mktemp("ct"))


@pytest.mark.parametrize("kind", OWN, ids=lambda kind: kind.name)
def test_broken_bundle(
    kind: Kind, chest: Chest, ct: Path, torch_cage: Cage, bundle_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    bundle_folder.unlink(missing_ok=True)
    bundle_folder.symlink_to(kind.make(chest, tmp_path / "in"))
    words = ["analyze", ct, "-o", tmp_path / "out", "--format", "json"]
    end = torch_cage.run(*words, folder=tmp_path, setup=SETUP)
    assert not Path(kinds_bundles.MARK).exists(), "code of the bundle ran"
    check(kind, end)
    assert not (tmp_path / "out").exists()


def test_the_page_of_kinds_is_current() -> None:
    import robustness_table

    page = Path(__file__).resolve().parents[2] / "docs" / "robustness.md"
    assert robustness_table.replaced(page.read_text(encoding="utf-8")) == page.read_text(encoding="utf-8")
