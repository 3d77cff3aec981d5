"""The cases at a path: one for each study or volume file."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from monai_lung.errors import DecodeError, NoSeriesError
from monai_lung.io.content import files_sha256
from monai_lung.io.header import Header, read_headers
from monai_lung.io.paths import archive_of, check_exists, is_volume, shown, stem
from monai_lung.io.series import Discovery, choose, passed_over, ranked, scan
from monai_lung.model import Series

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Case:
    """One thing to analyse: a study of a folder, by its chosen series, or a volume file.

    Attributes:
        name: safe as a folder name, with nothing about the patient in it.
        path: what the caller named: the folder, archive or file; for a volume the file itself.
        series: the chosen series, None for a volume file.
        headers: its slices as discovery read them, so that reading needs no second look.
        warnings: files that discovery left out, and series that it did not choose.
        sha256: of the content (`io.content`) of a series in an archive, since what was unpacked may be gone; else "".
        others: the other series of the study that could be analysed, the best first: for where this one holds no lungs.
    """

    name: str
    path: Path
    series: Series | None = None
    headers: tuple[Header, ...] = field(default=(), repr=False, compare=False)
    warnings: tuple[str, ...] = ()
    sha256: str = ""
    others: tuple[Case, ...] = field(default=(), repr=False, compare=False)

    @property
    def source(self) -> Path:
        """Where it came from, absolute: archive, volume file, or the folder of the series (its file, if it's one)."""
        if self.series is None:
            return archive_of(self.path) or self.path.absolute()
        files = self.series.files
        if self.sha256:  # of an archive
            return self.path.absolute()
        return Path(os.path.commonpath([file.absolute() for file in files]))

    def __str__(self) -> str:
        """Its name: a log of MONAI's may show it."""
        return self.name

    def named(self, name: str) -> Case:
        """The case under another name, and its other series with it."""
        return replace(self, name=name, others=tuple(replace(other, name=name) for other in self.others))


def find_cases(path: Path | str, series_uid: str | None = None) -> list[Case]:
    """The cases at a path, each with a name of its own.

    A folder or zip archive with DICOM: each study is a case, by the series that `choose` takes (with `series_uid`
    that series alone). Without DICOM each volume file (NIfTI, NRRD, MHA) in it is a case; with DICOM the log tells how
    many are left out. Results of an earlier run (in a folder with a `findings.json`) are none. A DICOM file stands for
    the series it belongs to, as far as it lies in the same folder.

    A DICOM case is named by the first 12 hex digits of the SHA-256 of its SeriesInstanceUID, a volume by its file
    name without suffix; a name that is taken gets "-2".

    Raises:
        UsageError: the path isn't there, or holds no series with that UID.
        NoSeriesError: nothing there can be analysed.
        NotCTError: there are images, but no CT.
        DecodeError: a single file or an archive can't be read.
    """
    path = Path(path)
    check_exists(path)
    if not path.is_dir() and is_volume(path):
        return [Case(stem(path), path)]
    found = scan(path)
    if found.series:
        if found.volumes:
            _log.warning("%d volume files beside DICOM are left out: name them to analyse them", len(found.volumes))
        return distinct(_studies(path, found, series_uid))
    if not found.volumes:
        reason = f" ({found.unreadable[0]})" if found.unreadable else ""
        raise NoSeriesError(f"{shown(path)} holds no DICOM series and no NIfTI, NRRD or MHA file{reason}")
    return distinct(Case(stem(file), file) for file in found.volumes)


def slice_of(path: Path) -> tuple[Path, str] | None:
    """Folder and SeriesInstanceUID of a file with one slice of a series; None for any other path.

    All files with the same answer stand for the same series: of those that a shell lists, one is enough.
    """
    if path.is_dir() or is_volume(path):
        return None
    try:
        headers = read_headers(path)
    except (DecodeError, OSError):
        return None
    single = len(headers) == 1 and headers[0].frame is None
    return (path.parent, headers[0].series_uid) if single else None


def without_repeats(cases: Iterable[Case]) -> list[Case]:
    """The cases without those that share a file with one before: the same path twice, or a folder and one within."""
    seen: set[object] = set()
    result = []
    for case in cases:
        own = _sources(case)
        if seen.isdisjoint(own):
            result.append(case)
        seen |= own
    return result


def _sources(case: Case) -> set[object]:
    """The source of a case; of an archive, whose files are unpacked under any names, the series in it."""
    if case.series is None:
        return {case.path.resolve()}
    if case.sha256:
        return {(case.path.resolve(), case.series.uid)}
    return {file.resolve() for file in case.series.files}


def distinct(cases: Iterable[Case]) -> list[Case]:
    """The cases with "-2", "-3" ... added to names that came before (without regard to upper and lower case)."""
    taken: set[str] = set()
    result = []
    for case in cases:
        name, number = case.name, 1
        while name.lower() in taken:
            number += 1
            name = f"{case.name}-{number}"
        taken.add(name.lower())
        result.append(case.named(name))
    return result


def _studies(path: Path, found: Discovery, series_uid: str | None) -> list[Case]:
    studies: dict[str, list[Series]] = defaultdict(list)
    for series in found.series.values():
        studies[series.study_uid or series.uid].append(series)  # nothing else says they belong together
    left_out = len(found.unreadable)
    warnings = (f"{left_out} files could not be read as DICOM and were left out.",) if left_out else ()
    if series_uid is not None:
        return [_case(path, found, [choose(list(found.series.values()), series_uid)], warnings)]
    suitable = [ranked(s for s in study if s.suitable) for study in studies.values()]
    if not any(suitable):
        choose(list(found.series.values()))  # raises, with the reasons
    empty = suitable.count([])
    if empty:
        _log.warning("%d of %d studies hold no axial CT and are left out", empty, len(studies))
    return [_case(path, found, study, warnings) for study in suitable if study]


def _case(path: Path, found: Discovery, series: list[Series], warnings: tuple[str, ...]) -> Case:
    """The case of a study: its suitable series, the chosen one first."""
    name = hashlib.sha256(series[0].uid.encode()).hexdigest()[:12]
    chosen, *others = (
        Case(
            name,
            path,
            one,
            found.headers[one.study_uid, one.uid],
            (*warnings, *_stray_warnings(found, one), *passed_over(one, series[n + 1 :])),
            files_sha256(one.files) if archive_of(one.files[0]) else "",
        )
        for n, one in enumerate(series)
    )
    return replace(chosen, others=tuple(others))


def _stray_warnings(found: Discovery, series: Series) -> tuple[str, ...]:
    count = found.strays.get((series.study_uid, series.uid), 0)
    if not count:
        return ()
    return (f"{count} images that lie across the slices, or are not CT images, were left out of the series.",)
