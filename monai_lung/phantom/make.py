"""A synthetic chest CT whose truth is known exactly: to try and test with, never a measure of accuracy.

Body, bones, lungs, vessels and airways are simple solids (`anatomy`); nodules are solids of exact volume
(`nodules`). A slice is the mean over its thickness, then blurred by the kernel, then noise of the same kernel
is added. The same specification gives the same voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_lung.model import LEFT_LUNG, RIGHT_LUNG
from monai_lung.phantom.anatomy import AIR_HU, MAIN_AIRWAYS, lung_distance, paint_chest, trees
from monai_lung.phantom.canvas import Canvas, Field, tube_distance
from monai_lung.phantom.nodules import TrueNodule, paint_nodule, place
from monai_lung.phantom.spec import PhantomSpec, axes, offsets

_SLAB = 8
_SIGMA_MM = {"smooth": 1.1, "standard": 0.7, "sharp": 0.45}
_SHARPEN = 0.9
_AIRWAY_MM = 3.0


@dataclass(frozen=True)
class Phantom:
    """A synthetic chest CT with its truth, on one grid.

    Attributes:
        hu: int16 (X, Y, Z), padding included.
        affine_lps: float64 (4, 4), voxel index to LPS mm.
        nodule_labels: uint8 (X, Y, Z), k where nodule k fills at least half of the voxel.
        lung_labels: uint8 (X, Y, Z), 1 right and 2 left lung with vessels and nodules, without the larger airways.
        nodules: the truth of each nodule, in the specification's order.
        spec: what it was made from.
    """

    hu: NDArray[np.int16]
    affine_lps: NDArray[np.float64]
    nodule_labels: NDArray[np.uint8]
    lung_labels: NDArray[np.uint8]
    nodules: tuple[TrueNodule, ...]
    spec: PhantomSpec


def make_phantom(spec: PhantomSpec | None = None) -> Phantom:
    """Render a phantom: about 3 s for 256 x 256 x 60 voxels on one core.

    Raises:
        UsageError: a nodule lies outside the lungs.
    """
    spec = spec or PhantomSpec()
    placed = [place(n, nodule) for n, nodule in enumerate(spec.nodules, start=1)]
    shape = (spec.size, spec.size, spec.slices)
    hu = np.empty(shape, np.float32)
    lungs, labels = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for start in range(0, spec.slices, _SLAB):
        chosen = slice(start, min(start + _SLAB, spec.slices))
        canvas = _slices(spec, chosen)
        for nodule in placed:
            paint_nodule(canvas, spec, nodule, labels[:, :, chosen])
        hu[:, :, chosen] = canvas.hu
        lungs[:, :, chosen] = _lung_labels(canvas, spec.seed)
    final = np.rint(np.clip(_acquired(hu, spec), -1024, 3071)).astype(np.int16)
    if spec.padding_hu is not None:
        axis = np.arange(spec.size) - (spec.size - 1) / 2
        final[np.hypot(axis[:, None], axis) > spec.size / 2] = spec.padding_hu
    return Phantom(final, spec.affine_lps, labels, lungs, tuple(placed), spec)


def _slices(spec: PhantomSpec, chosen: slice) -> Canvas:
    """The chest without nodules, a few slices of it, averaged over their thickness."""
    along_z = offsets(spec, 2.5)
    fine = Canvas(*axes(spec, chosen, along_z), edge_mm=spec.pixel_mm, background_hu=AIR_HU)
    paint_chest(fine, seed=spec.seed, blood_hu=spec.blood_hu)
    canvas = Canvas(*axes(spec, chosen, np.zeros(1)), edge_mm=spec.pixel_mm, background_hu=AIR_HU)
    canvas.hu[:] = fine.hu.reshape(*fine.hu.shape[:2], -1, len(along_z)).mean(-1)
    return canvas


def _lung_labels(canvas: Canvas, seed: int) -> NDArray[np.uint8]:
    """Right and left lung at the voxels' centres, without airways of more than `_AIRWAY_MM` radius."""
    right, left = lung_distance(canvas.x, canvas.y, canvas.z)
    labels = np.where(right < 0, RIGHT_LUNG, np.where(left < 0, LEFT_LUNG, 0)).astype(np.uint8)
    for tube in (*MAIN_AIRWAYS, *(t for t in trees(seed)[1] if t.radius_mm > _AIRWAY_MM)):
        ends = np.stack([tube.start_mm, tube.end_mm])
        box = canvas.box(ends.min(0) - tube.radius_mm, ends.max(0) + tube.radius_mm)
        if box is not None:
            labels[box][tube_distance(tube, *canvas.crop(box)) < 0] = 0
    return labels


def _acquired(hu: Field, spec: PhantomSpec) -> Field:
    """Blur by the kernel and add noise that went through the same kernel; both in the plane of the slices."""
    rng = np.random.default_rng(spec.seed)
    result = np.empty_like(hu)
    for k in range(hu.shape[2]):
        noise = _blurred(rng.standard_normal(hu.shape[:2], np.float32), spec)
        result[:, :, k] = _blurred(hu[:, :, k], spec) + noise * (spec.noise_hu / max(float(noise.std()), 1e-6))
    return result


def _blurred(image: Field, spec: PhantomSpec) -> Field:
    """A slice through the reconstruction kernel; the sharp one overshoots at edges as real ones do."""
    blurred = ndimage.gaussian_filter(image, _SIGMA_MM[spec.kernel] / spec.pixel_mm, mode="nearest")
    if spec.kernel == "sharp":
        blurred += _SHARPEN * (blurred - ndimage.gaussian_filter(blurred, 1.2 / spec.pixel_mm, mode="nearest"))
    return blurred
