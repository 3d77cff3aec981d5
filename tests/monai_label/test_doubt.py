from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lib.analyses import Analyses
from lib.doubt import doubt, ranked

scans = st.dictionaries(
    st.text("abc", min_size=1, max_size=3), st.none() | st.lists(st.floats(0, 1), max_size=4), max_size=6
)


@pytest.mark.parametrize(
    ("probabilities", "expected"), [((), 0), ((1.0, 0.0), 0), ((0.5,), 0.5), ((0.9, 0.2), 0.3), ((0.5, 0.5, 0.5), 1.5)]
)
def test_doubt_counts_the_expected_errors(probabilities: tuple[float, ...], expected: float) -> None:
    assert doubt(probabilities) == pytest.approx(expected)


def test_the_most_doubtful_scan_comes_first_and_the_unknown_last() -> None:
    order = ranked({"sure": [0.99, 0.98], "a new one": None, "doubtful": [0.5], "many": [0.7, 0.6], "empty": []})
    assert [name for name, _ in order] == ["many", "doubtful", "sure", "empty", "a new one"]
    assert order[0][1] == pytest.approx(0.7)


def test_a_scan_that_was_handed_out_waits_behind_the_others() -> None:
    probabilities = {"doubtful": [0.5], "less": [0.8], "sure": [0.99]}
    assert ranked(probabilities, {"doubtful": 1700000000})[0][0] == "less"
    assert ranked(probabilities, {"doubtful": 20, "less": 10, "sure": 30})[0][0] == "less"


@given(scans)
def test_the_order_depends_on_content_alone(probabilities: dict[str, list[float] | None]) -> None:
    backwards = dict(reversed(probabilities.items()))
    assert ranked(probabilities) == ranked(backwards)
    known = [value for name, value in ranked(probabilities) if probabilities[name] is not None]
    assert known == sorted(known, reverse=True)


def test_analyses_are_kept_until_the_weights_change(tmp_path: Path) -> None:
    analyses = Analyses(tmp_path / "analyses")
    weights = {"find": "1", "delineate": "2", "rate": "3"}
    analyses.write("../b", {"weights": weights, "nodules": [{"nodule_probability": 0.25}]})
    analyses.write("a", {"weights": weights, "error": "no lungs"})
    assert analyses.probabilities("../b") == [0.25]
    assert analyses.probabilities("a") is None
    assert analyses.waiting(["c", "a", "../b"], weights) == ["c"]
    assert analyses.waiting(["c", "a", "../b"], {**weights, "delineate": "4"}) == ["../b", "a", "c"]
    files = list((tmp_path / "analyses").iterdir())
    assert len(files) == 2
    assert {json.loads(f.read_text())["scan"] for f in files} == {"a", "../b"}
    files[0].write_text("{")
    assert len(analyses.waiting(["a", "../b"], weights)) == 1


def test_label_maps_are_kept_with_the_findings_of_this_very_image(tmp_path: Path) -> None:
    analyses = Analyses(tmp_path / "analyses")
    weights, content = {"find": "1"}, {"weights": {"find": "1"}, "nodules": [], "input": {"sha256": "x"}}
    labels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    assert analyses.kept("a", weights, "x") is None
    analyses.write("a", content, labels, affine)
    path, findings = analyses.kept("a", weights, "x")
    assert findings == content
    image = nibabel.load(path)
    np.testing.assert_array_equal(image.dataobj, labels)
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ image.affine, affine)
    assert analyses.kept("a", {"find": "2"}, "x") is None, "other weights"
    assert analyses.kept("a", weights, "y") is None, "another image under this name"
    path.unlink()
    assert analyses.kept("a", weights, "x") is None
    analyses.write("b", {"error": "no lungs", "weights": weights})
    assert analyses.kept("b", weights, "x") is None
