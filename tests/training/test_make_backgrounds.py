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
    assert "make_backgrounds CT_FOLDER OUT" in call("one").stderr


@pytest.mark.slow
def test_scans_hard_places_and_own_voxels(data_dir: Path, tmp_path: Path) -> None:
    plain, mined, own, rest = (tmp_path / name for name in ("plain", "mined", "own", "rest"))
    rest.mkdir()
    assert call(data_dir / "ct", plain).returncode == 0
    scans = {b.name: b for b in read_backgrounds(plain)}
    assert set(scans) == {"LIDC-IDRI-0001", "LIDC-IDRI-0003", "LungDx-A0001-L", "LungDx-A0001-B"}
    for scan in scans.values():
        np.testing.assert_allclose(scan.spacing_mm, (1, 1, 2))
        assert scan.known.any()
        assert not scan.known.all()
        assert (scan.depth_mm > 5).sum() > 100_000
        assert not len(scan.hard)
    for name in list(scans):
        if name != "LIDC-IDRI-0001":
            (plain / f"{name}.npz").rename(rest / f"{name}.npz")
    end = call("--mine", bundle_dir("lung_nodule_segmentation") / "models" / "find.pt", plain, mined)
    assert end.returncode == 0, end.stderr
    (hard,) = read_backgrounds(mined)
    at = hard.hard.T
    assert len(hard.hard) > 3
    assert not hard.known[tuple(at)].any(), "a marked nodule is no hard place"
    assert (hard.hu[tuple(at)] > -600).mean() > 0.5
    end = call("--own-voxels", mined, data_dir / "ct", own)
    assert end.returncode == 1, "three scans weren't mined"
    assert "lacks LIDC-IDRI-0003, LungDx-A0001-B, LungDx-A0001-L" in end.stderr.splitlines()[-1]
    assert not own.exists()
    for file in rest.iterdir():
        file.rename(mined / file.name)
    end = call("--own-voxels", mined, data_dir / "ct", own)
    assert end.returncode == 0, end.stderr
    sharp = {b.name: b for b in read_backgrounds(own)}
    assert sharp.keys() == scans.keys()
    assert sharp["LIDC-IDRI-0001"].spacing_mm[0] < 1
    assert 3 < len(sharp["LIDC-IDRI-0001"].hard) <= len(hard.hard)
