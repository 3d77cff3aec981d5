"""Which part of the body a series shows, by what its header says and by where it lies.

Only the choice between series depends on it, never whether one is analysed: what people write here is often wrong.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Literal, TypeVar

from monai_lung.io.header import Header
from monai_lung.io.plane import along_normal, has_geometry

Region = Literal["chest", "elsewhere", ""]
Key = TypeVar("Key", bound=Hashable)

SAME_PLACE = 0.8
"""Share of a chest's length that another series of the same frame of reference covers, to be one of the chest."""

_SPINE = re.compile(r"(?<![A-Z])(?:[CTL]|CERVICAL|THORACIC|DORSAL|LUMBAR)[ _-]*SPINE")
_CHEST = re.compile(
    r"CHEST|TH?[OÓ]RA[XC]|LUNG|PULMON|POUMON|HRCT|LDCT|胸|肺|흉부|ГРУД|ЛЕГК|"
    r"(?<![A-Z])(?:CAP|TAP|THX|WHOLE[ _]?BODY)(?![A-Z])|WHOLEBODY"
)
_ELSEWHERE = re.compile(
    r"HEAD|BRAIN|SKULL|CRANI|NECK|CEREBR|SINUS|ORBIT|FACIAL|MAXILL|DENTAL|TEMPORAL|SPINE|ABDOM|PELVI|LIVER|KIDNEY|"
    r"RENAL|COLON|UROGR|EXTREMIT|KNEE|ANKLE|FEMUR|THIGH|CALF|TIBIA|SHOULDER|ELBOW|WRIST|RUN[ _-]?OFF|SCHÄDEL|KOPF|HALS|"
    r"BECKEN|TÊTE|CABEZA|头|颅|颈|腹|(?<![A-Z])(?:LEGS?|ARMS?|HIPS?|HANDS?|FOOT|FEET)(?![A-Z])"
)


def region_named(text: str) -> Region:
    """The region that words name: the chest wherever it's among several, "" where they name none."""
    words = text.upper()
    if _CHEST.search(_SPINE.sub(" SPINE ", words)):
        return "chest"
    return "elsewhere" if _ELSEWHERE.search(words) else ""


def regions(groups: Mapping[Key, Sequence[Header]]) -> dict[Key, Region]:
    """The region of each series: by its description, else its BodyPartExamined, else by where it lies.

    A series that says nothing counts as one of the chest where it shares the frame of reference with one that does
    and covers most of its length.
    """
    found: dict[Key, Region] = {
        key: region_named(headers[0].description) or region_named(headers[0].body_part)
        for key, headers in groups.items()
    }
    placed = {key: _extent(headers) for key, headers in groups.items()}
    chests = [placed[key] for key, region in found.items() if region == "chest"]
    for key, region in found.items():
        if not region and any(_covers(placed[key], chest) for chest in chests):
            found[key] = "chest"
    return found


_Extent = tuple[str, float, float]


def _extent(headers: Sequence[Header]) -> _Extent:
    """Frame of reference, first and last place in mm along the normal; all 0 where places aren't known."""
    if not all(has_geometry(h) for h in headers):
        return "", 0.0, 0.0
    z = along_normal(headers)
    return headers[0].frame_of_reference_uid, float(z.min()), float(z.max())


def _covers(own: _Extent, chest: _Extent) -> bool:
    shared = min(own[2], chest[2]) - max(own[1], chest[1])
    return own[0] == chest[0] and shared >= SAME_PLACE * (chest[2] - chest[1]) > 0
