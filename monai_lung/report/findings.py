"""`findings.json`: everything an analysis found, for programs. `findings.schema.json` is its JSON Schema.

Lengths in mm (LPS for points), volumes in mm3 and ml, probabilities in 0 ... 1. The file is strict JSON (a number that
isn't finite becomes null), its keys always come in the same order, and nothing in it names the patient unless that is
asked for (of the input's path only what is known to be the name is left out).
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import os
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from monai_lung.errors import InputError
from monai_lung.extras import require
from monai_lung.model import CT, Lungs, Nodule, Prior, Report

SCHEMA = "monai-lung/findings/2"
OLDER = ("monai-lung/findings/1",)
"""Schemas that `read` takes as well: what version 2 added is filled in as unknown."""
NOTICE = "research use; decision support, not a diagnosis"
GUIDELINES = ("fleischner_2017", "lung_rads_2022", "brock")

_DECIMALS = {"mm": 2, "mm3": 2, "hu": 1, "percentiles": 1, "ml": 1, "s": 3, "percent": 1, "days": 1}
"""Decimals by the unit that ends a field's name; 4 for probabilities and what has no unit."""

_IN_MEMORY = ("prior_outline",)
"""Fields with voxels: for views, not for JSON."""


def to_dict(report: Report, show_patient: bool = False) -> dict[str, Any]:
    """The content of `findings.json`: plain dicts, lists, strings, numbers.

    Args:
        report: the findings.
        show_patient: put the patient's name and ID into `input`.
    """
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "notice": NOTICE,
        "software": dict(sorted(report.software.items())),
        "weights": dict(sorted(report.weights.items())),
        "input": _input(report, show_patient),
        "person": _fields(report.person),
        "lungs": _lungs(report.lungs),
        "operating_point": report.operating_point and _fields(report.operating_point),
        "notes": list(report.notes),
        "deciding_nodule": report.deciding_nodule,
        "nodules": [_nodule(nodule) for nodule in report.nodules],
        "candidates": [_candidate(nodule) for nodule in report.candidates],
        "rejected": [_nodule(nodule) for nodule in report.rejected],
        "decisions": [_fields(decision) for decision in report.decisions],
        "guidelines": {name: _fields(advice) for name, advice in report.guidelines.items()},
    }
    if report.prior is not None:
        content["prior"] = {
            "study_date": _plain(report.prior.study_date),
            "source": report.prior.source,
            "residual_mm": _plain(report.prior.residual_mm, "mm"),
            **({"path": _path(report.prior.ct, show_patient)} if report.prior.ct else {}),
            "gone": _gone(report.prior),
        }
    content["timing_s"] = {stage: _plain(seconds, "s") for stage, seconds in report.timing_s.items()}
    return content


def write(report: Report, path: Path, show_patient: bool = False) -> Path:
    """Write `to_dict` as strict JSON in UTF-8."""
    text = json.dumps(to_dict(report, show_patient), indent=1, ensure_ascii=False, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")
    return path


def read(path: Path) -> dict[str, Any]:
    """Read a `findings.json` of this or an earlier run; one of schema 1 comes back with what schema 2 added, unknown.

    Raises:
        InputError: it can't be read, or isn't a findings file of a version that is known.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: can't be read as findings ({error}): give the findings.json of a result") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema in OLDER:
        content = {"operating_point": None, "notes": [], "deciding_nodule": None, "candidates": [], **content}
    elif schema != SCHEMA:
        raise InputError(f"{path}: its schema is {schema!r}, not {SCHEMA!r}: analyse the case again with this version")
    missing = [key for key in schema_of_findings()["required"] if key not in content]
    if missing:
        raise InputError(f"{path}: incomplete findings without {', '.join(missing)}: analyse the case again")
    return content


def validate(content: Mapping[str, Any]) -> None:
    """Check findings against the JSON Schema.

    Raises:
        InputError: they don't follow it; the message names the place.
        UsageError: the package jsonschema isn't installed.
    """
    jsonschema = require("jsonschema", "a check of findings against their schema", extra="")
    problem = jsonschema.exceptions.best_match(
        jsonschema.Draft202012Validator(schema_of_findings()).iter_errors(content)
    )
    if problem is not None:
        raise InputError(f"findings don't follow {SCHEMA} at {problem.json_path}: {problem.message}")


def schema_of_findings() -> dict[str, Any]:
    """The JSON Schema that ships beside this module."""
    text = resources.files("monai_lung.report").joinpath("findings.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def all_warnings(report: Report) -> tuple[str, ...]:
    """The warnings of the CT, the lungs and the analysis, each once, in the order in which they arose."""
    return tuple(dict.fromkeys((*report.ct.warnings, *report.lungs.warnings, *report.warnings)))


def _input(report: Report, show_patient: bool) -> dict[str, Any]:
    """The analysed CT."""
    ct, series = report.ct, report.ct.series
    return {
        "case": ct.name,
        "series_uid": series.uid if series else "",
        "study_uid": series.study_uid if series else "",
        "frame_of_reference_uid": ct.frame_of_reference_uid,
        "path": _path(ct, show_patient),
        **({"sha256": ct.sha256} if ct.sha256 else {}),
        "study_date": _plain(ct.study_date),
        "patient_key": ct.patient_key,
        **({"patient": list(ct.patient)} if show_patient else {}),
        "spacing_mm": [round(s, 6) for s in ct.spacing_mm],
        "size": list(ct.hu.shape),
        "slices": len(ct.slices) or ct.hu.shape[2],
        "resampled": ct.resampled,
        "warnings": list(all_warnings(report)),
    }


def _path(ct: CT, show_patient: bool) -> str:
    """Where the CT was read from; folders that hold a part of the patient's name as "***" unless that is asked for.

    A name that is (part of) the patient's ID is a pseudonym, as in public collections, and stays.
    """
    name, number = (*ct.patient, "", "")[:2]
    parts = [p.casefold() for p in re.split(r"[\W_]+", name) if len(p) >= 3 and p.casefold() not in number.casefold()]
    text = os.fsencode(ct.path.absolute()).decode("utf-8", "backslashreplace")
    if show_patient or not parts:
        return text
    folders = text.split(os.sep)
    return os.sep.join("***" if any(p in folder.casefold() for p in parts) else folder for folder in folders)


def _lungs(lungs: Lungs) -> dict[str, Any]:
    """Volumes, and the share below -950 HU where it was measured."""
    right, left = lungs.low_attenuation_percent or (None, None)
    return {
        "right_ml": _plain(lungs.right_ml, "ml"),
        "left_ml": _plain(lungs.left_ml, "ml"),
        "right_low_attenuation_percent": _plain(right, "percent"),
        "left_low_attenuation_percent": _plain(left, "percent"),
    }


def _gone(prior: Prior) -> list[dict[str, Any]]:
    """The prior's nodules without a partner now, and where their places lie today."""
    now = prior.gone_now_mm or (None,) * len(prior.gone)
    return [
        {"center_mm": _plain(center, "mm"), "volume_mm3": _plain(volume, "mm3"), "now_mm": _plain(place, "mm")}
        for (center, volume), place in zip(prior.gone, now, strict=True)
    ]


def _nodule(nodule: Nodule) -> dict[str, Any]:
    """A nodule with its measurements side by side."""
    content = {**_place_and_size(nodule), **_fields(nodule.rating), "guidelines": _guidelines(nodule.guidelines)}
    if nodule.growth is not None:
        content["growth"] = _fields(nodule.growth)
    return content


def _candidate(nodule: Nodule) -> dict[str, Any]:
    """A nodule that isn't reported: no guideline and no malignancy, but why it was set aside."""
    probability = _plain(nodule.rating.nodule_probability)
    return {**_place_and_size(nodule), "nodule_probability": probability, "set_aside": nodule.set_aside}


def _place_and_size(nodule: Nodule) -> dict[str, Any]:
    """A finding's identity and its measurements."""
    return {
        "id": nodule.id,
        "tracking_uid": nodule.tracking_uid,
        "series_number": nodule.series_number,
        "image_number": nodule.image_number,
        "sop_instance_uid": nodule.sop_instance_uid,
        **_fields(nodule.measurements),
    }


def _guidelines(guidelines: Mapping[str, Any]) -> dict[str, Any]:
    """Advice by guideline, always in the same order."""
    return {name: _fields(guidelines[name]) for name in GUIDELINES if name in guidelines}


def _fields(instance: Any) -> dict[str, Any]:
    """A dataclass's fields as plain values."""
    names = [f.name for f in dataclasses.fields(instance) if f.name not in _IN_MEMORY]
    return {name: _plain(getattr(instance, name), name) for name in names}


def _plain(value: Any, name: str = "") -> Any:
    """A value as JSON knows it; numbers rounded after the unit in their name, null where they aren't finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item, str(key)) for key, item in value.items()}
    if isinstance(value, tuple | list | np.ndarray):
        return [_plain(item, name) for item in value]
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return round(float(value), _DECIMALS.get(name.rsplit("_", 1)[-1], 4)) if math.isfinite(value) else None
    return value if value is None else str(value)
