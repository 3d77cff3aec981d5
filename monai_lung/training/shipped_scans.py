"""Backgrounds of the scans that the shipped weights were trained on, from the marks that come with them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import SimpleITK as sitk

from monai_lung.data.backgrounds import KnownBox, make_background, save_background
from monai_lung.errors import InputError
from monai_lung.io import read_ct
from monai_lung.lidc.xml import marked_boxes
from monai_lung.lungs import segment_lungs
from monai_lung.model import CT

SURE, NEITHER = ("nodule", "mass"), ("nodule", "mass", "unsure")
"""Labels of `lungs/marks.csv` of lesions, and of those and what is neither lesion nor background."""
LEAST_MM = 6.0
"""Marks below this are dots on a slice or two: nobody is sure of them."""


def boxed_mass(boxes: Path, series: list[CT]) -> list[KnownBox]:
    """One box around all 2D boxes of a Lung-PET-CT-Dx patient; a file is named after the slice's SOP instance UID."""
    slices = {s.sop_instance_uid: s for ct in series for s in ct.slices}
    points = []
    for path in sorted(boxes.glob("*.xml")):
        box = ElementTree.parse(path).getroot().find("object/bndbox")
        if box is None:
            raise InputError(f"{path}: no box in it; fetch the file again")
        low_x, low_y, high_x, high_y = (float(box.findtext(k, "")) for k in ("xmin", "ymin", "xmax", "ymax"))
        affine = slices[path.stem].affine_lps
        points += [affine[:3] @ [x, y, 0, 1] for x, y in ((low_x, low_y), (high_x, high_y))]
    return [(tuple(np.min(points, 0)), tuple(np.max(points, 0)))]


def known_scans(ct_folder: Path) -> Iterator[tuple[str, CT, list[KnownBox], list[KnownBox]]]:
    """Name, CT, marked nodules and sure lesions of the scans that ship with the crops.

    The nodules of both LIDC scans are lesions for nobody: what ships is tried on them.
    """
    for name in ("LIDC-IDRI-0001", "LIDC-IDRI-0003"):
        ct = read_ct(ct_folder / name / "dicom")
        xml = next((ct_folder / name).glob("*.xml"), None)
        if xml is None:
            raise InputError(f"{ct_folder / name}: no *.xml with the readers' marks; restore LIDC-IDRI's own")
        yield name, ct, marked_boxes(xml, ct), []
    kernels = {kernel: read_ct(ct_folder / "LungDx-A0001" / kernel) for kernel in "LB"}
    mass = boxed_mass(ct_folder / "LungDx-A0001" / "boxes", list(kernels.values()))
    for kernel, ct in kernels.items():
        yield f"LungDx-A0001-{kernel}", ct, mass, mass


def marked_lungs(folder: Path) -> Iterator[tuple[str, CT, list[KnownBox], list[KnownBox]]]:
    """Name, CT, what `marks.csv` or the votes of nine algorithms call a nodule, and the sure ones, of `lungs/`."""
    with (folder / "marks.csv").open(newline="", encoding="utf-8") as file:
        marks = [row for row in csv.DictReader(file) if row["label"] in NEITHER]
    for scan in sorted(p for p in folder.iterdir() if p.is_dir()):
        ct = read_ct(scan, series_uid=None)
        here = [row for row in marks if row["scan"] == scan.name]
        known = [around(row) for row in here]
        sure = [around(row) for row in here if row["label"] in SURE and float(row["diameter_mm"]) >= LEAST_MM]
        votes = scan / "lesion_votes.nii.gz"
        if votes.is_file():
            known += voted(votes)
        yield scan.name, ct, known, sure


def around(row: dict[str, str]) -> KnownBox:
    """The box around a row of `marks.csv`."""
    center = np.array([float(row[f"{axis}_lps"]) for axis in "xyz"])
    radius = float(row["diameter_mm"]) / 2
    return tuple(center - radius), tuple(center + radius)


def voted(path: Path) -> list[KnownBox]:
    """The box around what any algorithm marked."""
    image = sitk.ReadImage(str(path))
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(sitk.Cast(image > 0, sitk.sitkUInt8))
    if not shape.HasLabel(1):
        return []
    first, size = np.array(shape.GetBoundingBox(1)).reshape(2, 3)
    ends = [image.TransformIndexToPhysicalPoint(index.tolist()) for index in (first, first + size - 1)]
    return [(tuple(np.min(ends, 0)), tuple(np.max(ends, 0)))]


def make_shipped_backgrounds(data: Path, out: Path) -> Iterator[str]:
    """Save the backgrounds of the scans of `data/ct` and `data/lungs` to `out/*.npz`, and say of each what it holds.

    Raises:
        MonaiLungError: a scan or its marks can't be read, or has no lungs; the files can't be written.
    """
    for scans in (known_scans(data / "ct"), marked_lungs(data / "lungs")):
        for name, ct, known, sure in scans:
            background = make_background(ct, segment_lungs(ct.hu, ct.affine_lps), known, name=name, lesions=sure)
            path = save_background(background, out)
            yield f"{path}: {' x '.join(map(str, background.hu.shape))}, {len(known)} known, {len(sure)} sure"
