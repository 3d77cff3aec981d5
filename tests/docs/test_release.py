"""The version is one: in the package, the citation, the bundles, the changelog and the release notes."""

from __future__ import annotations

import json
import re

import pytest
from pages import ROOT

from monai_lung.version import __version__

BUNDLES = sorted((ROOT / "bundles").glob("*/configs/metadata.json"))


def test_citation_and_changelog_name_the_version() -> None:
    assert f"version: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    sections = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sections[sections[0] == "Unreleased"] == __version__


def test_the_release_notes_are_of_this_version() -> None:
    notes = (ROOT / "docs" / "release-notes.md").read_text(encoding="utf-8")
    assert notes.startswith(f"# Release notes of {__version__}\n")


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.parents[1].name)
def test_a_bundle_has_the_version_and_says_what_changed(path) -> None:
    metadata = json.loads(path.read_text(encoding="utf-8"))
    assert metadata["version"] == __version__
    assert metadata["changelog"][__version__]
    assert metadata["required_packages_version"]["monai-lung"] == __version__


def test_the_deploy_application_has_the_version() -> None:
    config = (ROOT / "tools" / "monai_deploy" / "app" / "app.yaml").read_text(encoding="utf-8")
    assert f"\n  version: {__version__}\n" in config
    page = (ROOT / "docs" / "how-to" / "monai-deploy.md").read_text(encoding="utf-8")
    assert re.findall(r"--tag monai-lung:(\S+)", page) == [__version__]
