"""What a DICOM series says about the patient that guidelines need: age, sex, and whether it is a screening."""

from __future__ import annotations

import re
from typing import Any

from monai_lung.model import CT

_SCREENING = re.compile(r"(?<!no )(?<!non )(?<!non-)(?<!not )\b(?:lung[- ]?)?screen(?:ing)?\b", re.IGNORECASE)
_DESCRIPTIONS = (
    "StudyDescription",
    "RequestedProcedureDescription",
    "ReasonForTheRequestedProcedure",
    "ReasonForStudy",
    "PerformedProcedureStepDescription",
    "ProtocolName",
    "SeriesDescription",
)
_PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 365.25 / 7, "D": 365.25}
_OLDEST = 120


def person_of(ct: CT) -> tuple[dict[str, Any], dict[str, str]]:
    """Fields of `model.Person` that the series of a CT knows, and a warning for each that can't be used.

    The age is Patient's Age (0010,1010), the sex Patient's Sex (0010,0040); a study, procedure or protocol whose
    description speaks of screening is one. What isn't there is left out.
    """
    if not ct.slices:
        return {}, {}
    from pydicom import dcmread

    try:
        tags = ["SpecificCharacterSet", "PatientAge", "PatientSex", *_DESCRIPTIONS]
        data = dcmread(ct.slices[0].path, stop_before_pixels=True, force=True, specific_tags=tags)
        texts = {tag: " ".join(str(data.get(tag) or "").split()) for tag in tags}
    except Exception:  # unknown characters, a file that is gone by now: nothing is known then
        return {}, {}
    age, about_age = _age(texts["PatientAge"])
    sex, about_sex = _sex(texts["PatientSex"])
    screening = True if any(_SCREENING.search(texts[tag]) for tag in _DESCRIPTIONS) else None
    known = {"age": age, "sex": sex, "screening": screening}
    about = {"age": about_age, "sex": about_sex}
    return (
        {name: value for name, value in known.items() if value is not None},
        {name: text for name, text in about.items() if text},
    )


def _age(text: str) -> tuple[int | None, str]:
    """Whole years of a DICOM age ("045Y", "018M"); 0 years are a placeholder."""
    match = re.fullmatch(r"(\d{1,3})([DWMY])", text.upper())
    if not text:
        return None, ""
    years = int(match[1]) / _PER_YEAR[match[2]] if match else 0.0
    if match and 0 < years <= _OLDEST:
        return int(years), ""
    return None, f"The patient's age in DICOM, {text[:16]!r}, is not an age: give --age if it is known."


def _sex(text: str) -> tuple[str | None, str]:
    if not text or text.upper() in ("F", "M"):
        return text.upper() or None, ""
    return None, f"The patient's sex in DICOM, {text[:16]!r}, is neither F nor M, as Brock's model needs."
