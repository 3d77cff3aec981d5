"""Lungs of two examinations brought into line: SimpleITK, affine and then deformable, within the lungs.

Breathing moves a nodule by centimetres, so that nodules of two examinations can be told apart only after that. From
two CTs the registration follows the HU within the lungs; from masks alone it follows the distance to the lungs'
surface, which says nothing of the vessels within and is coarser.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from monai_lung.errors import PriorError
from monai_lung.model import CT, LEFT_LUNG, RIGHT_LUNG, Lungs

GRID_MM = 3.0
"""Voxels are merged up to about this size: breathing is smooth, and the time grows with the cube."""

CONTROL_MM = 40.0
"""Distance of the control points of the deformation, at its finest."""

MARGIN_MM = 8.0
"""The margin that counts around the lungs: their border is where the contrast is."""

SAMPLED_SHARE = 0.05
"""Of the voxels; more takes longer and aligns no better."""

DISTANCE_LIMIT_MM = 30.0
"""Distances to the lungs' surface are cut here."""


@dataclass(frozen=True)
class Alignment:
    """Where a point of one examination (fixed) is in another (moving).

    `residual_mm` is the mean distance from the fixed lungs' surface, carried over, to the moving lungs' surface.
    """

    transform: sitk.Transform
    residual_mm: float

    def to_moving(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (n, 3) in LPS mm of the fixed examination, in LPS mm of the moving one."""
        return np.array([self.transform.TransformPoint(point) for point in np.asarray(points_mm, float).tolist()])

    def to_fixed(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """The way back: points (n, 3) in LPS mm of the moving examination, in LPS mm of the fixed one.

        Fixed-point iteration (Chen et al., Med Phys 2008, doi 10.1118/1.2816107): it ends within 0.01 mm wherever the
        deformation is as smooth as that of breathing.
        """
        points = np.asarray(points_mm, float).reshape(-1, 3)
        here = points.copy()
        for _ in range(50 if len(points) else 0):
            error = self.to_moving(here) - points
            here = here - error
            if np.abs(error).max(initial=0.0) < 0.01:
                break
        return here


@dataclass(frozen=True)
class _Side:
    """One examination, coarse: what is registered, where it counts, and the signed distance to the lungs' surface."""

    image: sitk.Image
    mask: sitk.Image
    distance: sitk.Image
    centers_mm: NDArray[np.float64]


def register(fixed: CT, fixed_lungs: Lungs, moving: CT, moving_lungs: Lungs) -> Alignment:
    """Align two CTs by the HU within their lungs.

    Args:
        fixed: the CT whose points are to be carried over.
        fixed_lungs: its lungs.
        moving: the CT they are carried to.
        moving_lungs: its lungs.

    Raises:
        PriorError: no lungs, a mask on another grid, or a registration that came to nothing.
    """
    sides = (_side(fixed_lungs, fixed.affine_lps, fixed.hu), _side(moving_lungs, moving.affine_lps, moving.hu))
    return _align(*sides)


def register_masks(
    fixed_lungs: Lungs,
    fixed_affine_lps: NDArray[np.float64],
    moving_lungs: Lungs,
    moving_affine_lps: NDArray[np.float64],
) -> Alignment:
    """Align two lung masks by their surfaces alone; coarser than `register`.

    Raises:
        PriorError: no lungs, or a registration that came to nothing.
    """
    return _align(_side(fixed_lungs, fixed_affine_lps, None), _side(moving_lungs, moving_affine_lps, None))


def _align(fixed: _Side, moving: _Side) -> Alignment:
    try:
        affine = _affine(fixed, moving)
        transform = sitk.CompositeTransform([affine, _deformable(fixed, moving, affine)])
        return Alignment(transform, _residual(fixed, moving, transform))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise PriorError(
            f"the lungs of both examinations can't be aligned: {reason}; compare without --prior"
        ) from error


def _affine(fixed: _Side, moving: _Side) -> sitk.Transform:
    """From centre of the lungs to centre, by the distance maps: they pull from afar, where HU doesn't."""
    start = sitk.AffineTransform(3)
    start.SetCenter(fixed.centers_mm.mean(axis=0).tolist())
    start.SetTranslation((moving.centers_mm.mean(axis=0) - fixed.centers_mm.mean(axis=0)).tolist())
    method = _method(shrink=(2,), smooth=(0,))
    method.SetMetricAsMeanSquares()
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.02, 60, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(start, inPlace=False)
    method.SetMetricFixedMask(fixed.mask)
    return method.Execute(fixed.distance, moving.distance)


def _deformable(fixed: _Side, moving: _Side, affine: sitk.Transform) -> sitk.Transform:
    """B-spline on top of the affine transform, coarse to fine."""
    size_mm = np.array(fixed.image.GetSize()) * fixed.image.GetSpacing()
    mesh = np.maximum(1, np.round(size_mm / (4 * CONTROL_MM))).astype(int).tolist()
    start = sitk.BSplineTransformInitializer(fixed.image, mesh)
    method = _method(shrink=(4, 2, 1), smooth=(2, 1, 0))
    method.SetMetricAsCorrelation()
    method.SetOptimizerAsLBFGS2(numberOfIterations=20)
    method.SetMovingInitialTransform(affine)
    method.SetInitialTransformAsBSpline(start, inPlace=True, scaleFactors=[1, 2, 4])
    method.SetMetricFixedMask(fixed.mask)
    method.Execute(fixed.image, moving.image)
    return start


def _method(shrink: tuple[int, ...], smooth: tuple[float, ...]) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)  # sums in one order: the same result every time
    method.SetInterpolator(sitk.sitkLinear)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(SAMPLED_SHARE, 1)  # a seed: samples are jittered
    method.SetShrinkFactorsPerLevel(shrink)
    method.SetSmoothingSigmasPerLevel(smooth)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    return method


def _side(lungs: Lungs, affine_lps: NDArray[np.float64], hu: NDArray[np.int16] | None) -> _Side:
    """Crop to the lungs, merge voxels to about `GRID_MM`, and take distances."""
    if not lungs.labels.any():
        raise PriorError("an examination without lungs can't be compared: is its lung mask empty?")
    if hu is not None and hu.shape != lungs.labels.shape:
        raise PriorError(
            f"a lung mask of {lungs.labels.shape} doesn't fit its CT of {hu.shape}: both must be on one grid"
        )
    box, affine = _lung_box(lungs.labels, affine_lps)
    labels = lungs.labels[box]
    centers = [_center(labels == side, affine) for side in (RIGHT_LUNG, LEFT_LUNG) if (labels == side).any()]
    lung = _image((labels > 0).astype(np.float32), affine)
    factors = [max(1, round(GRID_MM / spacing)) for spacing in lung.GetSpacing()]
    lung = sitk.BinShrink(lung, factors)
    distance = sitk.SignedMaurerDistanceMap(lung > 0.5, squaredDistance=False, useImageSpacing=True)
    distance = sitk.Cast(
        sitk.Clamp(distance, sitk.sitkFloat32, -DISTANCE_LIMIT_MM, DISTANCE_LIMIT_MM), sitk.sitkFloat32
    )
    mask = sitk.Cast(distance < MARGIN_MM, sitk.sitkUInt8)
    if hu is None:
        return _Side(distance, mask, distance, np.array(centers))
    image = sitk.BinShrink(_image(np.clip(hu[box], -1000, 100).astype(np.float32), affine), factors)
    return _Side(image, mask, distance, np.array(centers))


def _lung_box(
    labels: NDArray[np.uint8], affine_lps: NDArray[np.float64]
) -> tuple[tuple[slice, slice, slice], NDArray[np.float64]]:
    """The box of the lungs with a margin, and the affine of what is in it."""
    margin = np.ceil(2 * MARGIN_MM / np.linalg.norm(affine_lps[:3, :3], axis=0)).astype(int)
    bounds = []
    for axis in range(3):
        occupied = np.flatnonzero(labels.any(axis=tuple(a for a in range(3) if a != axis)))
        bounds.append((max(0, occupied[0] - margin[axis]), min(labels.shape[axis], occupied[-1] + 1 + margin[axis])))
    affine = affine_lps.copy()
    affine[:3, 3] = affine_lps[:3, :3] @ [low for low, _ in bounds] + affine_lps[:3, 3]
    (a, b), (c, d), (e, f) = bounds
    return (slice(a, b), slice(c, d), slice(e, f)), affine


def _center(mask: NDArray[np.bool_], affine_lps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre of mass in LPS mm."""
    sums = [mask.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
    index = np.array([float(s @ np.arange(len(s)) / s.sum()) for s in sums])
    return np.asarray(affine_lps[:3, :3] @ index + affine_lps[:3, 3])


def _image(array: NDArray[np.float32], affine_lps: NDArray[np.float64]) -> sitk.Image:
    """(X, Y, Z) with an LPS affine as SimpleITK has it."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    spacing = np.linalg.norm(affine_lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine_lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine_lps[:3, 3].tolist())
    return image


def _residual(fixed: _Side, moving: _Side, transform: sitk.Transform) -> float:
    """Mean distance between the lungs' surfaces, mm."""
    near = np.abs(sitk.GetArrayViewFromImage(fixed.distance)) <= GRID_MM / 2
    carried = sitk.Resample(moving.distance, fixed.distance, transform, sitk.sitkLinear, DISTANCE_LIMIT_MM)
    return float(np.abs(sitk.GetArrayViewFromImage(carried)[near]).mean())
