"""The MONAI Deploy application: a folder of DICOM in, the SEG and SR that the command line writes out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest

from monai_lung.io import find_cases
from monai_lung.pipeline import analyze

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "tools" / "monai_deploy" / "app"
REAL, LIMIT_S = "LIDC-IDRI-0001", 3600


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter of an environment with the SDK, as docs/how-to/monai-deploy.md makes it."""
    path = Path(os.environ.get("MONAI_LUNG_DEPLOY_VENV", ROOT / ".venv-monai-deploy")) / "bin" / "python"
    if not path.is_file():
        pytest.skip(f"no MONAI Deploy App SDK: {path} isn't there (docs/how-to/monai-deploy.md)")
    return path


def run(python: Path, given: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """The application as MONAI Deploy starts it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    call = [str(python), str(APP), "-i", str(given), "-o", str(out)]
    return subprocess.run(
        call, capture_output=True, text=True, timeout=LIMIT_S, env=environment, cwd=out.parent, check=False
    )


def test_a_real_study(python: Path, data_dir: Path, tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    unpack = [sys.executable, str(data_dir / "unpack_dicom.py"), str(studies), REAL]
    subprocess.run(unpack, check=True, capture_output=True)
    (case,) = find_cases(studies)
    done = run(python, studies, tmp_path / "out")
    assert done.returncode == 0, done.stderr[-3000:]
    folder = tmp_path / "out" / case.name
    report = analyze(case)
    seg = highdicom.seg.segread(folder / "seg.dcm")
    labels = [seg.get_segment_description(n).segment_label for n in seg.segment_numbers]
    assert len([label for label in labels if "odule" in label]) == len(report.nodules) > 0
    sr = highdicom.sr.srread(folder / "sr.dcm")
    groups = sr.content.get_volumetric_roi_measurement_groups()
    volumes = [float(group.get_measurements(name=pydicom.sr.codedict.codes.SCT.Volume)[0].value) for group in groups]
    np.testing.assert_allclose(volumes, [n.measurements.volume_mm3 for n in report.nodules], rtol=0.01)
    assert {str(seg.StudyInstanceUID), str(sr.StudyInstanceUID)} == {case.series.study_uid}


def renamed(data: pydicom.Dataset, study: str) -> None:
    """Another study's UIDs in place of `data`'s own, of legal length."""
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(data, name, pydicom.uid.generate_uid(entropy_srcs=[study, data[name].value]))


def test_a_study_that_fails_is_named_and_the_others_go_on(python: Path, phantom_dir: Path, tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    shutil.copytree(phantom_dir / "dicom", studies / "phantom")
    (studies / "empty").mkdir()
    for path in sorted((phantom_dir / "dicom").rglob("*.dcm")):
        data = pydicom.dcmread(path)
        renamed(data, "empty")
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.PixelData = b"\0" * len(data.PixelData)  # no air, no lungs
        data.save_as(studies / "empty" / path.name)
    other = pydicom.dcmread(next((phantom_dir / "dicom").rglob("*.dcm")))
    other.Modality, other.SOPClassUID = "MR", pydicom.uid.MRImageStorage
    renamed(other, "other")
    other.file_meta.MediaStorageSOPInstanceUID = other.SOPInstanceUID
    other.file_meta.MediaStorageSOPClassUID = other.SOPClassUID
    other.save_as(studies / "other.dcm")
    done = run(python, studies, tmp_path / "out")
    assert done.returncode == 1
    assert re.search("study . of 3: no CT in it that can be analysed", done.stderr + done.stdout)
    assert "holds nothing but the value" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert len(list((tmp_path / "out").glob("*/sr.dcm"))) == 1


def test_a_folder_without_a_ct(python: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "note.txt").write_text("nothing")
    done = run(python, tmp_path / "in", tmp_path / "out")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "holds no DICOM series" in done.stderr + done.stdout
    assert not (tmp_path / "out").exists()
