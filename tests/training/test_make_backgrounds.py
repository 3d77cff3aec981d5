"""`tools/make_backgrounds` on the real scans, as the shipped weights' training had them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from monai_lung.data.backgrounds import read_backgrounds
from monai_lung.weights import bundle_dir

TOOL = Path(__file__).resolve().parents[2] / "tools" / "make_backgrounds"


def call(*words: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(TOOL), *map(str, words)], capture_output=True, text=True, check=False)


def test_wrong_use_is_one_line_or_the_usage(tmp_path: Path) -> None:
    end = call(tmp_path / "gone", tmp_path / "out")
    assert end.returncode == 1
    assert end.stderr.startswith("error: ")
    assert len(end.stderr.splitlines()) == 1
    assert "make_backgrounds DATA OUT" in call("one").stderr


@pytest.mark.slow
def test_scans_and_their_hard_places(data_dir: Path, tmp_path: Path) -> None:
    plain, few, mined = (tmp_path / name for name in ("plain", "few", "mined"))
    end = call(data_dir, plain)
    assert end.returncode == 0, end.stderr
    scans = {b.name: b for b in read_backgrounds(plain)}
    assert {"LIDC-IDRI-0001", "LIDC-IDRI-0003", "LungDx-A0001-L", "LungDx-A0001-B", "LIDC-IDRI-0314"} <= set(scans)
    assert len(scans) == 14
    for scan in scans.values():
        assert scan.known.any()
        assert not scan.known.all()
        assert (scan.depth_mm > 5).sum() > 100_000
        assert not len(scan.hard_mm)
    few.mkdir()
    (plain / "LIDC-IDRI-0001.npz").rename(few / "LIDC-IDRI-0001.npz")
    end = call("--mine", bundle_dir("lung_nodule_segmentation") / "models" / "find.pt", few, mined)
    assert end.returncode == 0, end.stderr
    (hard,) = read_backgrounds(mined)
    at = np.rint(hard.grid.to_index(hard.hard_mm)).astype(int).T
    assert len(hard.hard_mm) > 3
    assert not hard.known[tuple(at)].any(), "a marked nodule is not a hard place"
    assert (hard.hu[tuple(at)] > -600).mean() > 0.5
