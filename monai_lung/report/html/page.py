"""The content of a case's page, taken from the `Report`; the template arranges it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from monai_lung.model import CT, Growth, Nodule, Outline, Person, Point, Report
from monai_lung.report import ris, wording
from monai_lung.report.findings import NOTICE, all_warnings
from monai_lung.report.html.nodule_views import (
    VOXELS_HU,
    KeyPicture,
    NoduleViews,
    box_views,
    jpeg,
    key_picture,
    nodule_views,
    same_box,
)
from monai_lung.report.html.render import render
from monai_lung.report.key_image import key_image
from monai_lung.report.ranking import deciding_id, ranked
from monai_lung.report.views import PRESETS_HU, ViewBox, coronal_overview

MAX_VOXELS_BYTES = 8_500_000
"""Of all nodules' voxels together; views of nodules beyond (the smaller ones) stand still, so that the page opens."""

MAX_KEY_IMAGES = 20
"""Whole slices on the page: of the most urgent nodules."""

SMALLEST_RADIUS = 5.0


@dataclass(frozen=True)
class Card:
    """A nodule with its pictures: the whole slice, three planes, and the same place in the prior."""

    nodule: Nodule
    pictures: NoduleViews
    key: KeyPicture | None = None
    prior: NoduleViews | None = None

    @property
    def scrolls(self) -> bool:
        """Whether the page holds its voxels."""
        return bool(self.pictures.voxels)


@dataclass(frozen=True)
class Gone:
    """A nodule of the prior without a partner now: where it was, and the same place today where it's known."""

    center_mm: Point
    volume_mm3: float
    then: NoduleViews
    now: NoduleViews | None


@dataclass(frozen=True)
class Overview:
    """The coronal overview: a JPEG of `width` by `height` pixels and a circle (id, x, y, radius) for each nodule.

    `candidates` are circles (x, y, radius) of places below the operating point.
    """

    image: str
    width: int
    height: int
    marks: tuple[tuple[int, float, float, float], ...]
    candidates: tuple[tuple[float, float, float], ...]


def write(report: Report, path: Path, show_patient: bool = False) -> Path:
    """Write `report.html`.

    Args:
        report: the findings; without nodules the page says so.
        path: of the file.
        show_patient: show the patient's name and ID.

    Raises:
        UsageError: jinja2 or Pillow isn't installed.
    """
    Path(path).write_text(page(report, show_patient), encoding="utf-8")
    return path


def page(report: Report, show_patient: bool = False, *, patient: str = "") -> str:
    """The page as text; `patient` identifies the patient in its own words."""
    cards = list(_cards(report))
    return render(
        "report.html",
        report=report,
        cards=cards,
        deciding=next((card for card in cards if card.nodule.id == deciding_id(report)), None),
        gone=list(_gone(report)),
        accepted={d.nodule for d in report.decisions if d.decision == "accepted"},
        still=sum(not card.scrolls for card in cards),
        overview=_overview(report),
        patient=patient or (", ".join(report.ct.patient) if show_patient else ""),
        notice=NOTICE,
        warnings=all_warnings(report),
        examined=_examined(report),
        person=_person(report.person),
        titles=wording.titles(report.guidelines),
        voxels=json.dumps(VOXELS_HU),
        presets=PRESETS_HU,
        result=_result(report),
        ris=ris.text(report),
        say=wording,
    )


def _cards(report: Report) -> Iterator[Card]:
    used = 0
    for n, nodule in enumerate(ranked(report)):
        scrolls = used < MAX_VOXELS_BYTES
        pictures = nodule_views(report.ct, nodule, scrolls=scrolls)
        prior = _prior_views(report, nodule.growth, pictures, scrolls=scrolls)
        used += len(pictures.voxels) + (len(prior.voxels) if prior else 0)
        key = key_picture(key_image(report.ct, nodule)) if n < MAX_KEY_IMAGES else None
        yield Card(nodule, pictures, key, prior)


def _prior_views(report: Report, growth: Growth | None, now: NoduleViews, *, scrolls: bool) -> NoduleViews | None:
    """The nodule's place in the earlier CT, at the same scale; None without that CT, or where it doesn't reach."""
    place = growth and (growth.prior_center_mm or growth.mapped_mm)
    if not place or growth is None or report.prior is None or report.prior.ct is None:
        return None
    if growth.status == "not-covered":
        return None
    return _same_place(report.prior.ct, now, place, growth.prior_outline, scrolls=scrolls)


def _same_place(ct: CT, like: NoduleViews, center_mm: Point, outline: Outline | None, *, scrolls: bool) -> NoduleViews:
    """Views of another CT around `center_mm` that start at the slices of `like` and scroll with them."""
    starts = {view.plane: view.start for view in like.views}
    box = same_box(like.box, center_mm)
    return box_views(ct, box, (starts["sagittal"], starts["coronal"], starts["axial"]), outline, scrolls=scrolls)


def _gone(report: Report) -> Iterator[Gone]:
    """Each nodule that is gone as the prior's CT shows it; nothing without that CT."""
    prior = report.prior
    if prior is None or prior.ct is None:
        return
    mapped = prior.gone_now_mm or (None,) * len(prior.gone)
    for (center_mm, mm3), outline, place in zip(prior.gone, prior.gone_outlines, mapped, strict=False):
        box = ViewBox.around(center_mm, (6 * mm3 / math.pi) ** (1 / 3))
        then = box_views(prior.ct, box, box.nearest(center_mm), outline)
        yield Gone(center_mm, mm3, then, place and _same_place(report.ct, then, place, None, scrolls=True))


def _overview(report: Report) -> Overview:
    image, box = coronal_overview(report)
    marks = tuple((nodule.id, *_circle(box, nodule)) for nodule in report.nodules)
    candidates = tuple(_circle(box, candidate) for candidate in report.candidates)
    return Overview(jpeg(image), image.shape[1], image.shape[0], marks, candidates)


def _circle(box: ViewBox, nodule: Nodule) -> tuple[float, float, float]:
    """Column, row and radius of the circle around a nodule."""
    column, row = box.place("coronal", nodule.measurements.center_mm)
    radius = max(nodule.measurements.max_diameter_3d_mm / 2 / box.spacing_mm + 2, SMALLEST_RADIUS)
    return round(column + 0.5, 1), round(row + 0.5, 1), round(radius, 1)


def _result(report: Report) -> str:
    """Tells two results apart, for what the browser keeps of a reader's decisions."""
    uids = " ".join(nodule.tracking_uid for nodule in report.nodules)
    return hashlib.sha256(f"{report.ct.name} {uids}".encode()).hexdigest()[:16]


def _examined(report: Report) -> list[tuple[str, str]]:
    """The analysed CT, as terms and their values."""
    ct = report.ct
    x, y, z = ct.spacing_mm
    lines = [
        ("Case", ct.name),
        ("Date of the examination", ct.study_date.isoformat() if ct.study_date else wording.UNKNOWN),
        ("Voxels", f"{' × '.join(map(str, ct.hu.shape))} of {x:.2f} × {y:.2f} × {z:.2f} mm"),
    ]
    if ct.series is not None:
        lines.insert(1, ("Series", ct.series.description or "no description"))
        if ct.series.kernel:
            lines.append(("Kernel", ct.series.kernel))
        lines.append(("Series instance UID", ct.series.uid))
    if ct.resampled:
        lines.append(("Grid", "resampled: the stored slices are tilted, have gaps, or are too large"))
    right, left = report.lungs.right_ml, report.lungs.left_ml
    return [*lines, ("Lungs", f"right {right:.0f} ml, left {left:.0f} ml")]


def _person(person: Person) -> str:
    """Known facts about the patient, in one line, with the source of those that aren't from an option."""
    said = {name: value for name, value in vars(person).items() if value is not None and name != "sources"}
    origin = {name: f" ({source})" for name, source in person.sources.items() if source != "option"}
    return ", ".join(wording.named(name, value) + origin.get(name, "") for name, value in said.items())
