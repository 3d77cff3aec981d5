from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monai_lung.metrics.froc import COLUMNS, RATES, froc, read_predictions, threshold_at, write_predictions


def table(*rows: tuple[str, str, bool, float]) -> pd.DataFrame:
    return pd.DataFrame(
        [(scan, nodule, "p", 8.0, "solid", found, score) for scan, nodule, found, score in rows], columns=list(COLUMNS)
    )


def test_sensitivity_at_each_rate_by_hand() -> None:
    rows = table(
        ("a", "n1", True, 0.9), ("a", "n2", True, 0.4), ("a", "", True, 0.5), ("a", "", True, 0.3),
        ("b", "n3", True, 0.6), ("b", "n4", False, 0.99), ("b", "", True, 0.7), ("b", "", True, 0.1),
    )  # fmt: skip
    result = froc(rows)
    assert RATES == (0.125, 0.25, 0.5, 1, 2, 4, 8)
    # false: 0.7 0.5 0.3 0.1 of two scans; at 1/2 one false is allowed, so the threshold is 0.5
    np.testing.assert_allclose(result.sensitivity, [0.25, 0.25, 0.5, 0.75, 0.75, 0.75, 0.75])
    assert result.cpm == pytest.approx(result.sensitivity.mean())
    assert (result.nodules, result.scans) == (4, 2)
    assert (result.interval[:, 0] <= result.sensitivity).all()
    assert (result.interval[:, 1] >= result.sensitivity).all()


def test_what_was_not_found_is_missed_at_every_rate() -> None:
    assert froc(table(("a", "n1", False, 1.0), ("a", "n2", True, 1.0))).sensitivity.tolist() == [0.5] * 7


def test_a_scan_without_false_findings_counts_as_a_scan() -> None:
    alone = froc(table(("a", "n1", True, 0.5), ("a", "", True, 0.6)))
    two = froc(table(("a", "n1", True, 0.5), ("a", "", True, 0.6), ("b", "n2", True, 0.5)))
    assert alone.sensitivity[2] == 0
    assert two.sensitivity[2] == 1, "one false finding in two scans is half a one a scan"


def test_without_a_nodule_there_is_no_curve() -> None:
    with pytest.raises(ValueError, match="no scan with a nodule"):
        froc(table(("a", "", True, 0.5)))


def test_the_threshold_allows_just_as_many() -> None:
    false = np.array([0.9, 0.8, 0.7, 0.6])
    for rate in (0.25, 0.5, 1.0):
        assert (false > threshold_at(false, 4, rate)).sum() == rate * 4
    assert threshold_at(false, 4, 2.0) == -np.inf


def test_a_kept_table_is_the_same_bytes_and_rows(tmp_path: Path) -> None:
    rows = table(("a", "n1", True, 0.91234), ("a", "", True, 0.5)).to_dict("records")
    for name in ("one", "two"):
        write_predictions(rows, tmp_path / f"{name}.csv.gz")
    assert (tmp_path / "one.csv.gz").read_bytes() == (tmp_path / "two.csv.gz").read_bytes()
    read = read_predictions(tmp_path / "one.csv.gz")
    assert list(read.columns) == list(COLUMNS)
    assert read["nodule"].tolist() == ["n1", ""]
    assert froc(read).nodules == 1


def test_without_pandas_the_calibration_says_so() -> None:
    words = ["calibrate", "nodules", "a", "b.pt", "c", "scan", "--crops", "d"]
    code = f"import sys; sys.modules['pandas'] = None; from monai_lung.cli import run; sys.exit(run({words}))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("monai-lung: error: the calibration needs pandas (")
    assert ended.stderr.endswith('pip install "monai-lung[dicom]"\n')
