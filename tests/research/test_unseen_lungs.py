"""The page on findings in lungs left out, and the operating points, from kept predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from monai_lung.definitions import read_config
from monai_lung.errors import InputError
from monai_lung.metrics.froc import COLUMNS, read_predictions, write_predictions
from monai_lung.weights import bundle_dir
from research.detection import BEFORE, FALSE_A_SCAN, KEPT, SHIPS, calibration, draw

DOCS = Path(__file__).resolve().parents[2] / "docs"


def rows(scans: int = 4) -> list[dict[str, object]]:
    rng = np.random.default_rng(0)
    made: list[dict[str, object]] = []
    for scan in range(scans):
        for n in range(20):
            made.append(row(scan, f"n{n} 6.0", rng.normal(2, 1), found=n > 1, texture="solid"))
        made.append(row(scan, "lesion 1 2 3", 3.0, diameter_mm=31.0))
        made += [row(scan, "", rng.normal(-2, 1.5)) for _ in range(30)]
    return made


def row(scan: int, nodule: str, score: float, **more: object) -> dict[str, object]:
    plain = {"patient": f"p{nodule}", "diameter_mm": 6.0, "texture": "", "found": True}
    return {"scan": f"s{scan}", "nodule": nodule, "score": score} | plain | more


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    (tmp_path / "study").mkdir()
    write_predictions(rows(), tmp_path / KEPT)
    return tmp_path


def test_no_more_false_findings_pass_than_a_sensitivity_allows(docs: Path) -> None:
    table = read_predictions(docs / KEPT)
    slope, offset, points = calibration(table)
    false = table[(table["nodule"] == "")]["score"].to_numpy()
    for name, rate in FALSE_A_SCAN.items():
        passed = (expit(slope * false + offset) >= points[name]).sum()
        assert rate * 4 - 1 <= passed <= rate * 4, name
    assert points["high"] <= points["standard"] <= points["low"]


def test_the_page_counts_what_the_table_holds(docs: Path) -> None:
    draw(docs)
    text = (docs / "detection.md").read_text()
    assert "4 whole CTs of 4 patients" in text
    assert "\ns0, s1, s2, s3.\n" in text
    assert "| all | 80 |" in text
    assert "| 5-7 mm | 80 |" in text
    assert "| low |" in text
    assert "4 of 4 |" in text, "every lesion passes"
    assert text.count("| s2 | 31 |") == 1
    assert "version 0.1" not in text


def test_an_earlier_network_stands_beside_where_its_predictions_are_kept(docs: Path) -> None:
    worse = [r | {"score": -float(str(r["score"]))} for r in rows()]
    write_predictions(worse, docs / BEFORE)
    draw(docs)
    (now,), (before,) = (
        [line for line in (docs / "detection.md").read_text().splitlines() if line.startswith(f"| {name} |")]
        for name in ("the judged network", "version 0.1")
    )
    assert float(now.split("|")[-2]) == pytest.approx(1 - float(before.split("|")[-2]), abs=2e-3)


def test_a_folder_without_predictions_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"can't draw detection\.md"):
        draw(tmp_path)


def test_the_columns_are_those_of_the_curve() -> None:
    assert set(pd.DataFrame(rows()).columns) == set(COLUMNS)


@pytest.mark.skipif(not (DOCS / KEPT).is_file(), reason="no predictions are kept yet")
def test_what_ships_is_what_the_kept_predictions_give(tmp_path: Path) -> None:
    """Page, calibration and operating points come from the predictions, not from a hand."""
    slope, offset, points = calibration(read_predictions(DOCS / KEPT))
    settings = read_config(bundle_dir("lung_nodule_classification"))["rate_settings"]
    assert (settings["nodule_slope"], settings["nodule_offset"]) == (slope, offset)
    assert settings["operating_points"] == points
    assert settings["min_nodule"] == points["standard"]
    (tmp_path / "study").mkdir()
    for name in (KEPT, BEFORE, SHIPS):
        (tmp_path / name).write_bytes((DOCS / name).read_bytes())
    draw(tmp_path)
    assert (tmp_path / "detection.md").read_text() == (DOCS / "detection.md").read_text()
