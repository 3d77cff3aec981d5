"""A report as it was before it was written: from the files of a result and the CT that it was made of."""

from __future__ import annotations

import dataclasses
import datetime
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from monai_lung.errors import InputError, MonaiLungError
from monai_lung.model import (
    CT,
    Advice,
    Decision,
    Growth,
    Lungs,
    Measurements,
    Nodule,
    OperatingPoint,
    Outline,
    Person,
    Prior,
    Rating,
    Report,
    Seed,
)
from monai_lung.report.formats import REJECTED

Kind = TypeVar("Kind")
_log = logging.getLogger(__name__)


def restore(folder: Path, ct: Path | None = None) -> Report:
    """The report whose files lie in `folder`.

    Numbers come back as `findings.json` holds them (rounded), outlines as the masks hold them: without what the network
    said between the voxels, and without those in the prior.

    Args:
        folder: of a result, with `findings.json`, `lungs.nii.gz` and `nodules.nii.gz`.
        ct: where the CT lies now; else where the findings say.

    Raises:
        InputError: files are missing or damaged, or the CT isn't the one that was analysed.
    """
    from monai_lung.report import findings

    content = findings.read(folder / "findings.json")
    if content["schema"] != findings.SCHEMA:
        raise InputError(f"{folder}: made by an earlier version; analyse the CT again")
    volume = _read_ct(folder, content["input"], ct)
    try:
        return _report(folder, content, volume)
    except (MonaiLungError, MemoryError):
        raise
    except Exception as error:  # foreign files: JSON of another make, dates, gzip and NIfTI each raise their own
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{folder}: a damaged result ({reason}); analyse the CT again") from error


def _read_ct(folder: Path, source: Mapping[str, Any], given: Path | None) -> CT:
    """The CT that was analysed, under the name of the case."""
    from monai_lung.io import read_ct

    path = given or folder / source.get("path", "")
    if given is None and (not source.get("path") or not path.exists()):
        raise InputError(
            f"{folder}: its CT isn't where it was ({source.get('path') or 'not noted'}); give it with --ct"
        )
    ct = read_ct(path.resolve(), series_uid=source["series_uid"] or None, allow_gaps=source["resampled"])
    uid = ct.series.uid if ct.series else ""
    if (uid, ct.sha256) != (source["series_uid"], source.get("sha256", "")) or list(ct.hu.shape) != source["size"]:
        raise InputError(f"{path}: not the CT that {folder.name} was made of; give that one with --ct")
    return dataclasses.replace(ct, name=source["case"])


def _report(folder: Path, content: Mapping[str, Any], ct: CT) -> Report:
    lungs, labels = (_mask(folder / name, ct) for name in ("lungs.nii.gz", "nodules.nii.gz"))
    thrown_out = _mask(folder / REJECTED, ct) if content.get("rejected") else labels
    shares = tuple(content["lungs"].get(f"{side}_low_attenuation_percent") for side in ("right", "left"))
    prior = content.get("prior")
    return Report(
        ct=ct,
        lungs=Lungs(
            lungs.astype(np.uint8),
            content["lungs"]["right_ml"],
            content["lungs"]["left_ml"],
            low_attenuation_percent=None if shares == (None, None) else (shares[0], shares[1]),
        ),
        nodules=tuple(_nodule(row, labels) for row in content["nodules"]),
        guidelines={name: _instance(Advice, row) for name, row in content["guidelines"].items()},
        person=_instance(Person, content["person"]),
        prior=_prior(prior) if prior else None,
        weights=content["weights"],
        software=content["software"],
        timing_s=content["timing_s"],
        warnings=tuple(content["input"]["warnings"]),
        candidates=tuple(_candidate(row) for row in content["candidates"]),
        operating_point=content["operating_point"] and _instance(OperatingPoint, content["operating_point"]),
        deciding_nodule=content["deciding_nodule"],
        notes=tuple(content["notes"]),
        rejected=tuple(_nodule(row, thrown_out) for row in content.get("rejected", ())),
        decisions=tuple(_instance(Decision, row) for row in content.get("decisions", ())),
    )


def _mask(path: Path, ct: CT) -> NDArray[np.uint16]:
    import nibabel

    if not path.is_file():
        raise InputError(f"{path}: missing; analyse the CT with --format nifti among others")
    image: Any = nibabel.load(path)
    labels = np.asarray(image.dataobj).astype(np.uint16)
    if labels.shape != ct.hu.shape:
        raise InputError(f"{path}: {labels.shape} voxels, the CT has {ct.hu.shape}; analyse the CT again")
    return labels


def _nodule(row: Mapping[str, Any], labels: NDArray[np.uint16]) -> Nodule:
    measured = _instance(Measurements, row)
    return Nodule(
        row["id"],
        row["tracking_uid"],
        _outline(row["id"], measured, labels),
        measured,
        _instance(Rating, row),
        {name: _instance(Advice, advice) for name, advice in row["guidelines"].items()},
        _instance(Growth, row["growth"]) if "growth" in row else None,
        row["series_number"],
        row["image_number"],
        row["sop_instance_uid"],
    )


def _candidate(row: Mapping[str, Any]) -> Nodule:
    """A candidate; of its outline only the centre is left, of its rating whether it's a nodule."""
    measured = _instance(Measurements, row)
    return Nodule(
        row["id"],
        row["tracking_uid"],
        _voxel(measured),
        measured,
        Rating(row["nodule_probability"], 0.0, (0.0, 0.0)),
        series_number=row["series_number"],
        image_number=row["image_number"],
        sop_instance_uid=row["sop_instance_uid"],
        set_aside=row["set_aside"],
    )


def _outline(number: int, measured: Measurements, labels: NDArray[np.uint16]) -> Outline:
    """The voxels with a nodule's number, within its box; its centre where another nodule has them all."""
    low, high = measured.bbox_index
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    mask = labels[box] == number
    if not mask.any():
        return _voxel(measured)
    return Outline(mask, mask.astype(np.float32), low, Seed(measured.center_mm, 1.0, measured.mean_diameter_mm))


def _voxel(measured: Measurements) -> Outline:
    one = np.ones((1, 1, 1), bool)
    seed = Seed(measured.center_mm, 1.0, measured.mean_diameter_mm)
    return Outline(one, one.astype(np.float32), measured.center_index, seed)


def _prior(row: Mapping[str, Any]) -> Prior:
    """The earlier examination; its CT too, where it's still there."""
    places = tuple(_value(one.get("now_mm")) for one in row["gone"])
    return Prior(
        study_date=_value(row["study_date"], "study_date"),
        source=row["source"],
        gone=tuple((_value(one["center_mm"]), one["volume_mm3"]) for one in row["gone"]),
        residual_mm=row["residual_mm"],
        ct=_earlier_ct(Path(row["path"])) if row.get("path") else None,
        gone_now_mm=() if None in places else places,
    )


def _earlier_ct(path: Path) -> CT | None:
    """The earlier CT, for the views alone: without it the page has none of the prior."""
    from monai_lung.io import read_ct

    try:
        return read_ct(path)
    except MonaiLungError:
        _log.warning("the earlier CT can't be read where it was: the page leaves it out")
        return None


def _instance(kind: type[Kind], row: Mapping[str, Any]) -> Kind:
    """A dataclass from what `findings.json` has of its fields."""
    names = [f.name for f in dataclasses.fields(kind) if f.name in row]  # type: ignore[arg-type]
    return kind(**{name: _value(row[name], name) for name in names})


def _value(value: Any, name: str = "") -> Any:
    """Lists as tuples, dates and times as such."""
    if isinstance(value, list):
        return tuple(_value(item) for item in value)
    if value and name.endswith("_date"):
        return datetime.date.fromisoformat(value)
    return datetime.datetime.fromisoformat(value) if name == "at" else value
