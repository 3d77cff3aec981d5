from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from monai_lung.bundle.segmentation_scores import Overlap
from monai_lung.metrics import figures
from research.study import __main__ as command
from research.study import judged, page, tables
from research.study.store import Predictions, Study

OVERLAPS = [f.name for f in fields(Overlap)]


def test_the_page_has_a_row_for_each_network_and_says_what_was_not_run(
    run_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "SAMPLES", 20)
    monkeypatch.setattr(figures, "FEWEST", 2)
    text = page.write(run_study, tmp_path).read_text()
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("|")}
    assert f"| 2 | 4 | 2 | {len(run_study.crops)} / 8 |" in rows["3D U-Net, Dice only"]
    assert tables.NOT_RUN in rows["V-Net"]
    assert "0.81" in rows["paper (other protocol)"]
    assert "0 of" not in rows["readers: two readers"]
    assert {p.name for p in (tmp_path / "images").glob("*.png")} == {
        f"study-{n}.png" for n in ("loss", "overlays", "dice", "roc", "confusion")
    }
    assert rows["as above: cross-entropy and Dice"].endswith("| - |")
    assert rows["no residual units, BCE then Dice"].split(" | ")[2] == "0"
    assert re.fullmatch(
        r"-?0\.\d{3} \(-?0\.\d{3}--?0\.\d{3}\) \|", rows["no residual units, BCE then Dice"].split(" | ")[-1]
    )
    assert "{" not in text
    assert "| nan" not in text


def test_a_difference_is_of_pairs_on_the_folds_that_both_have(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "FEWEST", 2)

    def of(shift: float) -> judged.Segmented:
        folds = {f: Predictions([c.row.id for c in study.split(f)[1]], {}) for f in range(2)}
        nodules = [
            (c, Overlap(**dict.fromkeys(OVERLAPS, 0.1 * (study.fold_of(c) + 1) + shift * (study.fold_of(c) + 1))))
            for c in study.crops
        ]
        return judged.Segmented(nodules, folds)

    first, second = of(0.0), of(0.05)
    assert second.gain("dice", first)["value"] == pytest.approx(
        0.05 * (len(study.split(0)[1]) + 2 * len(study.split(1)[1])) / len(study.crops), abs=1e-4
    )
    one = second.on([1])
    assert {c.row.id for c, _ in one.nodules} == {c.row.id for c in study.split(1)[1]}
    assert one.gain("dice", first) == {"value": 0.1, "low": 0.1, "high": 0.1} | {
        k: one.gain("dice", first)[k] for k in ("n", "patients")
    }
    assert one.gain("dice", first)["n"] == len(study.split(1)[1])


def test_a_page_without_any_ablation_says_so(study: Study) -> None:
    assert tables.ablation(study).count(tables.NOT_RUN) == len(tables.ablation(study).splitlines()) - 2


def test_readers_who_agree_have_a_dice_of_one(study: Study) -> None:
    crop = study.crops[0]
    one = (crop.readers & 1) * np.uint8(0b111)
    assert set(judged.readers_overlap(replace(crop, readers=one)).values()) == {1.0}
    assert all(0.5 < v < 1 for v in judged.readers_overlap(crop).values())


def test_probabilities_are_calibrated_on_the_other_folds() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    labels = rng.random(400) < 1 / (1 + np.exp(-2 * x))
    folds = np.repeat([0, 1], 200)
    probability = judged.calibrated(10 * x, labels, folds, [""] * 400)
    assert np.abs(probability - 1 / (1 + np.exp(-2 * x))).mean() < 0.05
    turned = np.where(folds == 0, ~labels, labels)
    np.testing.assert_array_equal(judged.calibrated(10 * x, turned, folds, [""] * 400)[:200], probability[:200])


def test_the_diameter_gains_nothing_over_itself(run_study: Study) -> None:
    result = judged.judged(run_study, "diameter", "median", "readers")
    assert result is not None
    assert result.figures["gain"]["value"] == 0
    assert result.figures["AUC"]["n"] == sum(c.row.ratings["malignancy"] != (1, 3, 5) for c in run_study.crops)


def test_the_command_names_what_is_wrong(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert command.main(["--data", str(tmp_path), "--out", str(tmp_path), "--only", "segmentation"]) in (1, 2)
    assert "nodules.csv" in caplog.text
    with pytest.raises(SystemExit):
        command.main(["--data", str(tmp_path), "--budget", "endless"])


def test_the_command_runs_the_sections_that_are_wanted(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []
    runs = {name: lambda study, docs, name=name: called.append((name, study.budget.name)) for name in command.SECTIONS}
    monkeypatch.setattr(command, "RUNS", runs)
    given = ["--data", str(study.data), "--budget", "full", "--device", "cpu", "--only", "page", "protocol"]
    assert command.main(given) == 0
    assert called == [("protocol", "full"), ("page", "full")]


@pytest.mark.parametrize(
    ("value", "low", "high", "goal", "least", "why"),
    [
        (0.9, 0.8, 0.95, 0.85, False, "reached; not beyond chance"),
        (0.9, 0.86, 0.95, 0.85, False, "reached"),
        (0.8, 0.7, 0.9, 0.85, False, "tried"),
        (0.03, 0.02, 0.06, 0.04, True, "reached; not beyond chance"),
        (0.03, 0.02, 0.035, 0.04, True, "reached"),
        (0.05, 0.02, 0.06, 0.04, True, "tried"),
        (0.03, None, None, 0.04, True, "reached; not beyond chance"),
    ],
)
def test_a_goal_is_reached_where_the_whole_interval_is(
    value: float, low: float | None, high: float | None, goal: float, least: bool, why: str
) -> None:
    cell = {"value": value, "low": low, "high": high, "n": 7, "patients": 6}
    assert page._beside(cell, "x", goal, "tried", least=least)[1:] == ["7 / 6", "x", why]
