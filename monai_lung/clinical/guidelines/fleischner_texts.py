"""The meaning of each outcome of Fleischner 2017, in a sentence and in the few words of a table.

The codes are this package's own, for programs; people are shown the words.
"""

from __future__ import annotations

OUTCOMES = {
    "F0": "No routine follow-up.",
    "F1": "CT at 12 months is optional.",
    "F2": "CT at 6-12 months, then consider CT at 18-24 months.",
    "F3": "CT at 6-12 months, then CT at 18-24 months.",
    "F4": "Choose among CT at 3 months, PET/CT and tissue sampling.",
    "F5": "CT at 3-6 months, then consider CT at 18-24 months.",
    "F6": "CT at 3-6 months, then CT at 18-24 months.",
    "F7": "CT at 6-12 months to confirm persistence, then every 2 years until 5 years.",
    "F8": "CT at 3-6 months to confirm persistence; if unchanged and the solid part stays below 6 mm, yearly CT for "
    "5 years.",
    "F9": "CT at 3-6 months to confirm persistence; a persistent solid part of 6 mm or more is highly suspicious. "
    "PET/CT, biopsy or resection if the shape is suspicious, the solid part grows or exceeds 8 mm.",
    "F10": "CT at 3-6 months; if stable consider CT at about 2 and 4 years. Think of infection.",
    "F11": "CT at 3-6 months; further steps follow the most suspicious nodule, not necessarily the largest.",
    "growth": "Work-up rather than the schedule of first detection.",
}

LABELS = {
    "F0": "no follow-up",
    "F1": "CT at 12 mo optional",
    "F2": "CT 6-12 mo, consider 18-24",
    "F3": "CT 6-12 and 18-24 mo",
    "F4": "CT 3 mo, PET/CT or biopsy",
    "F5": "CT 3-6 mo, consider 18-24",
    "F6": "CT 3-6 and 18-24 mo",
    "F7": "CT 6-12 mo, then every 2 y",
    "F8": "CT 3-6 mo, then yearly",
    "F9": "CT 3-6 mo, then PET/CT or biopsy",
    "F10": "CT 3-6 mo, consider 2 and 4 y",
    "F11": "CT 3-6 mo, then by the most suspicious",
    "growth": "grown: work-up",
    "not-applicable": "not applicable",
}
"""For tables: no more than 40 characters."""

FIRST_DETECTION = "The 2017 tables are for nodules seen for the first time."

GROWTH = {
    ("solid", 0): "CT at 3 months to confirm the growth, then PET/CT, tissue sampling or resection as its size allows.",
    ("solid", 1): "Referral: PET/CT, tissue sampling or resection; CT at 3 months where these aren't possible yet.",
    ("solid", 2): "Referral: PET/CT, tissue sampling or resection.",
    ("ground-glass", 0): "CT at 3-6 months; a further increase or a solid part speaks for resection.",
    ("ground-glass", 1): "Consider resection, or CT at 3-6 months where it is slow and without a solid part.",
    ("part-solid", 0): "CT at 3 months; a further increase of the solid part speaks for resection.",
    ("part-solid", 1): "Referral: consider resection; PET/CT or tissue sampling where the solid part is large enough.",
}
"""Texture and size band (below 6 mm, 6-8 mm, above; subsolid: below 6 mm, from 6 mm on): work-up of what has grown."""

MASS = (
    "Referral for work-up of suspected lung cancer: contrast-enhanced CT for staging, PET/CT, tissue sampling or "
    "resection, without waiting for follow-up."
)

STABLE_MONTHS = {
    ("solid", 0): 12.0,
    ("solid", 1): 18.0,
    ("solid", 2): 24.0,
    ("ground-glass", 1): 60.0,
    ("part-solid", 1): 60.0,
}
"""When the schedule of a texture and size band ends: solid after its last CT (at 12, or 18-24 months; above 8 mm, where
no table says when, two years), subsolid after five years."""


def describe(code: str) -> str:
    """The words for a code in a table; codes that aren't ours come back as they are.

    >>> describe("F4")
    'CT 3 mo, PET/CT or biopsy'
    """
    return LABELS.get(code, code)
