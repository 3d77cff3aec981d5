"""Key images as DICOM Secondary Capture: what any viewer shows, also one that knows neither SEG nor SR.

One instance for each nodule, the deciding one first: its whole axial slice in the lung window, with both axes and a
frame drawn in. Nothing that names the patient is drawn.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from monai_lung.extras import require
from monai_lung.model import Nodule, Report
from monai_lung.report import wording
from monai_lung.report.dicom_source import (
    CHARACTER_SET,
    DEVICE_NAME,
    algorithm_version,
    check_source,
    derived_uid,
    nameless,
    series_number,
    series_uid,
    source_headers,
)
from monai_lung.report.key_image import KeyImage, key_image
from monai_lung.report.ranking import ranked
from monai_lung.report.views import LUNG_WINDOW_HU, grey

if TYPE_CHECKING:
    from highdicom.sc import SCImage
    from pydicom.dataset import Dataset

SERIES_NUMBER = 9004
MOST = 12
"""Images of one result: of the nodule that decides and of the most urgent ones."""
_SMALLEST = 512
"""Pixels along the shorter side; a smaller slice is enlarged by a whole number, so that lines and letters stay fine."""
_AXES, _FRAME, _INK, _RIM = (94, 230, 255), (255, 214, 10), (255, 255, 255), (0, 0, 0)


def write(report: Report, folder: Path) -> list[Path]:
    """Write one instance for each nodule into `folder`, which is made: `nodule-<id>.dcm`.

    Raises:
        InputError: the CT was read from a volume file, or its instances can't be read any more.
        UsageError: highdicom or Pillow isn't installed.
    """
    check_source(report.ct)
    folder.mkdir(exist_ok=True)
    header = source_headers(report.ct)[0]
    paths = []
    for number, nodule in enumerate(ranked(report)[:MOST], 1):
        path = folder / f"nodule-{nodule.id}.dcm"
        build(report, nodule, number, header).save_as(path)
        paths.append(path)
    return paths


def build(report: Report, nodule: Nodule, number: int, header: Dataset) -> SCImage:
    """The Secondary Capture of one nodule.

    Args:
        report: the findings.
        nodule: one of its nodules.
        number: of the image in the series.
        header: of an instance of the CT, as `source_headers` gives it.
    """
    sc = require("highdicom", "a DICOM key image").sc
    image = key_image(report.ct, nodule)
    pixels, scale = drawn(image, _caption(nodule))
    spacing_mm = image.box.spacing_mm / scale
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    capture = sc.SCImage.from_ref_dataset(
        ref_dataset=nameless(header),
        pixel_array=pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        series_instance_uid=series_uid(report, "key"),
        series_number=series_number(report, SERIES_NUMBER),
        sop_instance_uid=derived_uid(series_uid(report, "key"), nodule.tracking_uid, digest),
        instance_number=number,
        manufacturer=DEVICE_NAME,
        pixel_spacing=(spacing_mm, spacing_mm),
        patient_orientation=("L", "P"),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        manufacturer_model_name=DEVICE_NAME,
        software_versions=algorithm_version(report),
        series_description="Key images of lung nodules (monai-lung)",
    )
    capture.SpecificCharacterSet = CHARACTER_SET
    capture.PatientName = header.PatientName
    capture.BurnedInAnnotation = "NO"
    capture.BodyPartExamined = "CHEST"
    capture.ImageComments = _caption(nodule)
    return capture


def drawn(image: KeyImage, caption: str) -> tuple[NDArray[np.uint8], int]:
    """The slice in the lung window with axes, frame and caption drawn in: (rows, columns, 3), and how much larger."""
    pillow, draw, font = (require(f"PIL.{name}", "key images") for name in ("Image", "ImageDraw", "ImageFont"))
    scale = max(-(-_SMALLEST // min(image.width, image.height)), 1)
    size = (image.width * scale, image.height * scale)
    picture = pillow.fromarray(grey(image.hu, LUNG_WINDOW_HU)).resize(size, pillow.Resampling.BICUBIC).convert("RGB")
    pen = draw.Draw(picture)

    def placed(line: tuple[float, float, float, float]) -> list[float]:
        return [(v + 0.5) * scale - 0.5 for v in line]

    for axis in image.axes:
        pen.line(placed(axis), fill=_AXES, width=1)
    pen.rectangle(placed(image.frame), outline=_FRAME, width=1)
    letters = font.load_default(size=15)
    for text, place, anchor in (
        (caption, (8, 6), "la"),
        ("Research use; not a diagnosis", (8, size[1] - 8), "ld"),
        ("R", (8, size[1] // 2), "lm"),
        ("L", (size[0] - 8, size[1] // 2), "rm"),
    ):
        pen.text(place, text, fill=_INK, font=letters, anchor=anchor, stroke_width=1, stroke_fill=_RIM)
    return np.asarray(picture), scale


def _caption(nodule: Nodule) -> str:
    """Number, axes, image and change, in the letters that every font and character set has."""
    parts = [f"Nodule {nodule.id}: {wording.axes(nodule.measurements)}", wording.image(nodule)]
    parts += [nodule.growth.status] if nodule.growth else []
    return ", ".join(part for part in parts if part).replace("×", "x")
