"""From findings to the report: the operating point, the advice, and the image that shows each nodule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from monai_lung.errors import InputError, UsageError
from monai_lung.model import (
    CT,
    Advice,
    Growth,
    Lungs,
    Measurements,
    Nodule,
    OperatingPoint,
    Outline,
    Person,
    Rating,
    SourceSlice,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

Leads = Literal["lung-rads", "fleischner"]
"""The guideline that is shown first."""

MANY_FINDINGS = 6
"""More reported findings than this, with consolidation, are said to suggest infection."""


@dataclass(frozen=True)
class MeasuredNodules:
    """Lungs and nodules of one CT, before any guideline: the nodules largest first."""

    ct: CT
    lungs: Lungs
    outlines: tuple[Outline, ...]
    measurements: tuple[Measurements, ...]
    ratings: tuple[Rating, ...]

    def only(self, indices: Sequence[int]) -> MeasuredNodules:
        """The nodules at `indices`."""
        return replace(
            self,
            outlines=tuple(self.outlines[i] for i in indices),
            measurements=tuple(self.measurements[i] for i in indices),
            ratings=tuple(self.ratings[i] for i in indices),
        )


def split(found: MeasuredNodules, point: OperatingPoint) -> tuple[MeasuredNodules, MeasuredNodules]:
    """The reported nodules, and the candidates: below the operating point's confidence, or bone."""
    aside = [bool(set_aside(m, r, point)) for m, r in zip(found.measurements, found.ratings, strict=True)]
    kept, candidates = ([i for i, out in enumerate(aside) if out is which] for which in (False, True))
    return found.only(kept), found.only(candidates)


def set_aside(measured: Measurements, rating: Rating, point: OperatingPoint) -> Literal["", "confidence", "bone"]:
    """Why a finding isn't reported: "bone", "confidence", or "" where it is."""
    if measured.bone:
        return "bone"
    return "confidence" if rating.nodule_probability < point.min_nodule_probability else ""


def reported(
    found: MeasuredNodules, growths: Sequence[Growth | None], person: Person
) -> tuple[tuple[Nodule, ...], dict[str, Advice], int | None]:
    """The nodules with advice, the advice for the examination, and the id of the nodule that decides it.

    Raises:
        UsageError: the person can't be.
        InputError: a measurement can't be.
    """
    from monai_lung.clinical.guidelines import advise, deciding_nodule

    advise((), person)  # a person that can't be is an error of the call
    with measured(found.ct):
        each, examination = advise(found.measurements, person, growths)
    nodules = _numbered(found, 1)
    with_advice = (
        replace(nodule, guidelines=advice, growth=growth)
        for nodule, advice, growth in zip(nodules, each, growths, strict=True)
    )
    index = deciding_nodule(found.measurements, each)
    return tuple(with_advice), examination, None if index is None else nodules[index].id


def leading_first(advice: Mapping[str, Advice], person: Person, leads: Leads | None = None) -> dict[str, Advice]:
    """Advice for an examination in the order in which it's shown.

    `leads` comes first; unless it's said, Fleischner for an incidental finding and Lung-RADS otherwise.
    """
    leads = leads or ("fleischner" if person.screening is False else "lung-rads")
    both = ("lung_rads_2022", "fleischner_2017")
    order = (*(both if leads == "lung-rads" else both[::-1]), "brock")
    return {name: advice[name] for name in order if name in advice}


def examination_notes(found: MeasuredNodules) -> tuple[str, ...]:
    """Remarks before the list: many findings beside consolidation suggest infection."""
    from monai_lung.clinical.consolidation import CONSOLIDATION_ML, consolidation_ml

    if len(found.measurements) <= MANY_FINDINGS:
        return ()
    dense_ml = consolidation_ml(found.ct, found.lungs, found.outlines)
    if dense_ml < CONSOLIDATION_ML:
        return ()
    return (
        f"{len(found.measurements)} findings beside about {dense_ml:.0f} ml of consolidation: consider infection "
        "(Lung-RADS category 0, LDCT in 1-3 months) before following individual nodules.",
    )


def candidates_of(found: MeasuredNodules, point: OperatingPoint, first_id: int) -> tuple[Nodule, ...]:
    """The nodules set aside, numbered from `first_id` on."""
    return tuple(
        replace(nodule, set_aside=set_aside(nodule.measurements, nodule.rating, point))
        for nodule in _numbered(found, first_id)
    )


def _numbered(found: MeasuredNodules, first_id: int) -> list[Nodule]:
    number = found.ct.series.number if found.ct.series else None
    rows = zip(found.outlines, found.measurements, found.ratings, strict=True)
    return [
        Nodule(n, tracking_uid(found.ct, m), o, m, r, series_number=number, **_image(found.ct, m))
        for n, (o, m, r) in enumerate(rows, start=first_id)
    ]


def tracking_uid(ct: CT, measurements: Measurements) -> str:
    """A DICOM UID for a nodule: the same in every run over the same image."""
    from pydicom.uid import generate_uid

    center = " ".join(f"{v:.1f}" for v in measurements.center_mm)
    return str(generate_uid(entropy_srcs=["monai-lung", ct.series.uid if ct.series else ct.name, center]))


def _image(ct: CT, measurements: Measurements) -> dict[str, Any]:
    """Number and UID of the stored image on which the axes lie."""
    if not ct.slices:
        return {}
    middle = np.mean(measurements.axes_mm, axis=0)

    def distance(one: SourceSlice) -> float:
        return float(abs(one.affine_lps[:3, 2] @ (middle - one.affine_lps[:3, 3])))

    nearest = min(ct.slices, key=distance)
    return {"image_number": nearest.image_number, "sop_instance_uid": nearest.sop_instance_uid}


@contextmanager
def measured(ct: CT) -> Iterator[None]:
    """Rules see a size that can't be as wrong usage; where they get what was measured, it's the case that failed."""
    try:
        yield
    except UsageError as error:
        raise InputError(f"{ct.name}: a measurement can't be used: {error}") from error
