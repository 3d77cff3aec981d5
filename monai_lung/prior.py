"""The earlier examination that growth is measured against: a CT, or the folder of an earlier result."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from monai_lung.clinical.growth import PriorExamination, PriorNodule
from monai_lung.errors import PriorError
from monai_lung.model import CT, Lungs

if TYPE_CHECKING:
    from monai_lung.analysis import Found, Options

_LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_prior(path: Path, options: Options) -> tuple[PriorExamination, CT | None]:
    """What is known of an earlier examination before it's analysed, and its CT (None for an earlier result).

    Args:
        path: a CT as `io.read_ct` takes it, or a folder with `findings.json` and `lungs.nii.gz`.
        options: of the analysis.

    Raises:
        PriorError: an earlier result is incomplete.
        InputError: the CT or the findings can't be read.
    """
    if (path / "findings.json").is_file():
        return _from_result(path), None
    from monai_lung.io import read_ct

    ct = read_ct(path, allow_gaps=options.allow_gaps)
    nothing = Lungs(np.zeros((0, 0, 0), np.uint8), 0.0, 0.0)
    return PriorExamination(nothing, ct.affine_lps, (), ct.study_date, ct.patient_key, ct), ct


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
    lungs = Lungs(
        np.asarray(image.dataobj).astype(np.uint8), content["lungs"]["right_ml"], content["lungs"]["left_ml"]
    )
    date = content["input"].get("study_date")
    return PriorExamination(
        lungs,
        _LPS_RAS @ image.affine,
        tuple(_nodule(row) for row in content["nodules"]),
        datetime.date.fromisoformat(date) if date else None,
        content["input"].get("patient_key") or "",
    )


def _nodule(row: dict[str, Any]) -> PriorNodule:
    x, y, z = row["center_mm"]
    return PriorNodule((x, y, z), row["volume_mm3"], row["mean_diameter_mm"])
