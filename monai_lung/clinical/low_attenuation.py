"""Emphysema as CT shows it: the share of each lung below -950 HU.

The measure is LAA-950 of the COPDGene study (Schroeder et al., AJR 2013, doi 10.2214/AJR.12.10102), made for thin
slices, a smooth kernel and full inspiration. Noise of a sharp kernel raises it, thick slices and shallow breath lower
it; it suggests emphysema and never decides.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monai_lung.model import CT, LEFT_LUNG, RIGHT_LUNG, Lungs

LIMIT_HU = -950


def low_attenuation_percent(ct: CT, lungs: Lungs) -> tuple[float | None, float | None]:
    """Share of the right and of the left lung below -950 HU, in per cent; None for a lung without a voxel.

    Args:
        ct: the examination.
        lungs: its lungs, on the same grid; without the large airways.
    """
    low = ct.hu < LIMIT_HU
    right, left = (_percent(low, lungs.labels == label) for label in (RIGHT_LUNG, LEFT_LUNG))
    return right, left


def _percent(low: NDArray[np.bool_], lung: NDArray[np.bool_]) -> float | None:
    size = np.count_nonzero(lung)
    return float(100 * np.count_nonzero(low & lung) / size) if size else None
