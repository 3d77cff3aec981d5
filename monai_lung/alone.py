"""Single stages of the analysis, each in one call: the lungs alone, and where nodules could be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from monai_lung.model import CT, Lungs, Seed

if TYPE_CHECKING:
    from monai_lung.inference.networks import Finder


def segment_lungs(source: Any, affine_lps: NDArray[np.float64] | None = None) -> Lungs:
    """The right and the left lung of a chest CT, on its own grid. No network is loaded.

    Args:
        source: a path, a case of `io.find_cases`, a `CT`, a MetaTensor, a SimpleITK or nibabel image; or an array
            (X, Y, Z) in HU with `affine_lps`.
        affine_lps: (4, 4), voxel index to LPS mm; for an array.

    Returns:
        `labels` uint8 (X, Y, Z): 1 right, 2 left; with volumes in ml and warnings.

    Raises:
        MonaiLungError: the CT can't be read or has no lungs.

    >>> hu = np.full((140, 100, 60), -1000)
    >>> hu[8:132, 8:92] = 40  # a body of soft tissue, with two rooms of lung in it
    >>> hu[20:64, 22:78, 5:55] = hu[76:120, 22:78, 5:55] = -850
    >>> lungs = segment_lungs(hu, np.diag([2.5, 2.5, 5.0, 1.0]))
    >>> int(lungs.labels[40, 50, 30]), int(lungs.labels[100, 50, 30]), lungs.left_ml > 3000
    (1, 2, True)
    """
    return _chest(source, affine_lps)[1]


def find_nodules(
    source: Any,
    affine_lps: NDArray[np.float64] | None = None,
    *,
    finder: Finder | None = None,
    device: str = "auto",
) -> list[Seed]:
    """Where nodules could be in a chest CT, surest first. The finding network alone is loaded.

    Nothing is delineated or rated: `analyze` does that, and leaves out findings that are not nodules.

    Args:
        source: as for `segment_lungs`.
        affine_lps: (4, 4), voxel index to LPS mm; for an array.
        finder: of `inference.networks.load_finder`, for many CTs or a network of one's own; by default the shipped one.
        device: auto, cpu or cuda, to load it on.

    Returns:
        Places with `center_mm` (LPS), `score` (0...1) and a rough `diameter_mm`.

    Raises:
        MonaiLungError: the CT can't be read or has no lungs, weights are missing, or the device isn't there.

    >>> from monai_lung.phantom import PhantomSpec, make_phantom
    >>> phantom = make_phantom(PhantomSpec(size=144, pixel_mm=2.6))
    >>> places = find_nodules(phantom.hu, phantom.affine_lps)
    >>> [place.score for place in places] == sorted((place.score for place in places), reverse=True)
    True
    """
    from monai_lung.inference import find
    from monai_lung.inference.networks import choose_device, load_finder

    ct, lungs = _chest(source, affine_lps)
    return find(ct, lungs, finder or load_finder(choose_device(device)))


def _chest(source: Any, affine_lps: NDArray[np.float64] | None) -> tuple[CT, Lungs]:
    from monai_lung.chest import read_chest
    from monai_lung.io import Case, as_ct
    from monai_lung.lungs.segment import segment_lungs as segment

    if isinstance(source, Case | Path | str):
        return read_chest(source)
    ct = as_ct(source, affine_lps)
    return ct, segment(ct.hu, ct.affine_lps)
