"""Images in memory, of the libraries that people read CTs with, as a `CT`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_lung.errors import UsageError
from monai_lung.io.pixels import check_hu
from monai_lung.io.volumes import volume_of
from monai_lung.model import CT, LPS_RAS


def as_ct(image: Any, affine_lps: NDArray[np.float64] | None = None, *, name: str = "image") -> CT:
    """A CT of an image in HU that is in memory, with the checks that a volume file gets.

    Args:
        image: a `CT` (returned as it is), a MetaTensor (1, X, Y, Z) or (X, Y, Z) with MONAI's RAS affine, a SimpleITK
            image, a nibabel image, or an array (X, Y, Z) with `affine_lps`.
        affine_lps: (4, 4), voxel index to LPS mm; for an array, which does not hold its place.
        name: the case's name, which its folder will bear.

    Raises:
        UsageError: another type, or an array without an affine.
        GeometryError: not three-dimensional, too few slices, or an affine that can't be.
        NotCTError: the values are not HU.

    >>> import numpy as np
    >>> hu = np.full((4, 4, 8), -800.0)
    >>> hu[2:] = 40
    >>> as_ct(hu, np.diag([0.7, 0.7, 1.25, 1.0]))
    CT('image', 4 x 4 x 8 voxels of 0.7 x 0.7 x 1.25 mm)
    """
    if isinstance(image, CT):
        return image
    values, found = _values_and_affine(image)
    affine = found if affine_lps is None else np.asarray(affine_lps, float)
    if affine is None:
        raise UsageError(
            f"{type(image).__name__}: an array has no voxel size and position: "
            "call as_ct(array, affine_lps), with the affine from voxel index to LPS mm"
        )
    if affine.shape != (4, 4):
        raise UsageError(f"the affine is {affine.shape}, (4, 4) is needed")
    hu, affine, warnings, resampled = volume_of(values, affine, Path(name))
    check_hu(hu, name)
    return CT(hu, affine, name, Path(name), warnings=warnings, resampled=resampled)


def _values_and_affine(image: Any) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
    """Values (X, Y, Z), and the LPS affine, None where the image has none."""
    if hasattr(image, "GetDirection") and hasattr(image, "GetSpacing"):  # SimpleITK
        return _of_itk(image)
    if hasattr(image, "dataobj") and hasattr(image, "affine"):  # nibabel
        return np.asanyarray(image.dataobj), LPS_RAS @ np.asarray(image.affine, float)
    affine = None
    if hasattr(image, "detach"):  # torch, and MONAI's MetaTensor
        affine = LPS_RAS @ np.asarray(image.affine, float) if hasattr(image, "affine") else None
        image = image.detach().cpu().numpy()
    if not isinstance(image, np.ndarray):
        raise UsageError(
            f"a {type(image).__name__} can't be analysed: give a path, a CT, a MetaTensor, a SimpleITK or nibabel "
            "image, or as_ct(array, affine_lps)"
        )
    return (image[0] if image.ndim == 4 and image.shape[0] == 1 else image), affine


def _of_itk(image: Any) -> tuple[NDArray[Any], NDArray[np.float64]]:
    import SimpleITK as sitk

    n, affine = image.GetDimension(), np.eye(4)
    used = min(n, 3)
    direction = np.reshape(image.GetDirection(), (n, n)) * image.GetSpacing()
    affine[:used, :used], affine[:used, 3] = direction[:used, :used], image.GetOrigin()[:used]
    return sitk.GetArrayViewFromImage(image).T, affine
