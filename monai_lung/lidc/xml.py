"""The XML that LIDC-IDRI's CTs come with: one reading session for each reader, with that reader's nodules of 3 mm or
more.

TCIA puts the file into the series' folder. It is the database's own source, so the two must agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from monai_lung.errors import InputError
from monai_lung.lidc.index import Annotation, Contour, Ratings, Scan
from monai_lung.model import CT, Point

NAMESPACE = {"": "http://www.nih.gov"}
CT_ROOT = "{http://www.nih.gov}LidcReadMessage"


@dataclass(frozen=True, eq=False)
class Reading:
    """The content of one XML file about a CT.

    `annotations` are in the file's order, numbered from 1, with `scan_id` 0. Marks without ratings (nodules below
    3 mm, non-nodules) are left out, as in the database.
    """

    path: Path
    series_uid: str
    annotations: tuple[Annotation, ...]


def read_xml(path: Path | str) -> Reading:
    """Read one file of readings of a CT.

    Raises:
        InputError: no XML, not of a CT, an entry missing or no number, a rating outside its scale.
    """
    path = Path(path)
    try:
        root = ElementTree.parse(path).getroot()
        if root.tag != CT_ROOT:
            raise InputError(f"{path} holds no readings of a CT: give the XML file beside a CT of LIDC-IDRI")
        nodules = root.iterfind("readingSession/unblindedReadNodule", NAMESPACE)
        rated = [nodule for nodule in nodules if nodule.find("characteristics/malignancy", NAMESPACE) is not None]
        annotations = tuple(_annotation(path, i, nodule) for i, nodule in enumerate(rated, 1))
        return Reading(path, _text(root, "ResponseHeader/SeriesInstanceUid"), annotations)
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise InputError(f"{path} can't be read as LIDC's XML ({error}): download it again") from error


def marked_boxes(path: Path | str, ct: CT) -> list[tuple[Point, Point]]:
    """Two opposite corners, in LPS mm, of a box around each reader's mark of a nodule, those below 3 mm among them.

    Args:
        path: the XML file beside the CT.
        ct: that CT.

    Raises:
        InputError: no XML, not of a CT, or a coordinate that is missing or no number.
    """
    boxes: list[tuple[Point, Point]] = []
    try:
        root = ElementTree.parse(path).getroot()
        if root.tag != CT_ROOT:
            raise InputError(f"{path} holds no readings of a CT: give the XML file beside a CT of LIDC-IDRI")
        for nodule in root.iterfind(".//unblindedReadNodule", NAMESPACE):
            points = []
            for roi in nodule.iterfind("roi", NAMESPACE):
                z = float(roi.findtext("imageZposition", "", NAMESPACE))
                for edge in roi.iterfind("edgeMap", NAMESPACE):
                    x, y = (float(edge.findtext(f"{axis}Coord", "", NAMESPACE)) for axis in "xy")
                    points.append([*ct.to_world((x, y, 0.0))[:2], z])
            boxes.append((tuple(np.min(points, 0)), tuple(np.max(points, 0))))
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise InputError(f"{path} can't be read as LIDC's XML ({error}): download it again") from error
    return boxes


def check_ratings(scan: Scan, reading: Reading) -> None:
    """Make sure that the database and an XML file say the same of a scan.

    Raises:
        InputError: of another series, another number of marks, or a rating that contradicts; the first is named.
    """
    where = f"{reading.path.name} and the database contradict each other on {scan.patient}"
    way_out = "download the XML again, or take it away to use the database's ratings"
    if reading.series_uid != scan.series_uid:
        raise InputError(f"{where}: the XML is of series {reading.series_uid}: {way_out}")
    if len(reading.annotations) != len(scan.annotations):
        counts = f"{len(reading.annotations)} marks in the XML, {len(scan.annotations)} in the database"
        raise InputError(f"{where}: {counts}: {way_out}")
    for ours, theirs in zip(scan.annotations, reading.annotations, strict=True):
        for name, a, b in zip(Ratings._fields, ours.ratings, theirs.ratings, strict=True):
            if a != b:
                mark = f"annotation {ours.id} ({theirs.nodule_id})"
                raise InputError(f"{where}: {name} of {mark} is {b} in the XML, {a} in the database: {way_out}")


def _annotation(path: Path, number: int, nodule: ElementTree.Element) -> Annotation:
    ratings = Ratings(*(int(_text(nodule, f"characteristics/{name}")) for name in Ratings._fields))
    nodule_id = _text(nodule, "noduleID")
    ratings.check(f"{path.name}, {nodule_id}")
    contours = tuple(_contour(roi) for roi in nodule.iterfind("roi", NAMESPACE))
    return Annotation(number, 0, nodule_id, ratings, contours)


def _contour(roi: ElementTree.Element) -> Contour:
    edges = roi.iterfind("edgeMap", NAMESPACE)
    points = np.array([(int(_text(edge, "xCoord")), int(_text(edge, "yCoord"))) for edge in edges], np.int32)
    inclusion = _text(roi, "inclusion").upper() == "TRUE"
    return Contour(float(_text(roi, "imageZposition")), inclusion, points.reshape(-1, 2))


def _text(parent: ElementTree.Element, tag: str) -> str:
    """Text of an element below `parent`, without its blanks."""
    text = parent.findtext(tag, None, NAMESPACE)
    if text is None:
        raise ValueError(f"{tag} is missing")
    return text.strip()
