"""Points that people have of nodules: typed, of a table, of 3D Slicer, or of DICOM SR and presentation states."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from monai_lung.errors import InputError, UsageError
from monai_lung.io.paths import shown
from monai_lung.model import CT, Point

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_COLUMNS = (
    ("coordX", "coordY", "coordZ"),  # LUNA16
    ("center_x_mm", "center_y_mm", "center_z_mm"),  # our own nodules.csv
    ("x_mm", "y_mm", "z_mm"),
    ("x", "y", "z"),
)
_SERIES = ("seriesuid", "series_uid")
_SYSTEMS = {"LPS": 1.0, "0": -1.0, "RAS": -1.0, "1": 1.0}
"""Slicer's names for them, and the sign of x and y against LPS."""


def read_points(
    given: str, ct: CT, *, index: bool = False, option: str = "--points", whole: bool = False
) -> list[Point]:
    """Points in LPS mm.

    Args:
        given: "x,y,z;x,y,z;...", or the path of a table (LUNA16's candidates.csv, `nodules.csv`, columns x, y, z), of
            Slicer's markups (.mrk.json), or of a DICOM SR or presentation state with points.
        ct: that they belong to. Of a table with series' UIDs only the rows of this one count.
        index: the numbers are voxel indices i, j, k of `ct`; for typed points and tables.
        option: named in errors.
        whole: of a line, a curve or another graphic all points, not their middle: a stroke.

    Raises:
        UsageError: neither a file that is there nor numbers.
        InputError: the file holds no point of this CT, or one that can't be understood; the message names the place.
    """
    path = Path(given)
    typed = _typed(given, option)
    if typed is not None:
        points = typed
    elif not path.is_file():
        raise UsageError(f"{option} {given!r}: neither a file nor points as x,y,z;x,y,z")
    else:
        points, index = _of_file(path, ct, whole), index and path.suffix.lower() in (".csv", ".tsv", ".txt")
    if not all(math.isfinite(v) for point in points for v in point):
        raise InputError(f"{shown(path)}: a coordinate is not a number")
    return [_point(ct.to_world(p)) for p in points] if index else points


def _typed(text: str, option: str) -> list[Point] | None:
    """Points as a user types them, None where it's something else."""
    try:
        rows = [[float(v) for v in part.split(",")] for part in text.strip(" ;").split(";")]
    except ValueError:
        return None
    if any(len(row) != 3 for row in rows):
        raise UsageError(f"{option} {text!r}: each point needs three numbers, x,y,z")
    return [_point(row) for row in rows]


def _of_file(path: Path, ct: CT, whole: bool) -> list[Point]:
    name = path.name.lower()
    with path.open("rb") as file:
        start = file.read(132)
    if start[128:] == b"DICM":
        reader: Callable[[Path, CT], list[Point]] = partial(_of_dicom, whole=whole)
    elif name.endswith(".json"):
        reader = partial(_of_markups, whole=whole)
    else:
        reader = _of_table
    try:
        points = reader(path, ct)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{shown(path)}: can't be read as points ({type(error).__name__}: {error})") from error
    if not points:
        raise InputError(f"{shown(path)}: holds no point of this CT")
    return points


def _of_table(path: Path, ct: CT) -> list[Point]:
    """Rows of a CSV file with one of the known sets of columns."""
    text = path.read_text(encoding="utf-8-sig")
    try:
        rows = csv.DictReader(io.StringIO(text), dialect=csv.Sniffer().sniff(text[:4096], ",;\t"))
    except csv.Error:
        rows = csv.DictReader(io.StringIO(text))
    known = {name.strip(): name for name in rows.fieldnames or ()}
    columns = next((c for c in _COLUMNS if set(c) <= known.keys()), None)
    if columns is None:
        wanted = "; ".join(", ".join(c) for c in _COLUMNS)
        raise InputError(f"{shown(path)}: has none of these sets of columns: {wanted}")
    series = next((known[name] for name in _SERIES if name in known), None)
    of_ct = [row for row in rows if series is None or row[series].strip() in _names(ct)]
    if series and not of_ct:
        raise InputError(f"{shown(path)}: no row is about this CT's series ({', '.join(sorted(_names(ct)))})")
    return [_of_row(path, [row[known[c]] for c in columns]) for row in of_ct]


def _names(ct: CT) -> set[str]:
    """Names that a table may have for the CT: its series, or its file as LUNA16 names it."""
    return {name for name in (ct.series.uid if ct.series else "", ct.path.stem, ct.name) if name}


def _of_row(path: Path, values: Sequence[str | None]) -> Point:
    try:
        return _point([float(v or "") for v in values])
    except ValueError as error:
        raise InputError(f"{shown(path)}: {', '.join(map(str, values))} are not coordinates") from error


def _of_markups(path: Path, ct: CT, whole: bool) -> list[Point]:
    """The control points of Slicer's markups, whatever their kind; of a line, a curve or an ROI maybe their middle."""
    points: list[Point] = []
    for markup in json.loads(path.read_text(encoding="utf-8"))["markups"]:
        system = str(markup.get("coordinateSystem", "LPS"))
        if system not in _SYSTEMS or markup.get("coordinateUnits", "mm") not in ("mm", "[mm,UCUM,1]", ["mm", "UCUM"]):
            unit = markup.get("coordinateUnits", "mm")
            raise InputError(f"{shown(path)}: coordinates are {system} in {unit}; LPS or RAS in mm are needed")
        sign = _SYSTEMS[system]
        placed = [c for c in markup.get("controlPoints", ()) if c.get("positionStatus", "defined") == "defined"]
        found = [np.array([float(v) for v in c["position"]]) * (sign, sign, 1) for c in placed]
        if found and not whole and markup.get("type", "Fiducial") not in ("Fiducial", "PointList"):
            found = [np.mean(found, axis=0)]
        points += [_point(p) for p in found]
    return points


def _of_dicom(path: Path, ct: CT, whole: bool) -> list[Point]:
    """Points of a structured report (SCOORD3D, SCOORD) or a presentation state; of other graphics maybe the middle."""
    from pydicom import dcmread

    data = dcmread(path, stop_before_pixels=True)
    graphics = _of_annotations(data, ct) if "GraphicAnnotationSequence" in data else _of_content(data, ct, path)
    return [_point(p) for kind, points in graphics for p in (points if whole or "POINT" in kind else [points.mean(0)])]


def _of_content(item: Dataset, ct: CT, path: Path) -> Iterator[tuple[str, Any]]:
    """Graphic type and points (n, 3) of a report's content, from the outside in."""
    for child in item.get("ContentSequence", ()):
        if child.ValueType == "SCOORD3D":
            frame = str(child.get("ReferencedFrameOfReferenceUID", ""))
            if ct.frame_of_reference_uid and frame != ct.frame_of_reference_uid:
                raise InputError(f"{shown(path)}: its points lie in the frame of reference {frame}, not in this CT's")
            yield child.GraphicType, np.reshape(child.GraphicData, (-1, 3))
        elif child.ValueType == "SCOORD":
            image = child.ContentSequence[0].ReferencedSOPSequence[0]
            yield from _on_slice(child, image, ct)
        else:
            yield from _of_content(child, ct, path)


def _of_annotations(data: Dataset, ct: CT) -> Iterator[tuple[str, Any]]:
    """The graphics and the anchors of texts of a presentation state that lie on slices of `ct`."""
    for annotation in data.GraphicAnnotationSequence:
        for image in annotation.get("ReferencedImageSequence", ()):
            for graphic in annotation.get("GraphicObjectSequence", ()):
                if graphic.get("GraphicAnnotationUnits", "PIXEL") == "PIXEL":
                    yield from _on_slice(graphic, image, ct)
            for text in annotation.get("TextObjectSequence", ()):
                if "AnchorPoint" in text and text.get("AnchorPointAnnotationUnits", "PIXEL") == "PIXEL":
                    yield from _placed("POINT", text.AnchorPoint, image, ct)


def _on_slice(graphic: Dataset, image: Dataset, ct: CT) -> Iterator[tuple[str, Any]]:
    return _placed(graphic.GraphicType, graphic.GraphicData, image, ct)


def _placed(kind: str, data: Sequence[float], image: Dataset, ct: CT) -> Iterator[tuple[str, Any]]:
    """Column and row, counted from the corner of the image's first pixel (PS3.3 C.18.6.1), as points in LPS mm."""
    frame = int(image.get("ReferencedFrameNumber", 1) or 1) - 1
    for source in ct.slices:
        if source.sop_instance_uid == image.ReferencedSOPInstanceUID and source.frame in (None, frame):
            flat = np.reshape(np.asarray(data, float), (-1, 2)) - 0.5
            index = np.column_stack([flat, np.zeros(len(flat)), np.ones(len(flat))])
            yield kind, (index @ source.affine_lps.T)[:, :3]


def _point(values: Mapping[int, float] | Sequence[float] | Any) -> Point:
    x, y, z = (float(v) for v in values)
    return x, y, z
