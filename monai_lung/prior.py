"""The earlier examination that growth is measured against: a CT, or the folder of an earlier result."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from monai_lung.clinical.growth import Look, PriorExamination, PriorNodule
from monai_lung.clinical.guidelines.nodule import LUNG_RADS_CATEGORIES
from monai_lung.errors import MonaiLungError, PriorError
from monai_lung.model import LPS_RAS, Lungs, Point, Seed, Texture

if TYPE_CHECKING:
    from monai_lung.advice import MeasuredNodules
    from monai_lung.inference import Networks
    from monai_lung.pipeline import Options


def read_prior(path: Path, options: Options) -> PriorExamination:
    """An earlier examination before it's analysed; its `ct` is None for an earlier result.

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
            raise PriorError(
                f"{path}: a damaged result ({reason}); analyse that CT again, or give the CT itself"
            ) from error
    from monai_lung.chest import read_chest

    ct, lungs = read_chest(path, allow_gaps=options.allow_gaps)
    uid = ct.series.uid if ct.series else ""
    return PriorExamination(
        lungs, ct.affine_lps, (), ct.study_date, ct.patient_key, ct, series_uid=uid, sha256=ct.sha256
    )


def find_prior(earlier: PriorExamination, reported: MeasuredNodules, candidates: MeasuredNodules) -> PriorExamination:
    """`earlier` with the lungs, the nodules and the candidates that were found in its CT."""
    nodules, others = (
        [PriorNodule.of(m, o) for m, o in zip(found.measurements, found.outlines, strict=True)]
        for found in (reported, candidates)
    )
    return replace(earlier, lungs=reported.lungs, nodules=nodules, candidates=others)


def looking_at(found: MeasuredNodules, networks: Networks) -> Look:
    """Looks at places of the earlier CT: delineates and measures what is there, however small.

    What is seen counts if it lies in the lungs, stands out against the lung around it, and its nodule probability is
    half of what is kept elsewhere: that there is a nodule today makes one more likely. A vessel beside the place
    doesn't reach that, and lung without any structure, which a network that is asked for a nodule outlines too, doesn't
    stand out.
    """
    from monai_lung.clinical.measurements import measure
    from monai_lung.clinical.surroundings import stands_out
    from monai_lung.inference import rate, within_lungs
    from monai_lung.inference.delineate import delineate_each

    ct, lungs = found.ct, found.lungs

    def look(places: Sequence[Point], diameters_mm: Sequence[float]) -> list[PriorNodule | None]:
        seeds = [Seed(place, 1.0, mm) for place, mm in zip(places, diameters_mm, strict=True)]
        seen: list[PriorNodule | None] = []
        for outline in delineate_each(ct, seeds, networks):
            inside = within_lungs([outline], ct, lungs) if outline and stands_out(outline, ct, lungs) else []
            likely = inside and rate(ct, inside, networks)[0].nodule_probability
            visible = bool(inside) and float(likely or 0.0) >= networks.rate_settings.least_nodule / 2
            seen.append(PriorNodule.of(measure(inside[0], ct, lungs), inside[0]) if visible else None)
        return seen

    return look


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
        raise PriorError(f"{mask}: not a three-dimensional mask; analyse the earlier CT again")
    lungs = Lungs(labels, content["lungs"]["right_ml"], content["lungs"]["left_ml"])
    date = content["input"].get("study_date")
    return PriorExamination(
        lungs,
        LPS_RAS @ image.affine,
        tuple(_nodule(row) for row in content["nodules"]),
        datetime.date.fromisoformat(date) if date else None,
        content["input"].get("patient_key") or "",
        candidates=tuple(_nodule(row) for row in content["candidates"]),
        series_uid=content["input"].get("series_uid") or "",
        sha256=content["input"].get("sha256") or "",
    )


def _nodule(row: dict[str, Any]) -> PriorNodule:
    x, y, z = (float(v) for v in row["center_mm"])
    volume_mm3, mean_diameter_mm = float(row["volume_mm3"]), float(row["mean_diameter_mm"])
    if not (math.isfinite(x + y + z) and 0 < volume_mm3 < math.inf and 0 < mean_diameter_mm < math.inf):
        raise ValueError(f"a nodule of {volume_mm3} mm3 and {mean_diameter_mm} mm at {x}, {y}, {z}")
    texture = row.get("texture")
    if texture not in (None, *get_args(Texture)):
        raise ValueError(f"a nodule of texture {texture!r}")
    part_mm = row.get("solid_mean_diameter_mm")
    return PriorNodule(
        (x, y, z),
        volume_mm3,
        mean_diameter_mm,
        row.get("long_axis_mm"),
        row.get("short_axis_mm"),
        texture,
        None if part_mm is None else float(part_mm),
        _category(row),
    )


def _category(row: dict[str, Any]) -> str | None:
    """The Lung-RADS category that the earlier result gave a nodule; None for what can't step down."""
    category = row.get("guidelines", {}).get("lung_rads_2022", {}).get("category")
    return category if category in LUNG_RADS_CATEGORIES else None
