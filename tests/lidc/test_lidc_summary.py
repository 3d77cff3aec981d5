"""The summary gives the numbers that are known of LIDC-IDRI."""

from __future__ import annotations

import json

from monai_lung.lidc.summary import summarize


def test_the_known_numbers(lidc_scans):
    summary = summarize(list(lidc_scans.values()))
    assert json.loads(json.dumps(summary)) == summary
    expected = {
        "patients": 1010,
        "scans": 1018,
        "scans_with_marks": 883,
        "annotations": 6859,
        "contours": 41406,
        "exclusions": 992,
        "malignancy": {"1": 1020, "2": 1580, "3": 2606, "4": 962, "5": 691},
        "slice_thickness_mm": [0.6, 1.25, 2.0, 2.5, 5.0],
        "nodules": 2651,
        "nodules_by_annotations": {"1": 771, "2": 488, "3": 481, "4": 897, "5": 8, "6": 2, "7": 3, "8": 1},
    }
    assert {name: summary[name] for name in expected} == expected
    of_two, of_three, of_four = (summary["at_least"][n] for n in ("2", "3", "4"))
    assert of_three == {
        "nodules": 1392,
        "patients": 696,
        "annotations": 5112,
        "annotations_rated_1_2": 1753,
        "annotations_rated_4_5": 1506,
        "median_below_at_above_3": [449, 513, 430],
        "mean_below_at_above_3": [664, 198, 530],
        "median_at_most_2": 315,
        "median_at_least_4": 301,
    }
    assert (of_two["nodules"], of_two["median_below_at_above_3"]) == (1880, [769, 620, 491])
    assert (of_four["nodules"], of_four["median_below_at_above_3"]) == (911, [304, 258, 349])
