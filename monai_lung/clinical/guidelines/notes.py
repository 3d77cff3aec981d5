"""Points that a reader must weigh beside a category, one sentence each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from monai_lung.clinical.guidelines.change import change_of
from monai_lung.clinical.guidelines.nodule import Status
from monai_lung.model import Growth, Measurements, Person

BENIGN_WORDS = {
    "central": "central calcification",
    "diffuse": "diffuse calcification",
    "popcorn": "popcorn calcification",
    "laminated": "laminated calcification",
    "fat": "fat",
}


def nodule_notes(nodule: Measurements, growth: Growth | None, status: Status) -> tuple[str, ...]:
    """Notes on one nodule."""
    found = [*_place(nodule), *_composition(nodule, status)]
    if growth is not None:
        found += _growth(nodule, growth, status)
    return tuple(found)


def _place(nodule: Measurements) -> list[str]:
    found = [
        f"Touches the {place}: check that it is not part of it."
        for place in ("hilum", "diaphragm")
        if place in nodule.attachment
    ]
    if nodule.juxtapleural_shape:
        found.append(
            "Its shape at the pleura may be that of an intrapulmonary lymph node: if the reader agrees, Lung-RADS 2 "
            "below 10 mm, and no follow-up by Fleischner."
        )
    return found


def _composition(nodule: Measurements, status: Status) -> list[str]:
    if nodule.benign_pattern is None:
        return []
    words = BENIGN_WORDS[nodule.benign_pattern]
    if status in ("growing", "larger"):
        return [f"Looks benign by {words}, but has grown: it is treated like any other nodule."]
    return [f"Benign by its pattern: {words}. Confirm in the mediastinal window."]


def _growth(nodule: Measurements, growth: Growth, status: Status) -> list[str]:
    if growth.status == "same-day":
        return ["Both examinations are of the same day: without an interval, growth can't be judged."]
    if growth.status == "not-covered":
        return ["The earlier scan doesn't cover this place: judged as at baseline."]
    if growth.status == "new":
        looked = growth.prior_visible is False
        return ["New: not visible before." if looked else "New: not detected before; the earlier CT wasn't searched."]
    found = ["Visible before, though not detected then."] if growth.prior_detected is False else []
    change = change_of(nodule, growth)
    if change is None:
        return found
    percent = 100 * (change.current_mm3 / change.prior_mm3 - 1)
    grown = status in ("growing", "slow-growing", "larger")
    if status == "larger":
        found.append(f"The volume changed by {percent:+.0f} %, which Lung-RADS does not count as growth.")
    opposite = (change.mean_change_mm or 0.0) * percent < 0 and abs(percent) >= change.error_percent
    if not grown and opposite:
        found.append(
            f"Volume {percent:+.0f} %, mean diameter {change.mean_change_mm:+.1f} mm: the measures contradict each "
            "other, so no change is called."
        )
    if grown and abs(percent) < change.error_percent and not change.solid_part_grew:
        error = f"{change.error_percent:.0f} %"
        found.append(f"The change of volume lies within its error of {error} at these slices: compare by eye.")
    return found


def person_notes(person: Person, statuses: Sequence[Status]) -> Mapping[str, tuple[str, ...]]:
    """Notes on the examination, by guideline, from what is known of the patient."""
    lung_rads = []
    if person.screening is False:
        lung_rads.append("Lung-RADS is made for screening; this is an incidental finding.")
    if person.known_cancer:
        lung_rads.append("With a known lung cancer Lung-RADS does not apply.")
    if person.immunosuppressed and "new" in statuses:
        lung_rads.append("New nodules under immune suppression: consider category 0 (infection, LDCT in 1-3 months).")
    return {"lung_rads_2022": tuple(lung_rads)} if lung_rads else {}
