"""From labels that people drew on whole CTs to crops for training. This file needs no MONAI Label."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cc3d
import nibabel
import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray

from monai_lung.errors import MaskError
from monai_lung.model import CT
from monai_lung.pipeline import SMALLEST_MM

MARGIN_MM = 24.0
"""Around a nodule: half a patch (15 mm), on the coarsest grid of the augmentation (1.25), and the seed's jitter (4)."""
_COLUMNS = ("id", "patient", "n_readers", "diameter_mm")
_LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def nodule_mask(path: Path, info: Mapping[str, Any], ct: CT) -> NDArray[np.bool_]:
    """Where a label says nodule, bool (X, Y, Z) on the grid of `ct`.

    Args:
        path: the label: NIfTI or NRRD, on any grid (what DICOM SEG leads to may hold some slices only).
        info: what came with it, see `nodule_values`.
        ct: the CT that it was drawn on.

    Raises:
        MaskError: it can't be read, doesn't say which value is nodule, or lies outside the CT.
    """
    present, label = _values(path)
    wanted = nodule_values(present, info, str(path))
    values = sitk.GetArrayViewFromImage(label)
    drawn = sitk.GetImageFromArray(np.isin(values, wanted).astype(np.uint8))
    drawn.CopyInformation(label)
    on_grid = sitk.Resample(drawn, _reference(ct), sitk.Transform(), sitk.sitkNearestNeighbor)
    mask = sitk.GetArrayFromImage(on_grid).T.astype(bool)
    if wanted and not mask.any():
        raise MaskError(f"{path}: its nodules lie outside the CT; draw them on this very CT")
    return mask


def nodule_values(present: Sequence[int], info: Mapping[str, Any], name: str) -> list[int]:
    """Which of the values in a label mean nodule.

    `info["label_info"]` is the list that 3D Slicer and OHIF send: each entry has a name, and a value as `idx` or by its
    place, from 1. 3D Slicer leaves a gap in `idx` where a segment wasn't sent, and none in the values: then the place
    counts. `info["params"]["label_names"]` maps names to values: what the server's own results carry. Where neither is
    there, a label of one value is taken for nodule.

    Raises:
        MaskError: several values and no names, or names that can't be read.
    """
    try:
        named = {value: str(entry.get("name", "")) for value, entry in _entries(present, info).items()}
        if not named:
            named = {int(v): str(k) for k, v in (info.get("params", {}).get("label_names") or {}).items()}
    except (AttributeError, TypeError, ValueError) as error:  # whatever a client has sent
        raise MaskError(f"{name}: what came with it doesn't name its values ({error}); submit it again") from error
    if named:
        return [value for value in present if "nodule" in named.get(value, "").lower()]
    if len(present) > 1:
        raise MaskError(f"{name}: values {present} and nothing says which is nodule; name the segment nodule")
    return list(present)


def entries_present(path: Path, info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of `info["label_info"]` the entries whose values are in a label, in the order of the values.

    MONAI Label gives the first name to the first value that it finds: where a segment is empty, a DICOM SEG of it would
    call a nodule a lung.

    Raises:
        MaskError: the label or the names can't be read.
    """
    present, _ = _values(path)
    try:
        entries = _entries(present, info)
    except (AttributeError, TypeError, ValueError) as error:
        raise MaskError(f"{path}: what came with it doesn't name its values ({error}); submit it again") from error
    return [{**entries.get(value, {"name": "unknown"}), "idx": value} for value in present]


def segment_info(folder: Path) -> list[dict[str, Any]]:
    """Names and values of the segments of the DICOM SEG in a folder, as `label_info`; empty where there is none."""
    for path in sorted(folder.glob("*.dcm")):
        data = pydicom.dcmread(path, stop_before_pixels=True)
        found = [{"name": str(s.SegmentLabel), "idx": int(s.SegmentNumber)} for s in data.get("SegmentSequence", [])]
        if found:
            return found
    return []


def _entries(present: Sequence[int], info: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """What a client says of each value."""
    listed = info.get("label_info") or []
    entries = {int(entry.get("idx", n)): entry for n, entry in enumerate(listed, start=1)}
    if not entries.keys() >= set(present) and len(listed) >= max(present):
        return dict(enumerate(listed, start=1))
    return entries


def _values(path: Path) -> tuple[list[int], sitk.Image]:
    """The values in a label but 0, and the label; MaskError where it can't be read."""
    try:
        label = sitk.ReadImage(str(path))
        values = sitk.GetArrayViewFromImage(label)
    except RuntimeError as error:
        raise MaskError(f"{path}: can't be read as a label ({' '.join(str(error).split())[-120:]})") from error
    if values.ndim != 3:
        raise MaskError(f"{path}: {values.ndim} dimensions; export one label map, with a value for each segment")
    return [int(v) for v in np.unique(values) if v], label


def write_crops(folder: Path, scans: Iterable[tuple[str, CT, NDArray[np.bool_]]]) -> dict[str, int]:
    """Write the nodules of labelled CTs as a crop folder (`monai_lung.data.crops`), one reader each.

    A nodule is a connected part of the mask; one below `SMALLEST_MM` is left out as a stray stroke.

    Args:
        folder: gets nodules.csv, images/ and readers/.
        scans: name, CT, and mask on its grid, one after the other.

    Returns:
        Nodules of each scan that has any.
    """
    rows: list[dict[str, Any]] = []
    for kind in ("images", "readers"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for name, ct, mask in scans:
        for nodule in _nodules(mask, ct):
            volume_mm3 = float(nodule.sum() * ct.voxel_mm3)
            crop_id = f"{_safe(name)}-{len(rows)}"
            hu, marks, affine = _crop(ct, nodule)
            nibabel.save(nibabel.Nifti1Image(hu, affine), folder / "images" / f"{crop_id}.nii.gz")
            nibabel.save(nibabel.Nifti1Image(marks, affine), folder / "readers" / f"{crop_id}.nii.gz")
            diameter_mm = 2 * (3 * volume_mm3 / (4 * np.pi)) ** (1 / 3)
            rows.append({"id": crop_id, "patient": name, "n_readers": 1, "diameter_mm": f"{diameter_mm:.2f}"})
    with (folder / "nodules.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, _COLUMNS)
        table.writeheader()
        table.writerows(rows)
    return {name: sum(row["patient"] == name for row in rows) for name in dict.fromkeys(r["patient"] for r in rows)}


def split(scans: Iterable[str], share: float) -> tuple[list[str], list[str]]:
    """Scans to train on and scans to validate on; about `share` of them, at least one, are the latter.

    A scan keeps its side from one training to the next as far as it can: the order is that of its name's hash. A single
    scan is on both sides, so that its loss before and after can be told at all.
    """
    names = sorted(scans, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    if len(names) < 2:
        return names, names
    held = min(len(names) - 1, max(1, round(share * len(names))))
    return names[held:], names[:held]


def _nodules(mask: NDArray[np.bool_], ct: CT) -> Iterator[NDArray[np.bool_]]:
    """Connected parts of a mask (X, Y, Z), by their place."""
    labels, count = cc3d.connected_components(mask, connectivity=26, return_N=True)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    for n in range(1, count + 1):
        if sizes[n] * ct.voxel_mm3 >= np.pi / 6 * SMALLEST_MM**3:
            yield labels == n


def _crop(ct: CT, nodule: NDArray[np.bool_]) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.float64]]:
    """HU, marks and RAS affine of a nodule with `MARGIN_MM` around it, as far as the CT goes."""
    index = np.argwhere(nodule)
    margin = np.ceil(MARGIN_MM / np.array(ct.spacing_mm)).astype(int)
    low = np.maximum(index.min(0) - margin, 0)
    high = np.minimum(index.max(0) + 1 + margin, nodule.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    affine = ct.affine_lps.copy()
    affine[:3, 3] = ct.to_world(low.astype(float))
    return ct.hu[box], nodule[box].astype(np.uint8), _LPS_RAS @ affine


def _reference(ct: CT) -> sitk.Image:
    """An empty image on the grid of `ct`."""
    image = sitk.Image([int(n) for n in ct.hu.shape], sitk.sitkUInt8)
    spacing = np.array(ct.spacing_mm)
    image.SetSpacing([float(s) for s in spacing])
    image.SetOrigin([float(v) for v in ct.affine_lps[:3, 3]])
    image.SetDirection([float(v) for v in (ct.affine_lps[:3, :3] / spacing).ravel()])
    return image


def _safe(name: str) -> str:
    """A file name's part."""
    return re.sub(r"[^\w.-]", "_", name)[:64]
