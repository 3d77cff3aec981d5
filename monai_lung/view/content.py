"""The data of the viewer's page: the CT and the masks as NIfTI, the findings as JSON, NiiVue from its package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_lung.errors import UsageError
from monai_lung.model import CT, LPS_RAS, Nodule, Point, Report
from monai_lung.report import wording
from monai_lung.report.findings import NOTICE
from monai_lung.report.ranking import deciding_id, ranked
from monai_lung.report.views import PRESETS_HU

HERE = Path(__file__).parent
_PAGE = {
    "": ("text/html", "page.html"),
    "view.css": ("text/css", "view.css"),
    "view.js": ("text/javascript", "view.js"),
}

Contents = Mapping[str, tuple[str, bytes]]
"""Of each name below the page's address: its media type and its bytes."""


def contents(report: Report) -> Contents:
    """All that the page asks for.

    Raises:
        UsageError: the viewer isn't installed.
    """
    niivue = niivue_file()
    files = {name: (kind, (HERE / file).read_bytes()) for name, (kind, file) in _PAGE.items()}
    ct, nodules = report.ct, report.nodule_labels()
    volumes: dict[str, NDArray[Any]] = {
        "ct.nii": ct.hu,
        "lungs.nii": report.lungs.labels,
        "nodules.nii": nodules,
        "outlines.nii": outlines(nodules > 0),
    }
    return {
        **files,
        "niivue.js": ("text/javascript", niivue.read_bytes()),
        "case.json": ("application/json", json.dumps(case(report)).encode()),
        **{name: ("application/octet-stream", _nifti(ct, array)) for name, array in volumes.items()},
    }


def niivue_file() -> Path:
    """NiiVue's JavaScript, which ipyniivue brings.

    Raises:
        UsageError: it isn't installed.
    """
    found = find_spec("ipyniivue")  # its import would bring Jupyter's widgets
    for folder in (found.submodule_search_locations or ()) if found else ():
        if (path := Path(folder) / "static" / "widget.js").is_file():
            return path
    raise UsageError('the viewer needs ipyniivue: pip install "monai-lung[view]"')


def outlines(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The voxels around a mask (x, y, z): a line in each plane that hides nothing of what it surrounds."""
    return (ndimage.binary_dilation(mask, ndimage.generate_binary_structure(3, 1)) & ~mask).astype(np.uint8)


def case(report: Report) -> dict[str, Any]:
    """The page's facts about the case: its name, the examination's advice, windows, and a row for each nodule."""
    return {
        "name": report.ct.name,
        "notice": f"{NOTICE.capitalize()}.",
        "advice": [
            f"{wording.GUIDELINE_TITLES[name]}: {wording.category(advice)}"
            for name, advice in report.guidelines.items()
            if name in wording.GUIDELINE_TITLES
        ],
        "windows": [{"name": p.name, "low": p.low, "high": p.high} for p in PRESETS_HU],
        "findings": [_finding(report, nodule) for nodule in ranked(report)],
    }


def _finding(report: Report, nodule: Nodule) -> dict[str, Any]:
    m = nodule.measurements
    categories = [
        f"{title} {wording.category(nodule.guidelines[key])}"
        for key, title in wording.GUIDELINE_TITLES.items()
        if key in nodule.guidelines and key != "brock"
    ]
    return {
        "id": nodule.id,
        "decides": nodule.id == deciding_id(report),
        "at": fraction(report.ct, m.center_mm),
        "title": wording.position(m),
        "lines": [
            f"{m.texture}, {wording.axes(m)}, {wording.volume(m.volume_mm3)}",
            f"malignancy {wording.malignancy(nodule.rating)}",
            *categories,
            *filter(None, [wording.image(nodule)]),
        ],
    }


def fraction(ct: CT, center_mm: Point) -> list[float]:
    """Place of a point (LPS mm) along the three axes of the volume that is served, 0...1 each."""
    image = _canonical(ct, np.empty(ct.hu.shape, np.uint8))
    index = np.linalg.inv(image.affine) @ LPS_RAS @ (*center_mm, 1.0)
    shares: NDArray[np.float64] = (index[:3] + 0.5) / image.shape
    return [round(float(v), 6) for v in shares.clip(0, 1)]


def _canonical(ct: CT, array: NDArray[Any]) -> Any:
    """An array on the CT's grid as a NIfTI image, its axes turned to run to the right, to the front and to the head."""
    import nibabel

    return nibabel.as_closest_canonical(nibabel.Nifti1Image(array, LPS_RAS @ ct.affine_lps))


def _nifti(ct: CT, array: NDArray[Any]) -> bytes:
    image = _canonical(ct, np.ascontiguousarray(array))
    image.header.set_xyzt_units("mm")
    data: bytes = image.to_bytes()
    return data
