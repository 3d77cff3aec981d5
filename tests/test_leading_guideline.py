"""Which guideline is shown first."""

from __future__ import annotations

import pytest

from monai_lung.advice import Leads, leading_first
from monai_lung.model import Advice, Person

ADVICE = {name: Advice(name, "2", "words", "rule") for name in ("fleischner_2017", "lung_rads_2022", "brock")}


@pytest.mark.parametrize(
    ("screening", "leads", "first"),
    [
        (None, None, "lung_rads_2022"),
        (True, None, "lung_rads_2022"),
        (False, None, "fleischner_2017"),
        (False, "lung-rads", "lung_rads_2022"),
        (True, "fleischner", "fleischner_2017"),
    ],
)
def test_lung_rads_leads_unless_incidental_or_said(screening: bool | None, leads: Leads | None, first: str) -> None:
    ordered = leading_first(ADVICE, Person(screening=screening), leads)
    assert next(iter(ordered)) == first
    assert list(ordered)[-1] == "brock"
    assert ordered == ADVICE
    assert list(leading_first({}, Person())) == []
