"""What the trainings share around their steps."""

from __future__ import annotations

from typing import Any

import pytest

from monai_lung.errors import UsageError
from monai_lung.training.loop import chosen


def test_a_recipe_that_is_not_there_names_those_that_are() -> None:
    recipes: dict[str, Any] = {"cpu": {"epochs": 2}}
    assert chosen(recipes, "cpu") == {"epochs": 2}
    with pytest.raises(UsageError, match="recipe gpu: the config has only cpu"):
        chosen(recipes, "gpu")
