"""One implementation, several doors: a real CT gives the same voxels and numbers through each."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bundles"))

from monai_lung.cli import cli
from monai_lung.labels import label_map
from monai_lung.model import Report
from monai_lung.pipeline import Options, analyze, write
from monai_lung.weights import bundle_dir

pytestmark = pytest.mark.slow
_OF_A_RUN = ("timing_s", "created")


@pytest.fixture(scope="module")
def scan(data_dir: Path) -> Path:
    path = data_dir / "lungs" / "QIN-LSC-0055"
    if not path.is_dir():
        pytest.skip(f"no {path}")
    return path


@pytest.fixture(scope="module")
def report(scan: Path) -> Report:
    return analyze(scan, Options("cpu"))


@pytest.fixture(scope="module")
def own(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(report, tmp_path_factory.mktemp("own"), ("json", "nifti"))


def labels(folder: Path, name: str) -> np.ndarray:
    return np.asarray(nibabel.load(folder / f"{name}.nii.gz").dataobj)


def findings(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "findings.json").read_text())
    return {key: value for key, value in content.items() if key not in _OF_A_RUN}


def assert_same(folder: Path, own: Path) -> None:
    for name in ("lungs", "nodules"):
        np.testing.assert_array_equal(labels(folder, name), labels(own, name))
    assert findings(folder) == findings(own)


def test_the_command(scan: Path, own: Path, tmp_path: Path) -> None:
    words = ["analyze", str(scan), "-o", str(tmp_path), "--format", "json,nifti", "--device", "cpu"]
    end = CliRunner().invoke(cli, words)
    assert end.exit_code == 0, end.output
    assert_same(tmp_path / own.name, own)


def test_the_bundle_of_the_whole_way(scan: Path, own: Path, tmp_path: Path) -> None:
    from bundle_runs import run

    options = {"dataset_dir": str(scan), "output_dir": str(tmp_path), "device": "cpu", "formats": "json,nifti"}
    run(bundle_dir("lung_nodule_analysis"), "inference.json", **options)
    assert_same(tmp_path / own.name, own)


def test_the_two_bundles_one_after_the_other(scan: Path, report: Report, own: Path, tmp_path: Path) -> None:
    from bundle_runs import run

    paths = {"dataset_dir": str(scan), "output_dir": str(tmp_path), "device": "cpu"}
    run(bundle_dir("lung_nodule_segmentation"), "inference.json", **paths)
    found = labels(tmp_path / own.name, "nodules")
    kept = label_map([nodule.outline for nodule in report.nodules], report.ct.hu.shape)
    numbers = {int(k): found[kept == k] for k in np.unique(kept[kept > 0])}
    assert all(len(np.unique(voxels)) == 1 and voxels[0] > 0 for voxels in numbers.values())
    run(bundle_dir("lung_nodule_classification"), "inference.json", mask_dir=str(tmp_path), **paths)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rated = {int(row["nodule"]): row for row in csv.DictReader(file)}
    for nodule in report.nodules:
        row = rated[int(numbers[nodule.id][0])]
        low, high = nodule.rating.malignancy_interval
        expected = (nodule.rating.malignancy_probability, low, high)
        said = [float(row[name]) for name in ("malignancy_probability", "low", "high")]
        assert said == pytest.approx(expected, abs=1e-5)
