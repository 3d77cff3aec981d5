"""What the trainings share around their steps."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from monai_lung.errors import UsageError
from monai_lung.training.loop import chosen


def test_a_recipe_that_is_not_there_names_those_that_are() -> None:
    recipes: dict[str, Any] = {"cpu": {"epochs": 2}}
    assert chosen(recipes, "cpu") == {"epochs": 2}
    with pytest.raises(UsageError, match="recipe gpu: the config has only cpu"):
        chosen(recipes, "gpu")


def test_the_training_script_gives_options_that_the_configs_have() -> None:
    root = Path(__file__).resolve().parents[2]
    script = (root / "tools" / "train").read_text().replace("\\\n", " ")
    common = re.search(r"monai.bundle run (.*)\$@", script)
    crops = re.search(r"^crops\(\) \{(.*)\}", script, re.MULTILINE)
    calls = re.findall(r'^ *(train|crops) "\$(segmentation|classification)/(\w+\.json)"(.*)', script, re.MULTILINE)
    assert common
    assert crops
    assert len(calls) >= 10
    for by, bundle, name, words in calls:
        config = json.loads((root / "bundles" / f"lung_nodule_{bundle}" / "configs" / name).read_text())
        options = re.findall(r"--([\w#]+)", common[1] + words + (crops[1] if by == "crops" else ""))
        assert {"recipe", "resume"} < set(options)
        parser = ConfigParser(config)
        for option in set(options) - {"config_file"}:
            assert option in parser, f"{name} has no {option}"
