"""The table of formats: an entry is all that a new output needs."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from monai_lung import pipeline
from monai_lung.errors import OutputError, UsageError
from monai_lung.model import Report
from monai_lung.report.formats import (
    DEFAULT_FORMATS,
    FORMATS,
    Format,
    check_formats,
    files_of,
    possible,
    require_formats,
)

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "lung_nodule_analysis" / "configs" / "inference.json"


def test_sr_brings_the_seg_that_it_refers_to():
    assert check_formats(["sr"]) == ("json", "seg", "sr"), "json says what a result was made of"
    assert check_formats(["seg", "json"]) == ("json", "seg")
    assert check_formats(["sr", "all"]) == tuple(FORMATS)
    assert check_formats("csv, json") == ("json", "csv")


@pytest.mark.parametrize("formats", ["pdf", "json,pdf", "", []])
def test_an_unknown_format_is_named(formats):
    with pytest.raises(UsageError, match="choose from json, nifti, seg"):
        check_formats(formats)


def test_what_a_format_needs_is_written_before_it():
    names = list(FORMATS)
    assert all(names.index(other) < names.index(name) for name in names for other in FORMATS[name].needs)


def test_a_missing_library_names_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r'format figure needs matplotlib: pip install "monai-lung\[dicom\]"'):
        require_formats("json,figure")


def test_every_format_writes_its_files_and_no_others(tmp_path, make_report):
    report = make_report(1)
    for name, entry in FORMATS.items():
        folder = pipeline.write(report, tmp_path / name, [name])
        assert {p.name for p in folder.iterdir()} == {"findings.json", *entry.files, *files_of(entry.needs)}


def test_a_volume_can_not_have_what_refers_to_dicom(tmp_path, make_report):
    folder = pipeline.write(make_report(1, nifti=True), tmp_path, "all")
    assert {p.name for p in folder.iterdir()} == set(files_of(possible(FORMATS, dicom=False)))
    assert not {"seg.dcm", "sr.dcm"} & set(files_of(possible(FORMATS, dicom=False)))


def test_an_entry_is_all_that_a_new_output_needs(tmp_path, make_report, monkeypatch):
    """It's chosen, written, replaced at a second run, and known to the engine, by the entry alone."""
    from monai_lung.batch.studies import Job

    def write(report: Report, folder: Path, show_patient: bool) -> None:
        (folder / "new.txt").write_text(report.ct.name)

    monkeypatch.setitem(FORMATS, "new", Format("new", ("new.txt",), write))
    report = make_report(0, nifti=True)
    for _ in range(2):  # the second replaces the first
        folder = pipeline.write(report, tmp_path, "new")
    assert (folder / "new.txt").read_text() == report.ct.name
    assert "new.txt" in files_of(Job(tmp_path, pipeline.Options(), check_formats("all")).formats)


def test_a_writer_in_a_thread_of_its_own_fails_the_whole(tmp_path, make_report, monkeypatch):
    def write(report: Report, folder: Path, show_patient: bool) -> None:
        raise OutputError("no space left")

    monkeypatch.setitem(FORMATS, "nifti", replace(FORMATS["nifti"], write=write))
    with pytest.raises(OutputError, match="no space left"):
        pipeline.write(make_report(0, nifti=True), tmp_path, "json,nifti")
    assert not list(tmp_path.iterdir())


def test_the_bundle_writes_the_same_by_default():
    assert json.loads(BUNDLE.read_text(encoding="utf-8"))["formats"] == ",".join(DEFAULT_FORMATS)
