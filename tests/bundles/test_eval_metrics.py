"""The figures of a bundle's metadata are those of an evaluation of its own weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from monai_lung.bundle.eval_metrics import FIGURES, record
from monai_lung.errors import MonaiLungError

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"


@pytest.fixture(params=sorted(FIGURES))
def evaluated(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """A bundle's configs, and the metrics.json of an evaluation of it."""
    bundle = tmp_path / f"lung_nodule_{request.param}"
    shutil.copytree(BUNDLES / bundle.name / "configs", bundle / "configs")
    weights = json.loads((bundle / "configs" / "metadata.json").read_text())["weights_sha256"]
    figures: dict = {}
    for n, (name, group) in enumerate(FIGURES[request.param]):
        figures.setdefault(name, {})[group] = {"value": 0.5 + n / 16, "low": 0.1, "high": 0.9, "n": 7, "patients": 5}
    content = {"task": request.param, "weights": {"model.pt": weights["model.pt"]}, "figures": figures}
    metrics = tmp_path / "metrics.json"
    metrics.write_text(json.dumps(content))
    return metrics, bundle


def test_the_figures_go_into_the_metadata_and_nothing_else_changes(evaluated: tuple[Path, Path]) -> None:
    metrics, bundle = evaluated
    before = json.loads((bundle / "configs" / "metadata.json").read_text())
    record(metrics, bundle)
    after = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert list(after["eval_metrics"].values()) == [0.5 + n / 16 for n in range(len(after["eval_metrics"]))]
    assert list(after["eval_metrics"]) == list(before["eval_metrics"]), "the bundle that ships names the same"
    assert {**after, "eval_metrics": 0} == {**before, "eval_metrics": 0}


def test_what_is_stored_is_written_as_the_file_stands(evaluated: tuple[Path, Path]) -> None:
    """A generated file doesn't differ from the one before in its layout."""
    metrics, bundle = evaluated
    text = (bundle / "configs" / "metadata.json").read_text()
    content = json.loads(metrics.read_text())
    old = json.loads(text)["eval_metrics"]
    for name, group in FIGURES[content["task"]]:
        content["figures"][name][group]["value"] = old[f"{name}, {group}"]
    metrics.write_text(json.dumps(content))
    record(metrics, bundle)
    assert (bundle / "configs" / "metadata.json").read_text() == text


def test_the_model_card_gets_the_same_figures(evaluated: tuple[Path, Path]) -> None:
    metrics, bundle = evaluated
    card = bundle / "docs" / "README.md"
    card.parent.mkdir()
    shutil.copy(BUNDLES / bundle.name / "docs" / "README.md", card)
    before, _, rest = card.read_text().partition("<!-- table: metrics.json -->")
    record(metrics, bundle)
    _, group = FIGURES[json.loads(metrics.read_text())["task"]][0]
    now = card.read_text()
    assert now.startswith(before)
    assert now.endswith(rest.partition("<!-- /table -->")[2])
    (row,) = [line for line in now.splitlines() if line.startswith(f"| {group} | 0.500")]
    assert "0.500 (0.100-0.900)" in row
    assert row.endswith("| 7 | 5 |")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": {"model.pt": "0" * 64}}, "of other weights"),
        ({"weights": {}}, "of other weights"),
        ({"figures": {}}, "no figure"),
        ({"task": "cooking"}, "no figure"),
    ],
)
def test_other_weights_and_missing_figures_are_refused(
    change: dict, message: str, evaluated: tuple[Path, Path]
) -> None:
    metrics, bundle = evaluated
    text = (bundle / "configs" / "metadata.json").read_text()
    metrics.write_text(json.dumps({**json.loads(metrics.read_text()), **change}))
    with pytest.raises(MonaiLungError, match=message):
        record(metrics, bundle)
    assert (bundle / "configs" / "metadata.json").read_text() == text


@pytest.mark.parametrize("content", ["", "[1]", None])
def test_a_damaged_file_is_refused(content: str | None, evaluated: tuple[Path, Path]) -> None:
    metrics, bundle = evaluated
    metrics.unlink() if content is None else metrics.write_text(content)
    with pytest.raises(MonaiLungError, match="can't be read"):
        record(metrics, bundle)
