"""The XML: a small one, the two real ones beside database and masks, and bad ones."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import nibabel
import numpy as np
import pytest

from monai_lung.errors import InputError
from monai_lung.lidc.index import Scan
from monai_lung.lidc.nodules import MarkedNodule, marked_nodules
from monai_lung.lidc.votes import draw_masks
from monai_lung.lidc.xml import check_ratings, marked_boxes, read_xml
from monai_lung.model import CT

SMALL = """<?xml version="1.0"?>
<LidcReadMessage xmlns="http://www.nih.gov"><ResponseHeader><SeriesInstanceUid>1.2.3</SeriesInstanceUid></ResponseHeader>
<readingSession>
  <unblindedReadNodule><noduleID>tiny</noduleID><roi><imageZposition>1</imageZposition><inclusion>TRUE</inclusion>
    <edgeMap><xCoord>3</xCoord><yCoord>4</yCoord></edgeMap></roi></unblindedReadNodule>
  <unblindedReadNodule><noduleID>big</noduleID><characteristics><subtlety>5</subtlety>
    <internalStructure>1</internalStructure><calcification>6</calcification><sphericity>3</sphericity>
    <margin>4</margin><lobulation>1</lobulation><spiculation>2</spiculation><texture>5</texture>
    <malignancy>4</malignancy></characteristics>
    <roi><imageZposition>-12.50 </imageZposition><inclusion>FALSE</inclusion>
    <edgeMap><xCoord>3</xCoord><yCoord>4</yCoord></edgeMap><edgeMap><xCoord>5</xCoord><yCoord>6</yCoord></edgeMap></roi>
  </unblindedReadNodule>
</readingSession></LidcReadMessage>"""
REAL = [("LIDC-IDRI-0001", "069.xml", 12, 4), ("LIDC-IDRI-0003", "072.xml", 14, 13)]


@pytest.fixture
def small(tmp_path) -> Path:
    path = tmp_path / "001.xml"
    path.write_text(SMALL)
    return path


def test_reads_a_small_file(small):
    reading = read_xml(small)
    (annotation,) = reading.annotations
    assert (reading.series_uid, annotation.nodule_id) == ("1.2.3", "big")
    assert tuple(annotation.ratings) == (5, 1, 6, 3, 4, 1, 2, 5, 4)
    (contour,) = annotation.contours
    assert (contour.z_mm, contour.inclusion, contour.points.tolist()) == (-12.5, False, [[3, 4], [5, 6]])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</LidcReadMessage>", "", "can't be read"),
        ("LidcReadMessage", "IdriReadMessage", "no readings of a CT"),
        ("<malignancy>4", "<malignancy>0", "big: malignancy is rated 0"),
        ("<texture>5", "<texture>solid", "solid"),
        ("<texture>5</texture>", "", "texture is missing"),
        ("<SeriesInstanceUid>1.2.3</SeriesInstanceUid>", "", "SeriesInstanceUid is missing"),
    ],
)
def test_a_bad_file_is_refused(small, old, new, message):
    small.write_text(SMALL.replace(old, new))
    with pytest.raises(InputError, match=rf"001\.xml.*{message}"):
        read_xml(small)


def test_boxes_are_around_every_mark_those_below_3_mm_too(small):
    ct = CT(np.zeros((8, 8, 4), np.int16), np.diag([0.5, 0.5, 1.0, 1.0]) @ _moved(-10, -20, 0), name="ct", path=small)
    assert marked_boxes(small, ct) == [
        ((-3.5, -8.0, 1.0), (-3.5, -8.0, 1.0)),
        ((-3.5, -8.0, -12.5), (-2.5, -7.0, -12.5)),
    ]
    for old, new, message in (
        ("<xCoord>3<", "<xCoord>three<", "download it again"),
        ("LidcRead", "IdriRead", "no readings"),
    ):
        small.write_text(SMALL.replace(old, new))
        with pytest.raises(InputError, match=message):
            marked_boxes(small, ct)


def _moved(x: float, y: float, z: float) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, 3] = x, y, z
    return affine


def test_contradicting_ratings_are_named(small):
    reading = read_xml(small)
    scan = Scan(1, "P1", "1", "1.2.3", 2.5, 0.7, np.arange(5.0), reading.annotations)
    check_ratings(scan, reading)
    small.write_text(SMALL.replace("<malignancy>4", "<malignancy>2"))
    with pytest.raises(InputError, match=r"001\.xml.*P1.*malignancy of annotation 1 \(big\) is 2 in the XML, 4 in"):
        check_ratings(scan, read_xml(small))
    with pytest.raises(InputError, match="0 in the database"):
        check_ratings(dataclasses.replace(scan, annotations=()), reading)
    with pytest.raises(InputError, match=r"of series 1\.2\.3"):
        check_ratings(dataclasses.replace(scan, series_uid="9"), reading)


@pytest.mark.parametrize(("patient", "name", "scan_id", "marks"), REAL)
def test_the_real_files_say_what_the_database_says(lidc_scans, data_dir, patient, name, scan_id, marks):
    reading, scan = read_xml(data_dir / "ct" / patient / name), lidc_scans[scan_id]
    check_ratings(scan, reading)
    assert len(reading.annotations) == marks
    for theirs, ours in zip(reading.annotations, scan.annotations, strict=True):
        assert theirs.nodule_id == ours.nodule_id
        for a, b in zip(theirs.contours, ours.contours, strict=True):
            assert (a.z_mm, a.inclusion) == (b.z_mm, b.inclusion)
            np.testing.assert_array_equal(a.points, b.points)


@pytest.mark.parametrize(("patient", "name", "scan_id", "marks"), REAL)
def test_masks_drawn_from_the_xml_are_those_of_the_crops(lidc_scans, data_dir, patient, name, scan_id, marks):
    of_id = dict(
        zip(
            (annotation.id for annotation in lidc_scans[scan_id].annotations),
            read_xml(data_dir / "ct" / patient / name).annotations,
            strict=True,
        )
    )
    compared = 0
    for nodule in marked_nodules(lidc_scans[scan_id]):
        path = data_dir / "lidc_crops" / "readers" / f"{nodule.id}.nii.gz"
        if path.is_file():
            image = nibabel.load(path)
            expected = np.asarray(image.dataobj)
            masks = draw_masks([of_id[annotation.id] for annotation in nodule.annotations], nodule.scan.slice_of)
            first = _first_voxel(nodule, image.affine[2, 3], expected)
            np.testing.assert_array_equal(masks.on(first, expected.shape).bits, expected)
            compared += 1
    assert compared == {12: 1, 14: 3}[scan_id]


def _first_voxel(nodule: MarkedNodule, z_mm: float, crop: np.ndarray) -> tuple[int, int, int]:
    """Where the crop begins in the scan: its table's x0 and y0, found from the union of the database's masks."""
    masks = nodule.masks()
    own, theirs = (np.argwhere(bits > 0).min(0) for bits in (masks.bits, crop))
    column, row = (np.array(masks.offset) + own - theirs)[:2]
    return int(column), int(row), nodule.scan.slice_of(float(z_mm))
