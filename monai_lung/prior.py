"""The earlier examination that growth is measured against: a CT, or the folder of an earlier result."""

from __future__ import annotations

import datetime
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from monai_lung.clinical.growth import PriorExamination, PriorNodule
from monai_lung.errors import MonaiLungError, PriorError
from monai_lung.model import LPS_RAS, Lungs

if TYPE_CHECKING:
    from monai_lung.analysis import Found, Options


def read_prior(path: Path, options: Options) -> PriorExamination:
    """What is known of an earlier examination before it's analysed; its `ct` is None for an earlier result.

    Args:
        path: a CT as `io.read_ct` takes it, or a folder with `findings.json` and `lungs.nii.gz`.
        options: of the analysis.

    Raises:
        PriorError: an earlier result is incomplete or damaged.
        InputError: the CT or the findings can't be read.
    """
    if (path / "findings.json").is_file():
        try:
            return _from_result(path)
        except (MonaiLungError, MemoryError):
            raise
        except Exception as error:  # foreign files: JSON of another make, dates, gzip and NIfTI each raise their own
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise PriorError(f"{path}: a damaged result ({reason}); analyse that CT again, or give it") from error
    from monai_lung.chest import read_chest

    ct, lungs = read_chest(path, allow_gaps=options.allow_gaps)
    return PriorExamination(lungs, ct.affine_lps, (), ct.study_date, ct.patient_key, ct)


def find_prior(earlier: PriorExamination, found: Found) -> PriorExamination:
    """`earlier` with the lungs and nodules that were found in its CT."""
    return replace(earlier, lungs=found.lungs, nodules=found.measurements)


def _from_result(folder: Path) -> PriorExamination:
    import nibabel

    from monai_lung.report import findings

    content = findings.read(folder / "findings.json")
    mask = folder / "lungs.nii.gz"
    if not mask.is_file():
        raise PriorError(f"{mask}: missing; analyse the earlier CT with --format nifti, or give the CT itself")
    image: Any = nibabel.load(mask)
    labels = np.asarray(image.dataobj).astype(np.uint8)
    if labels.ndim != 3:
        raise PriorError(f"{mask}: no mask of three dimensions; analyse the earlier CT again")
    lungs = Lungs(labels, content["lungs"]["right_ml"], content["lungs"]["left_ml"])
    date = content["input"].get("study_date")
    return PriorExamination(
        lungs,
        LPS_RAS @ image.affine,
        tuple(_nodule(row) for row in content["nodules"]),
        datetime.date.fromisoformat(date) if date else None,
        content["input"].get("patient_key") or "",
    )


def _nodule(row: dict[str, Any]) -> PriorNodule:
    x, y, z = (float(v) for v in row["center_mm"])
    volume_mm3, mean_diameter_mm = float(row["volume_mm3"]), float(row["mean_diameter_mm"])
    if not (math.isfinite(x + y + z) and 0 < volume_mm3 < math.inf and 0 < mean_diameter_mm < math.inf):
        raise ValueError(f"a nodule of {volume_mm3} mm3 and {mean_diameter_mm} mm at {x}, {y}, {z}")
    return PriorNodule((x, y, z), volume_mm3, mean_diameter_mm)
