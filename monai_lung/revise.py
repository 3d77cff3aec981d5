"""A reader's decisions on a result: what is rejected counts no longer, and all files are written again."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from monai_lung.advice import MeasuredNodules, examination_notes, reported
from monai_lung.errors import UsageError
from monai_lung.model import Decision, Nodule, Report
from monai_lung.report.formats import FORMATS, files_of, write_files
from monai_lung.restore import restore


def revise(
    folder: Path, reject: Collection[int] = (), accept: Collection[int] = (), *, ct: Path | None = None
) -> Report:
    """Write a result again, in one go, as its reader decided.

    Rejected nodules leave the list, the guidelines, the tables, SR, SEG and masks; `findings.json` keeps them apart,
    and each decision with its time. Numbers stay as they are. Accepting takes a rejection back; of a nodule that
    wasn't rejected it only records that a reader agrees.

    Args:
        folder: of the result.
        reject: ids of nodules.
        accept: ids of nodules.
        ct: where the CT lies now; else where the findings say.

    Returns:
        the new report, which is written.

    Raises:
        UsageError: no such nodule, or one both ways.
        InputError: the result or its CT can't be read.
        OutputError: the folder can't be written.
    """
    from monai_lung.io.output import replacing_folder
    from monai_lung.report import findings

    content = findings.read(folder / "findings.json")
    _check(content, folder, reject, accept)
    report = decided(restore(folder, ct), reject, accept)
    formats = [name for name, entry in FORMATS.items() if all((folder / file).exists() for file in entry.files)]
    with replacing_folder(folder, files_of(FORMATS)) as temporary:
        write_files(report, temporary, formats, show_patient="patient" in content["input"])
    return report


def decided(report: Report, reject: Collection[int], accept: Collection[int]) -> Report:
    """The report with each decision taken, advice given again and the time noted."""
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    gone = ({n.id for n in report.rejected} | set(reject)) - set(accept)
    everything = sorted((*report.nodules, *report.rejected), key=lambda n: n.id)
    fresh = [Decision(n, "rejected", now) for n in reject] + [Decision(n, "accepted", now) for n in accept]
    latest = {d.nodule: d for d in (*report.decisions, *fresh)}
    kept = [n for n in everything if n.id not in gone]
    found = _found(report, kept)
    advised, examination, deciding = reported(found, [n.growth for n in kept], report.person)
    return replace(
        report,
        nodules=tuple(replace(n, guidelines=a.guidelines) for n, a in zip(kept, advised, strict=True)),
        guidelines={name: examination[name] for name in (*report.guidelines, *examination) if name in examination},
        deciding_nodule=None if deciding is None else kept[deciding - 1].id,
        notes=examination_notes(found),
        rejected=tuple(n for n in everything if n.id in gone),
        decisions=tuple(sorted(latest.values(), key=lambda d: d.nodule)),
    )


def _found(report: Report, nodules: Collection[Nodule]) -> MeasuredNodules:
    rows = [(n.outline, n.measurements, n.rating) for n in nodules]
    outlines, measured, ratings = (tuple(column) for column in zip(*rows, strict=True)) if rows else ((), (), ())
    return MeasuredNodules(report.ct, report.lungs, outlines, measured, ratings)


def _check(content: Mapping[str, Any], folder: Path, reject: Collection[int], accept: Collection[int]) -> None:
    known = {row["id"] for row in (*content["nodules"], *content.get("rejected", ()))}
    candidates = {row["id"] for row in content["candidates"]}
    if not reject and not accept:
        raise UsageError("nothing to revise: give --reject or --accept with the numbers of nodules")
    if both := sorted(set(reject) & set(accept)):
        raise UsageError(f"nodule {both[0]}: both rejected and accepted")
    for number in sorted({*reject, *accept}):
        if number in candidates:
            raise UsageError(f"{number} isn't reported but a candidate: analyse with --sensitivity high to report it")
        if number not in known:
            listed = ", ".join(map(str, sorted(known))) or "none"
            raise UsageError(f"{folder}: no nodule {number}; there are: {listed}")
