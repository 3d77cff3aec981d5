"""Outlines that people have of nodules, on a CT's grid: NIfTI, NRRD, MHA, DICOM SEG, RTSTRUCT, or an array."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_lung.errors import InputError, MaskError, UsageError
from monai_lung.extras import require
from monai_lung.grid import Grid, bounding_box
from monai_lung.io.paths import shown
from monai_lung.model import CT, Outline, Seed

_OFF_GRID = 0.1
"""Of a voxel: how far a mask's voxel may lie from the CT's and still be the same."""
_LUNG = "39607008"
"""SNOMED CT's code of the lung, whose segments are not nodules."""


@dataclass(frozen=True)
class _Part:
    """The voxels of one nodule, bool (X, Y, Z), on a grid of its own."""

    mask: NDArray[np.bool_]
    grid: Grid


def read_outlines(mask: Path | str | NDArray[Any], ct: CT) -> list[Outline]:
    """The nodules of a mask as outlines on the grid of `ct`.

    A file of several labels has a nodule in each; one of a single label has a nodule in each connected part of it. A
    SEG has a nodule in each segment that isn't a lung, an RTSTRUCT in each ROI with contours that isn't called so.

    Args:
        mask: path of a NIfTI, NRRD, MHA, DICOM SEG or RTSTRUCT, or an array (X, Y, Z) on the grid of `ct`.
        ct: that the mask belongs to. Its voxels may be stored in another order, or be a part of it, but not be others.

    Raises:
        UsageError: the path isn't there, or a library is missing.
        InputError: the file can't be read.
        MaskError: it's empty, or its voxels aren't those of the CT.
    """
    if isinstance(mask, np.ndarray):
        if mask.shape != ct.hu.shape:
            raise MaskError(
                f"the mask has {mask.shape} voxels, the CT {ct.hu.shape}: the mask must have the CT's voxel grid"
            )
        parts, what = list(_labelled(mask, ct.grid)), "the mask"
    else:
        path = Path(mask)
        if not path.is_file():
            raise UsageError(f"{shown(path)}: there is no such file")
        parts, what = list(_of_file(path, ct)), shown(path)
    if not parts:
        raise MaskError(f"{what} is empty: no voxel is marked in it")
    return [_on_ct(part, ct, what) for part in parts]


def _of_file(path: Path, ct: CT) -> Iterator[_Part]:
    with path.open("rb") as file:
        is_dicom = file.read(132)[128:] == b"DICM"
    if is_dicom:
        return _of_dicom(path, ct)
    from monai_lung.io.volumes import read_volume

    labels, affine, *_ = read_volume(path, whole=True)
    return _labelled(labels, Grid.of(labels, affine))


def _labelled(labels: NDArray[Any], grid: Grid) -> Iterator[_Part]:
    """A part for each value above 0; of a single one, for each connected piece."""
    import cc3d

    labels = np.rint(np.nan_to_num(labels)).astype(np.int32) if labels.dtype.kind == "f" else labels
    values = [int(v) for v in np.unique(labels) if v > 0]
    if len(values) == 1:
        labels = cc3d.connected_components(np.asarray(labels == values[0]), connectivity=26)
        values = list(range(1, int(labels.max()) + 1))
    for value in values:
        box = bounding_box(labels == value)
        yield _Part(labels[box] == value, grid.part(box))


def _of_dicom(path: Path, ct: CT) -> Iterator[_Part]:
    from pydicom import dcmread

    kind = dcmread(path, stop_before_pixels=True, specific_tags=["Modality"]).get("Modality")
    if kind == "SEG":
        return _of_seg(path)
    if kind == "RTSTRUCT":
        return _of_rtstruct(path, ct)
    raise InputError(f"{shown(path)}: is a DICOM {kind} object; a SEG or an RTSTRUCT is needed")


def _of_seg(path: Path) -> Iterator[_Part]:
    """The segments of a DICOM Segmentation but the lungs'."""
    highdicom = require("highdicom", "a DICOM SEG")
    try:
        seg = highdicom.seg.segread(path)
        for description in seg.SegmentSequence:
            if description.SegmentedPropertyTypeCodeSequence[0].get("CodeValue") == _LUNG:
                continue
            volume = seg.get_volume(
                segment_numbers=[int(description.SegmentNumber)], combine_segments=True, allow_missing_positions=True
            )
            mask = np.asarray(volume.array > 0).transpose(2, 1, 0)
            affine = volume.affine[:, [2, 1, 0, 3]]
            if mask.any():
                box = bounding_box(mask)
                yield _Part(mask[box], Grid.of(mask, affine).part(box))
    except (AttributeError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise InputError(f"{shown(path)}: can't be read as a Segmentation ({type(error).__name__}: {error})") from error


def _of_rtstruct(path: Path, ct: CT) -> Iterator[_Part]:
    """The ROIs of an RTSTRUCT but those called lung, drawn on the slices of its series."""
    rt_utils = require("rt_utils", "an RTSTRUCT", extra="rtstruct")
    if not ct.slices:
        raise MaskError(f"{shown(path)}: an RTSTRUCT refers to DICOM slices, but the CT is a volume file")
    if ct.resampled:
        raise MaskError(
            f"{shown(path)}: the CT was resampled (tilt, gaps), so an RTSTRUCT can't be used: give a volume file"
        )
    try:
        struct = rt_utils.RTStructBuilder.create_from(str(ct.slices[0].path.parent), str(path))
        names = [name for name in struct.get_roi_names() if "lung" not in name.lower()]
        masks = [np.asarray(struct.get_roi_mask_by_name(name)) for name in names]
    except Exception as error:
        raise InputError(f"{shown(path)}: can't be read as an RTSTRUCT ({type(error).__name__}: {error})") from error
    for mask in masks:  # (rows, columns, slices), in the order of the slices' places
        turned = mask.transpose(1, 0, 2)
        yield from _labelled(turned.astype(np.uint8), ct.grid)


def _on_ct(part: _Part, ct: CT, what: str) -> Outline:
    """The part on the CT's own voxels.

    Raises:
        MaskError: its voxels aren't those of the CT.
    """
    index = ct.to_index(part.grid.to_world(np.argwhere(part.mask).astype(float)))
    nearest = np.rint(index).astype(int)
    size = abs(np.linalg.det(part.grid.affine_lps[:3, :3])) / ct.voxel_mm3
    if np.abs(index - nearest).max() > _OFF_GRID or not 0.98 < size < 1.02:
        spacing = " x ".join(f"{v:.2f}" for v in part.grid.spacing_mm)
        own = " x ".join(f"{v:.2f}" for v in ct.spacing_mm)
        raise MaskError(f"{what} has another voxel grid ({spacing} mm) than the CT ({own} mm): resample it to the CT's")
    if (nearest < 0).any() or (nearest >= ct.hu.shape).any():
        raise MaskError(f"{what} extends beyond the CT: it was made on another one")
    return outline_of(nearest, ct)


def outline_of(index: NDArray[np.int_], ct: CT) -> Outline:
    """The outline of these voxels (n, 3) of `ct`: the probability is the mask itself."""
    low, high = index.min(0), index.max(0) + 1
    mask = np.zeros(high - low, bool)
    mask[tuple((index - low).T)] = True
    x, y, z = (float(v) for v in ct.to_world(index.mean(0)))
    volume_mm3 = len(index) * ct.voxel_mm3
    seed = Seed((x, y, z), 1.0, float(np.cbrt(6 * volume_mm3 / np.pi)))
    i, j, k = (int(v) for v in low)
    return Outline(mask, mask.astype(np.float32), (i, j, k), seed)
