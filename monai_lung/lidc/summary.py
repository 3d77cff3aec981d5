"""LIDC-IDRI in numbers: what the index holds, and how many nodules each rule of counting gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median

import numpy as np

from monai_lung.lidc.index import Scan
from monai_lung.lidc.nodules import MarkedNodule, marked_nodules

SCHEMA = "monai-lung/lidc-summary/1"
READER_RULES = (2, 3, 4)


def summarize(scans: Sequence[Scan]) -> dict[str, object]:
    """Count patients, scans, marks and nodules.

    Returns:
        A dict that JSON can hold: `schema`, `patients`, `scans`, `scans_with_marks`, `annotations`, `contours`,
        `exclusions`, `malignancy` (rating to annotations), `slice_thickness_mm` (minimum, quartiles, maximum),
        `nodules`, `nodules_by_annotations`, and `at_least` with the counts for 2, 3 and 4 annotations a nodule.
    """
    annotations = [annotation for scan in scans for annotation in scan.annotations]
    contours = [contour for annotation in annotations for contour in annotation.contours]
    nodules = [nodule for scan in scans for nodule in marked_nodules(scan)]
    thickness = np.quantile([scan.slice_thickness_mm for scan in scans], [0, 0.25, 0.5, 0.75, 1])
    return {
        "schema": SCHEMA,
        "patients": len({scan.patient for scan in scans}),
        "scans": len(scans),
        "scans_with_marks": sum(bool(scan.annotations) for scan in scans),
        "annotations": len(annotations),
        "contours": len(contours),
        "exclusions": sum(not contour.inclusion for contour in contours),
        "malignancy": _histogram(annotation.ratings.malignancy for annotation in annotations),
        "slice_thickness_mm": thickness.tolist(),
        "nodules": len(nodules),
        "nodules_by_annotations": _histogram(len(nodule.annotations) for nodule in nodules),
        "at_least": {
            str(least): _counts([nodule for nodule in nodules if len(nodule.annotations) >= least])
            for least in READER_RULES
        },
    }


def _counts(nodules: Sequence[MarkedNodule]) -> dict[str, object]:
    """Counts over the nodules of enough annotations; triples are below, at and above a malignancy of 3."""
    marks = [rating for nodule in nodules for rating in nodule.malignancy]
    medians = [median(nodule.malignancy) for nodule in nodules]
    return {
        "nodules": len(nodules),
        "patients": len({nodule.scan.patient for nodule in nodules}),
        "annotations": len(marks),
        "annotations_rated_1_2": sum(rating <= 2 for rating in marks),
        "annotations_rated_4_5": sum(rating >= 4 for rating in marks),
        "median_below_at_above_3": _thirds(medians),
        "mean_below_at_above_3": _thirds([fmean(nodule.malignancy) for nodule in nodules]),
        "median_at_most_2": sum(value <= 2 for value in medians),
        "median_at_least_4": sum(value >= 4 for value in medians),
    }


def _thirds(values: Sequence[float]) -> list[int]:
    return [sum(v < 3 for v in values), sum(v == 3 for v in values), sum(v > 3 for v in values)]


def _histogram(values: Iterable[int]) -> dict[str, int]:
    return {str(value): count for value, count in sorted(Counter(values).items())}


def table(summary: Mapping[str, object]) -> list[tuple[str, str]]:
    """A summary as lines of a name and a value, for people."""
    lines = []
    for name, value in summary.items():
        if name == "at_least" and isinstance(value, Mapping):
            for least, counts in value.items():
                lines += [(f">= {least} annotations: {key.replace('_', ' ')}", _shown(n)) for key, n in counts.items()]
        elif name != "schema":
            lines.append((name.replace("_", " "), _shown(value)))
    return lines


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {count}" for key, count in value.items())
    return " / ".join(f"{number:g}" for number in value) if isinstance(value, list) else str(value)
