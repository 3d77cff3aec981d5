"""The reader for MONAI's `LoadImage`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import ensure_tuple
from monai.utils.enums import MetaKeys, SpaceKeys
from numpy.typing import NDArray

from monai_lung.errors import UsageError
from monai_lung.io.cases import Case
from monai_lung.io.reader import read_ct
from monai_lung.model import CT, LPS_RAS


class CTReader(ImageReader):
    """Reads a chest CT with all checks of `read_ct`: `LoadImaged(keys, reader="monai_lung.io.CTReader")`.

    Takes what `read_ct` takes: DICOM folders, zip archives and files, NIfTI, NRRD, MHA; and a case of `find_cases`
    where `LoadImaged` has `expanduser=False`. The image is in HU, clipped at -1024, with MONAI's RAS affine; `latest`
    is the CT that was read last, with all that MONAI's metadata have no place for.

    Files are opened in `get_data`, not in `read`: `LoadImage` swallows what `read` raises and continues with its own
    readers, which check nothing.

    Args:
        series_uid: the DICOM series to read; without it the best axial CT is chosen.
        allow_gaps: interpolate missing slices rather than refuse them.
    """

    def __init__(self, series_uid: str | None = None, allow_gaps: bool = False) -> None:
        super().__init__()
        self.series_uid = series_uid
        self.allow_gaps = allow_gaps
        self.latest: CT | None = None

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """True: what a file holds is decided by its content."""
        return True

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> tuple[Path | Case, ...]:
        """The paths or cases that were given; nothing is opened yet."""
        return tuple(one if isinstance(one, Case) else Path(one) for one in ensure_tuple(data))

    def get_data(self, img: tuple[Path | Case, ...]) -> tuple[NDArray[np.int16], dict[str, Any]]:
        """HU int16 (X, Y, Z) and MONAI's metadata.

        Raises:
            UsageError: more than one path was given.
            MonaiLungError: as `read_ct`.
        """
        if len(img) != 1:
            raise UsageError(f"CTReader reads one CT at a time, {len(img)} paths were given")
        self.latest = ct = self.ct_of(img[0])
        return ct.hu, _metadata(ct)

    def ct_of(self, source: Path | Case) -> CT:
        """The CT of a path or a case; errors as `read_ct`."""
        return read_ct(source, series_uid=self.series_uid, allow_gaps=self.allow_gaps)


def _metadata(ct: CT) -> dict[str, Any]:
    affine = LPS_RAS @ ct.affine_lps
    return {
        MetaKeys.AFFINE: affine,
        MetaKeys.ORIGINAL_AFFINE: affine.copy(),
        MetaKeys.SPATIAL_SHAPE: np.asarray(ct.hu.shape),
        MetaKeys.SPACE: SpaceKeys.RAS,
        MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan"),
        "filename_or_obj": str(ct.path),
    }
