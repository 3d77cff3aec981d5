"""One orientation for the networks, whatever way the slices were stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nibabel.orientations as orientations
import numpy as np
from numpy.typing import NDArray

from monai_lung.model import LPS_RAS


@dataclass(frozen=True)
class Orientation:
    """How the axes of a CT are turned and mirrored to run to the patient's left, back and head, as nearly as they can.

    The networks see every CT this way, so that mirrored slices or another slice order give the very same result.
    """

    to_canonical: NDArray[np.float64]
    shape: tuple[int, int, int]
    """Of the CT's own array."""

    @classmethod
    def of(cls, affine_lps: NDArray[np.float64], shape: tuple[int, ...]) -> Orientation:
        """The orientation of a CT with this affine and array shape."""
        now = orientations.io_orientation(LPS_RAS @ affine_lps)
        lps = orientations.axcodes2ornt(("L", "P", "S"))
        return cls(orientations.ornt_transform(now, lps), (shape[0], shape[1], shape[2]))

    def turn(self, array: NDArray[Any]) -> NDArray[Any]:
        """A view of `array` (X, Y, Z) with canonical axes."""
        return orientations.apply_orientation(array, self.to_canonical)

    def turn_affine(self, affine_lps: NDArray[np.float64]) -> NDArray[np.float64]:
        """The affine (4, 4) of the turned array."""
        return affine_lps @ orientations.inv_ornt_aff(self.to_canonical, self.shape)

    def turn_back(self, box: NDArray[Any], offset: tuple[int, int, int]) -> tuple[NDArray[Any], tuple[int, int, int]]:
        """A box of the canonical grid that starts at `offset`, on the CT's own grid, and where it starts there."""
        back = np.empty_like(self.to_canonical)
        own_offset = [0, 0, 0]
        for own, (axis, flip) in enumerate(self.to_canonical):
            axis = int(axis)
            back[axis] = own, flip
            end = offset[axis] + box.shape[axis]
            own_offset[own] = offset[axis] if flip > 0 else self.shape[own] - end
        turned = np.ascontiguousarray(orientations.apply_orientation(box, back))
        return turned, (own_offset[0], own_offset[1], own_offset[2])
