"""One scan of LIDC-IDRI from its DICOM folder to training data: CT, lungs, votes, crops."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monai_lung.io import read_ct, replacing_folder, write_nifti
from monai_lung.lidc.grid import draw_nodules
from monai_lung.lidc.index import Scan
from monai_lung.lidc.nodules import MarkedNodule, agreed_diameter_mm
from monai_lung.lidc.votes import ReaderMasks
from monai_lung.lidc.xml import check_ratings, read_xml
from monai_lung.lungs import segment_lungs
from monai_lung.model import CT, Index, Lungs

RECORD = "record.json"
MARGIN_MM = 15.0
"""Least context of a crop on each of its six sides, as far as the scan reaches."""

Row = Mapping[str, object]
Marked = Sequence[tuple[MarkedNodule, ReaderMasks]]


@dataclass(frozen=True)
class Settings:
    """Options for the output of each scan.

    Attributes:
        min_readers: least marks of a nodule that becomes a crop.
    """

    min_readers: int = 3


@dataclass(frozen=True)
class Record:
    """The output of a scan: columns of the manifest, rows of `nodules.csv`."""

    settings: Settings
    scan: Row
    nodules: list[Row]


def scan_name(scan: Scan) -> str:
    """Name of a scan's folder: patient and scan id, as in its nodules' ids."""
    return f"{scan.patient}_s{scan.id}"


def read_record(folder: Path) -> Record | None:
    """The output of an earlier run for a scan, None without any; of version 0.1 too, which made more."""
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        scan = {name: value for name, value in content["scan"].items() if name not in ("backgrounds", "subcases")}
        return Record(Settings(content["settings"]["min_readers"]), scan, content["nodules"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def prepare_scan(scan: Scan, source: Path, out: Path, settings: Settings) -> Record:
    """Prepare one scan; its folder in `out/scans` appears last, whole.

    Raises:
        InputError: the series is damaged, incomplete or no chest, or an XML file beside it contradicts the database.
        OutputError: no space, no permission.
    """
    for xml in sorted(source.glob("*.xml")):
        check_ratings(scan, read_xml(xml))
    ct = read_ct(source, series_uid=scan.series_uid)
    nodules = draw_nodules(ct, scan)
    votes = _votes(ct, nodules)
    with replacing_folder(out / "scans" / scan_name(scan)) as folder:
        lungs = segment_lungs(ct.hu, ct.affine_lps)
        for name, array in (("ct", ct.hu), ("lungs", lungs.labels), ("votes", votes)):
            write_nifti(folder / f"{name}.nii.gz", array, ct.affine_lps)
        crops = [_write_crop(ct, *n, out) for n in nodules if n[1].n_readers >= settings.min_readers]
        record = Record(settings, {**_about(ct, lungs), "nodules": len(nodules), "crops": len(crops)}, crops)
        (folder / RECORD).write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")
    return record


def _about(ct: CT, lungs: Lungs) -> Row:
    sx, sy, sz = ct.spacing_mm
    return {
        "slices": ct.hu.shape[2],
        "sx": sx,
        "sy": sy,
        "sz": sz,
        "right_lung_ml": round(lungs.right_ml, 1),
        "left_lung_ml": round(lungs.left_ml, 1),
        "warnings": " ".join((*ct.warnings, *lungs.warnings)),
    }


def _votes(ct: CT, nodules: Marked) -> NDArray[np.uint8]:
    """The most votes that any nodule has in each voxel of the CT."""
    votes = np.zeros(ct.hu.shape, np.uint8)
    for _, masks in nodules:
        box = votes[_box(masks.offset, masks.bits.shape)]
        np.maximum(box, masks.votes(), out=box)
    return votes


def _write_crop(ct: CT, nodule: MarkedNodule, masks: ReaderMasks, out: Path) -> Row:
    """A nodule with `MARGIN_MM` of context on each side, where the scan reaches; returns its row of `nodules.csv`."""
    margin = np.ceil(MARGIN_MM / np.array(ct.spacing_mm)).astype(int)
    low = np.maximum(masks.offset - margin, 0)
    high = np.minimum(np.add(masks.offset, masks.bits.shape) + margin, ct.hu.shape)
    start, shape = _index(low), _index(high - low)
    _write_hu(ct, start, shape, out / "images" / f"{nodule.id}.nii.gz")
    write_nifti(out / "readers" / f"{nodule.id}.nii.gz", masks.on(start, shape).bits, _affine_at(ct, start))
    return {**nodule.row(), "diameter_mm": agreed_diameter_mm(masks, ct.voxel_mm3), **_place(ct, start, shape)}


def _write_hu(ct: CT, start: Index, shape: Index, path: Path) -> None:
    write_nifti(path, ct.hu[_box(start, shape)], _affine_at(ct, start))


def _place(ct: CT, start: Index, shape: Index) -> Row:
    """The columns that say where a box lies in its scan."""
    names, values = ("nx", "ny", "nz", "sx", "sy", "sz"), (*shape, *ct.spacing_mm)
    z0_mm = float(_affine_at(ct, start)[2, 3])
    return {**dict(zip(names, values, strict=True)), "x0": start[0], "y0": start[1], "z0_mm": round(z0_mm, 6)}


def _affine_at(ct: CT, start: Index) -> NDArray[np.float64]:
    """LPS affine of a box that starts at a voxel."""
    affine = ct.affine_lps.copy()
    affine[:3, 3] = ct.to_world(np.array(start, float))
    return affine


def _box(start: Index, shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(first, first + n) for first, n in zip(start, shape, strict=True))


def _index(values: NDArray[np.int_]) -> Index:
    x, y, z = values.tolist()
    return x, y, z
