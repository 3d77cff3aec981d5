"""What goes onto the page of a case, taken from the `Report`; the template arranges it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from monai_lung.model import Nodule, Report
from monai_lung.report import wording
from monai_lung.report.findings import NOTICE, all_warnings
from monai_lung.report.html.nodule_views import VOXELS_HU, NoduleViews, jpeg, nodule_views
from monai_lung.report.html.render import render
from monai_lung.report.views import LUNG_WINDOW_HU, MEDIASTINAL_WINDOW_HU, coronal_overview

MAX_VOXELS_BYTES = 8_500_000
"""Of all nodules' voxels together; views of nodules beyond (the smaller ones) stand still, so that the page opens."""

SMALLEST_RADIUS = 5.0


@dataclass(frozen=True)
class Card:
    """A nodule with its pictures."""

    nodule: Nodule
    pictures: NoduleViews

    @property
    def scrolls(self) -> bool:
        """Whether the page holds its voxels."""
        return bool(self.pictures.voxels)


@dataclass(frozen=True)
class Overview:
    """The coronal overview: a JPEG of `width` by `height` pixels and a circle (id, x, y, radius) for each nodule."""

    image: str
    width: int
    height: int
    marks: tuple[tuple[int, float, float, float], ...]


def write(report: Report, path: Path, show_patient: bool = False) -> Path:
    """Write `report.html`.

    Args:
        report: what was found; without nodules the page says so.
        path: of the file.
        show_patient: show the patient's name and ID.

    Raises:
        UsageError: jinja2 or Pillow isn't installed.
    """
    Path(path).write_text(page(report, show_patient), encoding="utf-8")
    return path


def page(report: Report, show_patient: bool = False) -> str:
    """The page as text."""
    cards = list(_cards(report))
    return render(
        "report.html",
        report=report,
        cards=cards,
        still=sum(not card.scrolls for card in cards),
        overview=_overview(report),
        patient=", ".join(report.ct.patient) if show_patient else "",
        notice=NOTICE,
        warnings=all_warnings(report),
        examined=_examined(report),
        person=_person(report),
        titles=wording.GUIDELINE_TITLES,
        windows={"voxels": VOXELS_HU, "lung": LUNG_WINDOW_HU, "mediastinal": MEDIASTINAL_WINDOW_HU},
        say=wording,
    )


def _cards(report: Report) -> Iterator[Card]:
    used = 0
    for nodule in report.nodules:
        pictures = nodule_views(report.ct, nodule, scrolls=used < MAX_VOXELS_BYTES)
        used += len(pictures.voxels)
        yield Card(nodule, pictures)


def _overview(report: Report) -> Overview:
    image, box = coronal_overview(report)
    marks = []
    for nodule in report.nodules:
        column, row = box.place("coronal", nodule.measurements.center_mm)
        radius = max(nodule.measurements.max_diameter_3d_mm / 2 / box.spacing_mm + 2, SMALLEST_RADIUS)
        marks.append((nodule.id, round(column + 0.5, 1), round(row + 0.5, 1), round(radius, 1)))
    return Overview(jpeg(image), image.shape[1], image.shape[0], tuple(marks))


def _examined(report: Report) -> list[tuple[str, str]]:
    """What was analysed, as terms and their values."""
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


def _person(report: Report) -> str:
    """What was said of the patient, in one line."""
    said = {name: value for name, value in vars(report.person).items() if value is not None}
    return ", ".join(wording.named(name, value) for name, value in said.items())
