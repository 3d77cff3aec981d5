"""The formats of a result, each once: its name, its files, what it needs, and what writes it.

A new output is a function in a file of its own and one entry here: the command line, the bundle, the engines, the PACS
node and the checks of the pages read this table. It imports nothing heavy; what a format needs is imported when it's
written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from monai_lung.errors import UsageError

if TYPE_CHECKING:
    from monai_lung.model import Report

Writer = Callable[["Report", Path, bool], object]
"""Writes a report's files into a folder; the flag says whether the patient may be named."""


REJECTED = "rejected.nii.gz"
"""The mask of what a reader threw out; only there where something was."""


@dataclass(frozen=True)
class Format:
    """One kind of output.

    Attributes:
        name: what `--format` calls it.
        files: what it leaves in a case's folder; one may be a folder of files.
        write: what writes them.
        modules: libraries that it needs beyond the core.
        extra: the extra of the package that brings those.
        needs_dicom: whether it refers to DICOM instances, which a volume file doesn't have.
        needs: formats whose files it refers to: they are written with it, before it.
        default: whether it's written when no format is named.
        on_node: whether the PACS node keeps it with a study.
        aside: whether it's written in a thread of its own (for what works outside of Python's lock).
    """

    name: str
    files: tuple[str, ...]
    write: Writer
    modules: tuple[str, ...] = ()
    extra: str = "dicom"
    needs_dicom: bool = False
    needs: tuple[str, ...] = ()
    default: bool = False
    on_node: bool = False
    aside: bool = False

    def check(self) -> None:
        """Make sure that its libraries are installed.

        Raises:
            UsageError: one isn't.
        """
        for module in self.modules:
            if find_spec(module) is None:
                raise UsageError(f'format {self.name} needs {module}: pip install "monai-lung[{self.extra}]"')


def _json(report: Report, folder: Path, show_patient: bool) -> None:
    from monai_lung.report import findings

    findings.write(report, folder / "findings.json", show_patient)


def _nifti(report: Report, folder: Path, show_patient: bool) -> None:
    from monai_lung.io.output import write_nifti

    write_nifti(folder / "lungs.nii.gz", report.lungs.labels, report.ct.affine_lps)
    write_nifti(folder / "nodules.nii.gz", report.nodule_labels(), report.ct.affine_lps)
    if report.rejected:  # so that a decision can be taken back
        write_nifti(folder / REJECTED, report.nodule_labels(report.rejected), report.ct.affine_lps)


def _seg(report: Report, folder: Path, show_patient: bool) -> None:
    from monai_lung.report import dicom_seg

    dicom_seg.write(report, folder / "seg.dcm")


def _sr(report: Report, folder: Path, show_patient: bool) -> None:
    from monai_lung.report import dicom_sr

    dicom_sr.write(report, folder / "sr.dcm", folder / "seg.dcm")


def _html(report: Report, folder: Path, show_patient: bool) -> None:
    from monai_lung.report import html

    html.write(report, folder / "report.html", show_patient)


def _figure(report: Report, folder: Path, show_patient: bool) -> None:
    from monai_lung.report import figure

    figure.write(report, folder / "figure.png")


def _key(report: Report, folder: Path, show_patient: bool) -> None:
    from monai_lung.report import dicom_key

    dicom_key.write(report, folder / "key_images")


def _text(report: Report, folder: Path, show_patient: bool) -> None:
    from monai_lung.report import ris

    ris.write(report, folder / "report.txt")


def _csv(report: Report, folder: Path, show_patient: bool) -> None:
    from monai_lung.report import table

    table.write_csv(report, folder / "nodules.csv")


def _slicer(report: Report, folder: Path, show_patient: bool) -> None:
    from monai_lung.report import slicer

    slicer.write_markups(report, folder / "nodules.mrk.json")
    slicer.write_segmentation(report, folder / "nodules.seg.nrrd")


_PAGE = ("jinja2", "markupsafe", "PIL")

FORMATS = {
    entry.name: entry
    for entry in (
        Format("json", ("findings.json",), _json, default=True, on_node=True),
        Format("nifti", ("lungs.nii.gz", "nodules.nii.gz"), _nifti, default=True, on_node=True, aside=True),
        Format("seg", ("seg.dcm",), _seg, ("highdicom",), needs_dicom=True, on_node=True),
        Format("sr", ("sr.dcm",), _sr, ("highdicom",), needs_dicom=True, needs=("seg",), on_node=True),
        Format("html", ("report.html",), _html, _PAGE, default=True, on_node=True),
        Format("figure", ("figure.png",), _figure, ("matplotlib",), on_node=True),
        Format("csv", ("nodules.csv",), _csv),
        Format("key", ("key_images",), _key, ("highdicom", "PIL"), needs_dicom=True, on_node=True),
        Format("text", ("report.txt",), _text, on_node=True),
        Format("slicer", ("nodules.mrk.json", "nodules.seg.nrrd"), _slicer),
    )
}
"""Name to format, in the order in which they are written: what a format `needs` stands before it."""
DEFAULT_FORMATS = tuple(name for name, entry in FORMATS.items() if entry.default)
"""The formats that are written when none is named."""


def check_formats(formats: str | Collection[str]) -> tuple[str, ...]:
    """`formats` in the order of the table, with those that they need; "all" is all of them.

    json is always among them: it says what a result was made of.

    Args:
        formats: names, or a text of names with commas between.

    Raises:
        UsageError: one is unknown, or none is given.
    """
    asked = {name.strip() for name in (formats.split(",") if isinstance(formats, str) else formats)} - {""}
    unknown = sorted(asked - {*FORMATS, "all"})
    if unknown or not asked:
        named = f"format {', '.join(unknown)}: unknown" if asked else "no format is named"
        raise UsageError(f"{named}; choose from {', '.join(FORMATS)} or all")
    chosen = asked | {"json"} | {other for name in asked & set(FORMATS) for other in FORMATS[name].needs}
    return tuple(name for name in FORMATS if name in chosen or "all" in asked)


def require_formats(formats: str | Collection[str]) -> tuple[str, ...]:
    """`check_formats`, and make sure before any work that the libraries which these formats need are installed.

    Raises:
        UsageError: one isn't, or a format is unknown.
    """
    chosen = check_formats(formats)
    for name in chosen:
        FORMATS[name].check()
    return chosen


def possible(formats: Iterable[str], *, dicom: bool) -> tuple[str, ...]:
    """Those of `formats` that an input can have: not the ones that refer to DICOM instances where there are none."""
    return tuple(name for name in formats if dicom or not FORMATS[name].needs_dicom)


def files_of(formats: Iterable[str]) -> tuple[str, ...]:
    """The names of the files that these formats leave in a case's folder."""
    return tuple(file for name in formats for file in FORMATS[name].files)


def with_format_warnings(report: Report, formats: str | Collection[str]) -> Report:
    """`report` with a warning about those of `formats` that its input can't have: DICOM objects of a volume file.

    `write_files` does this for what it writes; whoever shows the report otherwise calls it too, so that all agree.
    """
    chosen = check_formats(formats)
    skipped = [name.upper() for name in chosen if name not in possible(chosen, dicom=bool(report.ct.slices))]
    warning = f"No DICOM {' and '.join(skipped)}: the input is a volume file without DICOM instances to refer to."
    if not skipped or warning in report.warnings:
        return report
    return replace(report, warnings=(*report.warnings, warning))


def write_files(report: Report, folder: Path, formats: str | Collection[str], *, show_patient: bool = False) -> None:
    """Write the files of `formats` into `folder`, which exists.

    What the input can't have is left out, see `with_format_warnings`.

    Raises:
        UsageError: a format is unknown.
        InputError: the DICOM files can't be read any more, or don't fit the report.
        OutputError: a file can't be written.
    """
    report = with_format_warnings(report, formats)
    entries = [FORMATS[name] for name in possible(check_formats(formats), dicom=bool(report.ct.slices))]
    with ThreadPoolExecutor(1) as aside:
        begun = [aside.submit(entry.write, report, folder, show_patient) for entry in entries if entry.aside]
        for entry in entries:
            if not entry.aside:
                entry.write(report, folder, show_patient)
        for one in begun:
            one.result()
