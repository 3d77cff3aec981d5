"""How a CT and a report show themselves in a notebook: a small page, a table, a figure, a viewer."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np

from monai_lung.extras import require
from monai_lung.model import CT, LPS_RAS, Nodule, Report
from monai_lung.report import findings, wording
from monai_lung.report.html.nodule_views import jpeg, nodule_views
from monai_lung.report.table import nodule_rows
from monai_lung.report.views import LUNG_WINDOW_HU, ViewBox, grey, picture, sample_ct

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

MAX_CARDS = 12
_CT_MM = 2.0
_CARD = (
    "display:inline-block;vertical-align:top;width:12em;margin:.3em;padding:.4em;border:1px solid #8884;font-size:12px"
)


def ct_html(ct: CT) -> str:
    """The middle of a CT from above and from the front, with its size and what is to be known of it."""
    box = ViewBox.of(ct, max(_CT_MM, *ct.spacing_mm))
    hu = sample_ct(ct, box)
    _, y, z = (n // 2 for n in box.shape)
    pictures = (picture(hu, "axial", z), picture(hu, "coronal", y))
    sources = [jpeg(grey(one, LUNG_WINDOW_HU)) for one in pictures]
    images = "".join(f'<img src="{source}" height="160" style="margin-right:.4em">' for source in sources)
    notes = "".join(f"<br>{html.escape(text)}" for text in ct.warnings)
    return f"<div>{images}<br>{html.escape(repr(ct))}{notes}</div>"


def report_html(report: Report) -> str:
    """The cards of the page, small: an axial slice with the outline, sizes, malignancy, categories."""
    shown = report.nodules[:MAX_CARDS]
    rest = len(report.nodules) - len(shown)
    advice = [
        f"{title} {wording.category(report.guidelines[key])}"
        for key, title in wording.GUIDELINE_TITLES.items()
        if key in report.guidelines
    ]
    head = f"<b>{html.escape(report.ct.name)}</b>: {len(report.nodules)} nodules. {html.escape('; '.join(advice))}"
    cards = "".join(_card(report, nodule) for nodule in shown)
    more = f"<div>{rest} more are not shown.</div>" if rest else ""
    notes = "".join(f"<div>{html.escape(text)}</div>" for text in findings.all_warnings(report)[:5])
    return f"<div><div>{head}</div>{cards}{more}{notes}<div><i>{findings.NOTICE.capitalize()}.</i></div></div>"


def _card(report: Report, nodule: Nodule) -> str:
    cut = nodule_views(report.ct, nodule, scrolls=False)
    axial, size = cut.views[0], cut.box.shape[0]
    path = axial.outlines.get(axial.start, "")
    image = (
        f'<svg viewBox="0 0 {size} {size}" width="160" height="160">'
        f'<image href="{axial.image}" width="{size}" height="{size}"/>'
        f'<path d="{path}" fill="none" stroke="#ffd60a" stroke-width=".6"/></svg>'
    )
    m = nodule.measurements
    lines = (
        f"<b>{nodule.id}</b> {html.escape(wording.position(m))}",
        f"{html.escape(wording.axes(m))}, {m.texture}",
        f"{m.volume_mm3:.0f} mm³",
        f"malignant {html.escape(wording.malignancy(nodule.rating))}",
    )
    return f'<div style="{_CARD}">{image}<br>{"<br>".join(lines)}</div>'


def dataframe(report: Report) -> DataFrame:
    """A row for each nodule with the columns of `nodules.csv`.

    Raises:
        UsageError: pandas isn't installed.
    """
    pandas = require("pandas", "a table of the report")
    content = findings.to_dict(report)
    frame: DataFrame = pandas.DataFrame(nodule_rows(content))
    return frame


def plot(report: Report) -> Figure:
    """The picture of `figure.png`, as a figure of matplotlib that a notebook shows.

    Raises:
        UsageError: matplotlib isn't installed.
    """
    from monai_lung.report import figure

    require("matplotlib.pyplot", "a picture of the report")  # its import tells the notebook how figures are shown
    drawn = figure.draw(report)
    require("matplotlib.backends.backend_agg", "a picture of the report").FigureCanvasAgg(drawn)
    return drawn


def view(report: Report) -> Any:
    """The CT with lungs and nodules in three planes, a widget of ipyniivue.

    Raises:
        UsageError: ipyniivue isn't installed.
    """
    niivue = require("ipyniivue", "the viewer", extra="notebook")
    viewer = niivue.NiiVue(height=500)
    viewer.load_volumes(
        [
            {"name": "ct.nii", "data": _nifti(report.ct, report.ct.hu), "colormap": "gray", **_window()},
            {"name": "lungs.nii", "data": _nifti(report.ct, report.lungs.labels), "colormap": "blue", "opacity": 0.15},
            {
                "name": "nodules.nii",
                "data": _nifti(report.ct, report.nodule_labels()),
                "colormap": "red",
                "opacity": 0.6,
            },
        ]
    )
    viewer.set_slice_type(niivue.SliceType.MULTIPLANAR)
    return viewer


def _window() -> dict[str, float]:
    low, high = LUNG_WINDOW_HU
    return {"cal_min": low, "cal_max": high}


def _nifti(ct: CT, array: np.ndarray[Any, Any]) -> bytes:
    """The bytes of a NIfTI file."""
    import nibabel

    image: Any = nibabel.Nifti1Image(np.ascontiguousarray(array), LPS_RAS @ ct.affine_lps)
    image.header.set_xyzt_units("mm")
    data: bytes = image.to_bytes()
    return data
