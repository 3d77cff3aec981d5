"""Known facts about the patient: from the user, else from the CT's own series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, get_args

from monai_lung.clinical.guidelines.nodule import LUNG_RADS_CATEGORIES
from monai_lung.errors import UsageError
from monai_lung.model import CT, Person, Risk

OLDEST = 120
_YES_NO = ("emphysema", "family_history", "spiculation", "known_cancer", "immunosuppressed", "screening")


def make_person(said: Mapping[str, Any]) -> Person:
    """A person of what the user said, by the names of the fields of `model.Person`; None is unknown.

    Raises:
        UsageError: a name or a value that can't be; the message names it.
    """
    names = [f.name for f in fields(Person) if f.name != "sources"]
    unknown = sorted(set(said) - set(names))
    if unknown:
        raise UsageError(f"person: {', '.join(unknown)} is unknown: its fields are {', '.join(names)}")
    known = {name: value for name, value in said.items() if value is not None}
    for name, value in known.items():
        _check(name, value)
    return Person(**known, sources=dict.fromkeys(known, "option"))


def _check(name: str, value: Any) -> None:
    allowed: dict[str, tuple[Any, ...]] = {
        "sex": ("F", "M"),
        "risk": get_args(Risk),
        "earlier_category": LUNG_RADS_CATEGORIES,
        **dict.fromkeys(_YES_NO, (True, False)),
    }
    if name == "age":
        fits, wanted = type(value) is int and 0 <= value <= OLDEST, f"whole years, 0 to {OLDEST}"
    else:
        fits = type(value) in {type(v) for v in allowed[name]} and value in allowed[name]
        wanted = " or ".join(str(v).lower() if isinstance(v, bool) else str(v) for v in allowed[name])
    if not fits:
        raise UsageError(f"person: {name} is {value!r}, it must be {wanted}")


def with_context(person: Person, ct: CT) -> tuple[Person, tuple[str, ...]]:
    """`person` with what the CT's own series says where the user said nothing; and warnings about its values."""
    from monai_lung.io.person import person_of

    said = [f.name for f in fields(person) if f.name != "sources" and getattr(person, f.name) is not None]
    known, warnings = person_of(ct)
    added = {name: value for name, value in known.items() if name not in said}
    sources = {**dict.fromkeys(said, "option"), **dict.fromkeys(added, "DICOM")}
    relevant = [text for name, text in warnings.items() if name not in said]
    return replace(person, **added, sources=sources), tuple(relevant)
