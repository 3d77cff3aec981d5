"""`figure.png`: a case in one picture, for slides and logs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from monai_lung.extras import require
from monai_lung.model import CT, Nodule, Report
from monai_lung.report import wording
from monai_lung.report.findings import NOTICE
from monai_lung.report.key_image import key_image
from monai_lung.report.ranking import ranked
from monai_lung.report.views import (
    EDGES,
    LUNG_WINDOW_HU,
    ViewBox,
    contours,
    coronal_overview,
    grey,
    picture,
    sample_ct,
    sample_outline,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_NODULES = 6
"""The one that decides and the most urgent ones are shown."""
_TITLE_POINTS = 1180.0
"""Letters of the title times their size in points that fit into the width."""

OUTLINE, FAINT, LONG_SHORT, GROUND, INK, SOFT = "#ffd60a", "#c9d1d9", "#5ee6ff", "#0f1419", "#e8edf2", "#a9b6c3"


def write(report: Report, path: Path, patient: str = "") -> Path:
    """Write a PNG of 1800 pixels' width: overview, the deciding nodule's whole slice, and up to six nodules close up.

    `patient` is written below: what identifies the patient, where that's wanted.

    Raises:
        UsageError: matplotlib isn't installed.
    """
    backend = require("matplotlib.backends.backend_agg", "figure.png")
    figure = draw(report, patient)
    backend.FigureCanvasAgg(figure)
    figure.savefig(path, format="png", facecolor=GROUND, metadata={"Software": None})
    return path


def draw(report: Report, patient: str = "") -> Figure:
    """The figure, not yet written.

    Raises:
        UsageError: matplotlib isn't installed.
    """
    figure: Figure = require("matplotlib.figure", "figure.png").Figure(figsize=(12, 7.2), dpi=150, facecolor=GROUND)
    shown = ranked(report)[:MAX_NODULES]
    halves = figure.add_gridspec(1, 2, width_ratios=(2, 3), left=0.015, right=0.985, top=0.89, bottom=0.1, wspace=0.04)
    left = halves[0].subgridspec(2 if shown else 1, 1, hspace=0.06)
    _overview(figure.add_subplot(left[0]), report)
    if shown:
        _whole_slice(figure.add_subplot(left[1]), report.ct, shown[0])
    rows = 1 if len(shown) <= 2 else 2
    places = halves[1].subgridspec(rows, max(-(-len(shown) // rows), 1), wspace=0.06, hspace=0.36)
    for place, nodule in enumerate(shown):
        _nodule(figure.add_subplot(places[place]), report.ct, nodule)
    if not shown:
        figure.text(0.7, 0.5, "No nodules found", color=INK, size=16, ha="center")
    title = _title(report)
    size = min(13.0, _TITLE_POINTS / len(title))
    figure.text(0.015, 0.94, title, color=INK, size=size, weight="bold", parse_math=False)
    rest = len(report.nodules) - len(shown)
    more = f"; {rest} more nodule{'s' if rest > 1 else ''} not shown" if rest > 0 else ""
    figure.text(0.015, 0.025, NOTICE.capitalize() + more, color=SOFT, size=9)
    figure.text(0.985, 0.025, patient, color=INK, size=10, ha="right", parse_math=False)
    return figure


def _title(report: Report) -> str:
    count = len(report.nodules)
    parts = [report.ct.name, f"{count} nodule{'' if count == 1 else 's'}"]
    parts += [f"no. {ranked(report)[0].id} decides"] if count > 1 else []
    parts += [
        f"{title} {wording.category(report.guidelines[key])}"
        for key, title in wording.titles(report.guidelines).items()
        if key != "brock"
    ]
    return "   ·   ".join(parts)


def _overview(axes: Axes, report: Report) -> None:
    """The coronal projection with a circle and a number for each nodule."""
    effects = require("matplotlib.patheffects", "figure.png")
    image, box = coronal_overview(report)
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    circle = require("matplotlib.patches", "figure.png").Circle
    for candidate in report.candidates:
        place, radius = _circle(box, candidate)
        axes.add_patch(circle(place, radius, fill=False, ec=FAINT, lw=0.6, ls=(0, (3, 2)), alpha=0.8))
    for nodule in reversed(report.nodules):
        (x, y), radius = _circle(box, nodule)
        axes.add_patch(circle((x, y), radius, fill=False, ec=OUTLINE, lw=1.2))
        label = axes.text(x + radius + 1, y, str(nodule.id), color=OUTLINE, size=9, weight="bold", va="center")
        label.set(clip_on=True, path_effects=[effects.withStroke(linewidth=2, foreground="black")])
    axes.set_anchor("N")
    _edges(axes, EDGES["coronal"])


def _circle(box: ViewBox, nodule: Nodule) -> tuple[tuple[float, float], float]:
    """Centre and radius of the circle around a nodule."""
    radius = nodule.measurements.max_diameter_3d_mm / 2 / box.spacing_mm + 2
    return box.place("coronal", nodule.measurements.center_mm), radius


def _whole_slice(axes: Axes, ct: CT, nodule: Nodule) -> None:
    """The whole axial slice of the nodule that decides, with its axes."""
    image = key_image(ct, nodule)
    axes.imshow(grey(image.hu, LUNG_WINDOW_HU), cmap="gray", vmin=0, vmax=255)
    for x1, y1, x2, y2 in image.axes:
        axes.plot([x1, x2], [y1, y2], color=LONG_SHORT, lw=0.8)
    left, top, right, bottom = image.frame
    axes.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color=OUTLINE, lw=0.9)
    label = axes.text(right + 4, (top + bottom) / 2, str(nodule.id), color=OUTLINE, size=9, weight="bold", va="center")
    effects = require("matplotlib.patheffects", "figure.png")
    label.set(clip_on=True, path_effects=[effects.withStroke(linewidth=2, foreground="black")])
    axes.set_anchor("N")
    _edges(axes, EDGES["axial"])


def _nodule(axes: Axes, ct: CT, nodule: Nodule) -> None:
    """The axial slice on which the axes were measured, with the outline, both axes and the numbers."""
    m = nodule.measurements
    box = ViewBox.around(m.center_mm, m.max_diameter_3d_mm)
    z = box.nearest((*m.center_mm[:2], sum(end[2] for end in m.axes_mm) / len(m.axes_mm)))[2]
    axes.imshow(
        grey(picture(sample_ct(ct, box), "axial", z), LUNG_WINDOW_HU),
        cmap="gray",
        vmin=0,
        vmax=255,
        interpolation="bicubic",
    )
    for line in contours(picture(sample_outline(ct, nodule.outline, box), "axial", z)):
        axes.plot(*line.T, color=OUTLINE, lw=1.1)
    ends = [box.place("axial", end) for end in m.axes_mm]
    for start, end in (ends[:2], ends[2:]):
        axes.plot(*zip(start, end, strict=True), color=LONG_SHORT, lw=0.9)
    last = box.shape[0] - 3.5
    for color, width in (("black", 3.5), ("white", 2)):  # a rim, to be seen on bright tissue too
        axes.plot([last - 10 / box.spacing_mm, last], [last, last], color=color, lw=width, solid_capstyle="butt")
    end_share = 3 / box.shape[0]
    _written(axes, "10 mm", (1 - end_share, end_share + 0.01), "right", "bottom")
    axes.set_title(f"{nodule.id}   {wording.position(m)}", color=INK, size=9, weight="bold", loc="left", pad=4)
    axes.set_xlabel(_numbers(nodule), color=SOFT, size=8, loc="left", labelpad=3).set_multialignment("left")
    axes.set_anchor("N")
    _edges(axes, EDGES["axial"])


def _numbers(nodule: Nodule) -> str:
    """Size, probability, category and change, a line each."""
    m = nodule.measurements
    lines = [
        f"{wording.axes(m)}, {wording.volume(m.volume_mm3)}",
        f"malignancy {wording.malignancy(nodule.rating)}",
        ", ".join(part for part in (m.texture, wording.image(nodule)) if part),
    ]
    if "lung_rads_2022" in nodule.guidelines:
        lines.insert(0, f"Lung-RADS {wording.category(nodule.guidelines['lung_rads_2022'])}")
    if nodule.growth is not None:
        lines.append(", ".join(value for _, value in wording.growth(nodule.growth)[:2]))
    return "\n".join(lines)


def _edges(axes: Axes, names: tuple[str, str, str, str]) -> None:
    """Letters of the patient's directions; no ticks, no frame."""
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.98), (0.5, 0.02))
    for name, (x, y), ha, va in zip(
        names, places, ("left", "right", "center", "center"), ("center", "center", "top", "bottom"), strict=True
    ):
        _written(axes, name, (x, y), ha, va)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.autoscale(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _written(axes: Axes, text: str, place: tuple[float, float], ha: str, va: str) -> None:
    """White with a black rim, at a place in shares of the picture."""
    effects = require("matplotlib.patheffects", "figure.png")
    written = axes.text(*place, text, transform=axes.transAxes, color="white", size=8, weight="bold", ha=ha, va=va)
    written.set_path_effects([effects.withStroke(linewidth=2, foreground="black")])
