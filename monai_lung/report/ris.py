"""`report.txt`: the findings as a radiologist dictates them, to be pasted into a report and corrected there.

Plain ASCII, since not every RIS takes more. What decides comes first; what wasn't found isn't mentioned.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from monai_lung.model import Nodule, Report
from monai_lung.report import wording
from monai_lung.report.findings import NOTICE
from monai_lung.report.ranking import ranked

WIDTH = 76
_ASCII = str.maketrans(
    {"×": "x", "–": "-", "−": "-", "³": "3", "≥": ">=", "≤": "<=", "·": "-", "…": "...", "\N{NO-BREAK SPACE}": " "}
)


def write(report: Report, path: Path) -> Path:
    """Write `text(report)` to `path`."""
    Path(path).write_text(text(report), encoding="ascii")
    return path


def text(report: Report) -> str:
    """The report in words, ASCII, lines of at most 76 characters; it ends with a line feed."""
    lines = [*_heading(report), "", "FINDINGS", *_findings(report), "", "IMPRESSION", *_impression(report), ""]
    version = report.software.get("monai-lung", "")
    lines += _wrapped(f"Computer-assisted (monai-lung {version}); {NOTICE}. To be checked against the images.")
    return "\n".join(lines) + "\n"


def _wrapped(line: str, indent: str = "") -> list[str]:
    """A sentence in ASCII, in lines of the width."""
    plain = line.translate(_ASCII).encode("ascii", "replace").decode()
    return textwrap.wrap(plain, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False)


def _heading(report: Report) -> Iterator[str]:
    yield f"CT OF THE CHEST, LUNG NODULES. Examination of {wording.date(report.ct.study_date)}."
    if report.prior is None:
        yield "Comparison: none."
        return
    days = next((n.growth.interval_days for n in report.nodules if n.growth and n.growth.interval_days), None)
    yield f"Comparison: CT of {wording.date(report.prior.study_date)}{f', {days} days earlier' if days else ''}."


def _findings(report: Report) -> Iterator[str]:
    nodules = ranked(report)
    if not nodules:
        yield "No lung nodules found."
    for n, nodule in enumerate(nodules):
        yield from _dominant(nodule) if n == 0 else _wrapped(_one(nodule))
    if report.rejected:
        yield f"Rejected by the reader: no. {', '.join(str(n.id) for n in report.rejected)}."
    for _, mm3 in report.prior.gone if report.prior else ():
        yield from _wrapped(f"A nodule of the prior ({wording.volume(mm3)}) was not found in this examination.")
    for sentence in wording.emphysema(report):
        yield from _wrapped(sentence)


def _dominant(nodule: Nodule) -> Iterator[str]:
    """The nodule that decides, at length."""
    m = nodule.measurements
    yield from _wrapped(f"Dominant nodule (no. {nodule.id}): {_described(nodule)}.")
    sizes = f"{wording.axes(m)} (mean {wording.number(m.mean_diameter_mm)} mm), {wording.volume(m.volume_mm3)}"
    if m.texture == "part-solid" and m.solid_volume_mm3:
        sizes += f", solid part {wording.number(m.solid_diameter_mm)} mm"
    yield from _wrapped(f"Size: {sizes}.", "  ")
    if nodule.growth is not None:
        yield from _wrapped(f"Change: {wording.change(nodule.growth)}.", "  ")
    yield from _wrapped(f"Suspicion as readers would rate it: {wording.malignancy(nodule.rating)}.", "  ")


def _one(nodule: Nodule) -> str:
    """A further nodule in one sentence."""
    parts = [f"No. {nodule.id}: {_described(nodule)}", wording.axes(nodule.measurements)]
    if nodule.growth is not None:
        parts.append(wording.change(nodule.growth))
    if "lung_rads_2022" in nodule.guidelines:
        parts.append(f"Lung-RADS {wording.category(nodule.guidelines['lung_rads_2022'])}")
    return ", ".join(parts) + "."


def _described(nodule: Nodule) -> str:
    """The kind and place of a nodule, with the image that shows it."""
    parts = [nodule.measurements.texture, wording.position(nodule.measurements), wording.image(nodule)]
    return ", ".join(part for part in parts if part)


def _impression(report: Report) -> Iterator[str]:
    for key, title in wording.titles(report.guidelines).items():
        advice = report.guidelines[key]
        yield from _wrapped(f"{title}: {wording.category(advice)}. {advice.advice}")
        for note in advice.notes:
            yield from _wrapped(note, "  ")
    for note in report.notes:
        yield from _wrapped(note)
