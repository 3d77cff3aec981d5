"""`train backgrounds` and `train hard-negatives` on the real scans, as the shipped weights' training had them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monai_lung.cli import run
from monai_lung.data.backgrounds import read_backgrounds
from monai_lung.weights import bundle_dir


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "backgrounds", str(tmp_path / "gone"), str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("monai-lung: error: ")


@pytest.mark.slow
def test_scans_and_their_hard_places(data_dir: Path, tmp_path: Path) -> None:
    plain, few, mined = (tmp_path / name for name in ("plain", "few", "mined"))
    assert run(["train", "backgrounds", str(data_dir), str(plain)]) == 0
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
    weights = bundle_dir("lung_nodule_segmentation") / "models" / "find.pt"
    assert run(["train", "hard-negatives", str(weights), str(few), str(mined)]) == 0
    (hard,) = read_backgrounds(mined)
    at = np.rint(hard.grid.to_index(hard.hard_mm)).astype(int).T
    assert len(hard.hard_mm) > 3
    assert not hard.known[tuple(at)].any(), "a marked nodule is not a hard place"
    assert (hard.hu[tuple(at)] > -600).mean() > 0.5
