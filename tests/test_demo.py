"""The demo's CT: kept, checked, and replaced by the phantom with a word about it."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from monai_lung import demo

CONTENT = b"stands for the image"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Replaces pip: its download puts an archive with `CONTENT` into place. Returns the commands that ran."""
    ran: list[list[str]] = []

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess:
        ran.append(command)
        if "download" in command:
            folder = Path(command[command.index("--dest") + 1])
            folder.mkdir(parents=True)
            with tarfile.open(folder / "pyradiomics-3.0.1.tar.gz", "w:gz") as tar:
                info = tarfile.TarInfo(demo.MEMBER)
                info.size = len(CONTENT)
                tar.addfile(info, io.BytesIO(CONTENT))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    monkeypatch.setattr(demo, "SHA256", hashlib.sha256(CONTENT).hexdigest())
    return ran


@pytest.fixture
def small_phantom(monkeypatch: pytest.MonkeyPatch) -> None:
    from monai_lung import phantom

    made = phantom.make_phantom(phantom.PhantomSpec(size=32, pixel_mm=12, slices=10, spacing_mm=30))
    monkeypatch.setattr(phantom, "make_phantom", lambda: made)


def test_fetches_once_and_keeps_it(calls, tmp_path):
    path, what = demo.demo_ct(tmp_path / "cache")
    assert path.read_bytes() == CONTENT
    assert "real" in what
    count = len(calls)
    assert demo.demo_ct(tmp_path / "cache")[0] == path
    assert len(calls) == count
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["lung1_image.nrrd"]


def test_a_damaged_copy_is_fetched_again(calls, tmp_path):
    (tmp_path / "lung1_image.nrrd").write_bytes(CONTENT[:5])
    assert demo.demo_ct(tmp_path)[0].read_bytes() == CONTENT


def test_an_archive_with_another_image_is_refused(calls, tmp_path, monkeypatch, small_phantom):
    monkeypatch.setattr(demo, "SHA256", "0" * 64)
    path, what = demo.demo_ct(tmp_path)
    assert path == tmp_path / "phantom" / "dicom"
    assert "checksum differs" in what
    assert not (tmp_path / "lung1_image.nrrd").exists()


def test_without_a_network_the_phantom_takes_its_place(tmp_path, monkeypatch, small_phantom):
    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess:
        return subprocess.CompletedProcess(command, 1, "", "WARNING: no\nERROR: Could not find a version\n")

    monkeypatch.setattr(subprocess, "run", pip)
    result = CliRunner().invoke(demo.main, ["--cache", str(tmp_path)])
    assert result.exit_code == 0
    assert result.stdout.strip() == str(tmp_path / "phantom" / "dicom")
    assert "Could not find a version" in result.stderr
    assert "synthetic phantom" in result.stderr
    assert len(list((tmp_path / "phantom" / "dicom").iterdir())) == 10


def test_a_cache_that_cannot_be_written_is_one_line(calls, tmp_path):
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(demo.main, ["--cache", str(tmp_path / "file")])
    assert result.exit_code == 1
    assert "can't be written" in result.stderr
    assert "Traceback" not in result.output
