"""The figures in a bundle's metadata.json and model card: from the `metrics.json` of its evaluation, never typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from monai_lung.errors import ConfigError, WeightsError
from monai_lung.io.json_text import json_text
from monai_lung.io.output import replacing
from monai_lung.metrics.figures import update_card

FIGURES = {
    "segmentation": (("dice", "all"), ("dice", "> 10 mm")),
    "classification": (
        ("auc", "median label"),
        ("auc", "mean label"),
        ("accuracy", "median label"),
        ("ece", "median label"),
    ),
}
"""Which figures a bundle names, by the task of its evaluation: figure and group of nodules."""


def record(metrics: Path, bundle: Path) -> dict[str, float]:
    """Put the figures of an evaluation into `bundle/configs/metadata.json` as `eval_metrics`.

    The table of its model card follows where the card has marks for it.

    Args:
        metrics: the `metrics.json` that `evaluate.json` wrote.
        bundle: the bundle that was evaluated.

    Returns:
        What was written into the metadata.

    Raises:
        ConfigError: a file is missing or damaged, or a figure isn't there.
        WeightsError: the evaluation was of other weights than the bundle's.
    """
    content, place = _read(metrics), bundle / "configs" / "metadata.json"
    metadata = _read(place)
    if not content.get("weights") or content["weights"].items() - metadata.get("weights_sha256", {}).items():
        raise WeightsError(
            f"{metrics}: these figures are of other weights than those in {bundle}; evaluate the bundle as it is now"
        )
    try:
        wanted = FIGURES[content["task"]]
        found = {f"{name}, {group}": float(content["figures"][name][group]["value"]) for name, group in wanted}
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{metrics}: no figure {error}: evaluate on nodules that readers rated") from error
    with replacing(place) as temporary:
        temporary.write_text(json_text({**metadata, "eval_metrics": found}), encoding="utf-8")
    card = bundle / "docs" / "README.md"
    if card.is_file():
        update_card(card, metrics)
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        content.get("")
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"{path}: can't be read ({' '.join(str(error).split())})") from error
    return content
