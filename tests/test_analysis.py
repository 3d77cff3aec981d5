"""The analysis's own doing: which formats are written, what counts as a case's failure, the prior."""

from __future__ import annotations

from monai_lung import analysis


def test_sr_brings_the_seg_that_it_refers_to():
    assert analysis.check_formats(["sr"]) == ("seg", "sr")
    assert analysis.check_formats(["seg", "json"]) == ("json", "seg")
    assert analysis.check_formats(["sr", "all"]) == analysis.FORMATS
