"""Figures of an evaluation and their intervals."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from monai_lung.errors import ConfigError
from monai_lung.metrics.figures import (
    auc_of,
    ece_by_chance,
    ece_of,
    figure,
    markdown_table,
    mean_of,
    update_card,
    write_metrics,
)


def test_auc_equals_the_share_of_ordered_pairs_also_with_weights():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, 40).astype(float)
    positive = rng.random(40) < 0.4
    weights = rng.integers(0, 4, 40).astype(float)
    pairs = [
        (w * v, 1.0 if a > b else 0.5 if a == b else 0.0)
        for a, p, w in zip(scores, positive, weights, strict=True)
        for b, q, v in zip(scores, positive, weights, strict=True)
        if p and not q
    ]
    expected = sum(w * s for w, s in pairs) / sum(w for w, _ in pairs)
    assert auc_of(scores, positive)(weights) == pytest.approx(expected)
    assert np.isnan(auc_of(scores, np.ones(40, bool))(weights))


def test_calibration_error_of_known_bins():
    probability = np.array([0.05, 0.05, 0.95, 1.0])
    positive = np.array([False, True, True, True])
    # first bin: says 0.05, is 0.5, half of all; last bin: says 0.975, is 1
    assert ece_of(probability, positive)(np.ones(4)) == pytest.approx((2 * 0.45 + 2 * 0.025) / 4)


def test_few_nodules_leave_a_calibration_error_by_chance():
    few, many = (ece_by_chance(np.full(n, 0.5), ["a"] * n) for n in (25, 2500))
    # one bin: the mean distance of a share of heads from a half, sqrt(1 / (2 pi n))
    assert few["value"] == pytest.approx((1 / (2 * np.pi * 25)) ** 0.5, rel=0.1)
    assert many["value"] == pytest.approx((1 / (2 * np.pi * 2500)) ** 0.5, rel=0.1)
    assert (few["n"], few["patients"]) == (25, 1)
    assert few["low"] < few["value"] < few["high"] < 0.3
    assert ece_by_chance(np.array([0.0, 1.0]), ["a", "b"])["value"] == 0


def test_patients_not_nodules_are_drawn():
    # one patient holds nearly all nodules: its weight makes the interval wide, however many nodules it has
    values = np.array([1.0] * 100 + [0.0] * 4)
    together = figure(mean_of(values), ["a"] * 100 + ["b", "c", "d", "e"])
    apart = figure(mean_of(values), [str(n) for n in range(104)])
    assert together["low"] == 0.0
    assert together["high"] > 0.99
    assert apart["low"] > 0.9
    assert (together["n"], together["patients"]) == (104, 5)
    assert figure(mean_of(values), ["a"] * 100 + ["b", "c", "d", "e"]) == together


def test_of_too_few_patients_there_is_no_interval():
    found = figure(mean_of(np.array([1.0, 0.0, 1.0, 1.0])), ["a", "b", "c", "d"])
    assert found == {"value": 0.75, "low": None, "high": None, "n": 4, "patients": 4}


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    patients = [str(n) for n in range(60)]
    covered = 0
    for seed in range(60):
        found = figure(mean_of(rng.normal(0.3, 1, 60)), patients, seed=seed)
        covered += found["low"] <= 0.3 <= found["high"]
    assert 52 <= covered <= 60


def test_the_card_s_table_comes_from_the_file(tmp_path):
    cell = {"value": 0.87654, "low": 0.8, "high": 0.9, "n": 7, "patients": 5}
    few = {"value": None, "low": None, "high": None, "n": 2, "patients": 1}
    write_metrics(
        tmp_path / "metrics.json", {"figures": {"dice": {"all": cell, "> 10 mm": few}, "recall": {"all": cell}}}
    )
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["schema"] == "monai-lung/metrics/1"
    lines = markdown_table(metrics).splitlines()
    assert lines[0] == "| | dice | recall | nodules | patients |"
    assert lines[2] == "| all | 0.877 (0.800-0.900) | 0.877 (0.800-0.900) | 7 | 5 |"
    assert lines[3] == "| > 10 mm | - | - | 2 | 1 |"
    card = tmp_path / "README.md"
    card.write_text("before\n<!-- table: metrics.json -->\nold\n<!-- /table -->\nafter\n")
    for _ in range(2):
        assert update_card(card, tmp_path / "metrics.json")
        assert card.read_text() == (
            "before\n<!-- table: metrics.json -->\n" + markdown_table(metrics) + "<!-- /table -->\nafter\n"
        )
    card.write_text("no marks")
    assert not update_card(card, tmp_path / "metrics.json")
    assert card.read_text() == "no marks"
    with pytest.raises(ConfigError, match="no metrics"):
        update_card(card, tmp_path / "none.json")


@pytest.mark.parametrize("name", ["segmentation", "classification"])
def test_the_cards_have_a_place_for_the_table(name):
    card = Path(__file__).resolve().parents[2] / "bundles" / f"lung_nodule_{name}" / "docs" / "README.md"
    assert re.search(r"<!-- table: metrics.json -->.*<!-- /table -->", card.read_text(), re.DOTALL)
