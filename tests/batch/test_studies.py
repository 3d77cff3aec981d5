"""Which cases are done again and which are finished; the networks are replaced by an analysis that answers at once."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest

from monai_lung import pipeline
from monai_lung.batch.options import Engine
from monai_lung.batch.studies import Job, RemoteCaseAnalysis, analyze_cases, maker
from monai_lung.cli import run
from monai_lung.errors import ConfigError, DecodeError, InputError, OutputError
from monai_lung.io import content_sha256, find_cases, paths, read_ct, write_nifti
from monai_lung.model import Lungs, Person, Report


@pytest.fixture
def analysed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the cases that were analysed; nothing is found in them, and "bad" fails."""
    names: list[str] = []

    class Quick:
        def __init__(self, options: pipeline.Options) -> None:
            self.options = options

        def analyze(self, case, progress=None) -> Report:
            names.append(case.name)
            if case.name == "bad":
                raise DecodeError("bad: truncated")
            ct = read_ct(case)
            made_by = maker(self.options)
            lungs = Lungs(np.ones(ct.hu.shape, np.uint8), 3000, 2800)
            return Report(
                ct, lungs, (), {}, self.options.person, weights=made_by["weights"], software=made_by["software"]
            )

    monkeypatch.setattr(pipeline, "Analyzer", Quick)
    return names


def volume(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    hu = np.random.default_rng(value).integers(-1000, 200, (16, 16, 12)).astype(np.int16)
    write_nifti(path, hu, np.diag([2.0, 2.0, 3.0, 1.0]))
    os.utime(path, (1e9, 1e9))
    return path


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path / "out", pipeline.Options(device="cpu"), ("json", "nifti"))


def analyze(job: Job, *paths: Path) -> list[dict]:
    cases = [case for path in paths for case in find_cases(path)]
    return [result.value for _, result in analyze_cases(job, cases, Engine())]


def test_a_finished_case_is_passed_over_with_the_same_findings(job, analysed, tmp_path, caplog):
    paths = [volume(tmp_path / "in" / f"{name}.nii.gz", n) for n, name in enumerate(("one", "two"))]
    first = analyze(job, *paths)
    assert analysed == ["one", "two"]
    shutil.rmtree(job.out / "one")
    assert analyze(job, *paths) == first
    assert analysed == ["one", "two", "one"]
    assert "1 of 2 cases are already finished and skipped" in caplog.text


def test_a_dicom_series_is_known_by_its_content(job, analysed, phantom_dir, tmp_path):
    folder = tmp_path / "dicom"
    shutil.copytree(phantom_dir / "dicom", folder)
    analyze(job, folder)
    for number, file in enumerate(sorted(folder.rglob("*.dcm"))):
        file.rename(folder / f"x{number}")
        os.utime(folder / f"x{number}")
    analyze(job, folder)
    assert len(analysed) == 1
    sorted(folder.rglob("x*"))[-1].unlink()
    (case,) = find_cases(folder)
    assert not job.finished(case)


def anonymised(source: Path, folder: Path, name: str, slices: int) -> Path:
    """The first slices of a series as another patient's, under the same UIDs."""
    folder.mkdir(parents=True)
    for file in sorted(source.rglob("*.dcm"))[:slices]:
        data = pydicom.dcmread(file)
        data.PatientName, data.PatientID = name, ""
        data.save_as(folder / file.name)
        os.utime(folder / file.name, (1e9, 1e9))
    return folder


@pytest.mark.parametrize("slices", [12, 14])
def test_two_patients_with_equal_uids_never_get_one_anothers_findings(
    job, analysed, phantom_dir, tmp_path, caplog, slices
):
    """matRad PR 273, dcm2niix issue 211: of as many slices the second got the first one's, else it replaced them."""
    job = dataclasses.replace(job, show_patient=True)
    one = anonymised(phantom_dir / "dicom", tmp_path / "p1", "One", 12)
    two = anonymised(phantom_dir / "dicom", tmp_path / "p2", "Two", slices)
    (first,) = analyze(job, one)
    (second,) = analyze(job, two)
    assert (first["input"]["patient"], second["input"]["patient"]) == (["One"], ["Two"])
    assert first["input"]["series_uid"] == second["input"]["series_uid"]
    assert (first["input"]["path"], second["input"]["path"]) == (str(one), str(two))
    assert len(analysed) == 2
    assert "holds the result of another input" in caplog.text
    kept = [json.loads((job.out / found["input"]["case"] / "findings.json").read_text()) for found in (first, second)]
    assert kept == [first, second]
    assert analyze(job, two, one) == [second, first], "in another order, both are found again"
    assert len(analysed) == 2


def test_a_loop_over_files_of_one_name_keeps_every_result(analysed, tmp_path, capsys):
    """`s0001/ct.nii.gz`, `s0002/ct.nii.gz`, a command each: the second replaced the first, whatever the format."""
    for number in (1, 2):
        path = volume(tmp_path / f"s000{number}" / "ct.nii.gz", number)
        for _ in range(2):
            assert run(["analyze", str(path), "-o", str(tmp_path / "out"), "--format", "nifti"]) == 0
    assert len(analysed) == 2
    paths = [json.loads((tmp_path / "out" / n / "findings.json").read_text())["input"]["path"] for n in ("ct", "ct-2")]
    assert paths == [str(tmp_path / f"s000{n}" / "ct.nii.gz") for n in (1, 2)]
    assert run(["summarize", str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "cases.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == paths
    assert len({row["sha256"] for row in rows}) == 2


def test_a_program_that_writes_two_volumes_of_one_name_keeps_both(analysed, tmp_path):
    folders = []
    for number in (1, 2, 1):
        (case,) = find_cases(volume(tmp_path / str(number) / "ct.nii.gz", number))
        report = pipeline.Analyzer(pipeline.Options()).analyze(case)
        folders.append(pipeline.write(report, tmp_path / "out", ("json",)).name)
    assert folders == ["ct", "ct-2", "ct"]


def test_the_digest_of_a_volume_with_a_header_of_its_own_covers_its_voxels(tmp_path):
    import SimpleITK as sitk

    digests = []
    for value in (1, 2):
        image = sitk.GetImageFromArray(np.full((12, 16, 16), value, np.int16))
        sitk.WriteImage(image, str(tmp_path / "ct.mhd"))
        digests.append(content_sha256(find_cases(tmp_path / "ct.mhd")[0]))
    assert digests[0] != digests[1]


def test_the_path_of_an_input_is_that_of_its_own_files(job, analysed, phantom_dir, tmp_path):
    """Not that of the folder with all studies, nor of what was unpacked for a while."""
    anonymised(phantom_dir / "dicom", tmp_path / "all" / "a", "One", 12)
    with zipfile.ZipFile(tmp_path / "ct.zip", "w") as archive:
        archive.write(volume(tmp_path / "v" / "ct.nii.gz"), "x/ct.nii.gz")
    assert [f["input"]["path"] for f in analyze(job, tmp_path / "all", tmp_path / "ct.zip")] == [
        str(tmp_path / "all" / "a"),
        str(tmp_path / "ct.zip"),
    ]


def test_a_zip_that_is_unpacked_again_is_the_same(job, analysed, phantom_dir, tmp_path):
    path = tmp_path / "chest.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in (phantom_dir / "dicom").rglob("*.dcm"):
            archive.write(file, file.name)
    analyze(job, path)
    paths.forget_unzipped(path)
    analyze(job, path)  # unpacked again, later than the result
    assert len(analysed) == 1


def test_of_several_archives_one_is_unpacked_at_a_time(analysed, phantom_dir, tmp_path, monkeypatch):
    archives = [tmp_path / f"{name}.zip" for name in ("one", "two")]
    for number, path in enumerate(archives):
        with zipfile.ZipFile(path, "w") as archive:
            for file in (phantom_dir / "dicom").rglob("*.dcm"):
                data = pydicom.dcmread(file)
                for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
                    data[keyword].value = f"{data[keyword].value[:-2]}.{number}"
                data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
                data.save_as(tmp_path / "slice.dcm")
                archive.write(tmp_path / "slice.dcm", file.name)
    unpacked: list[int] = []
    real = pipeline.Analyzer.analyze

    def analyze(self, case, progress=None):
        unpacked.append(len(paths._unzipped))
        assert case.series.files[0].exists()
        return real(self, case, progress)

    monkeypatch.setattr(pipeline.Analyzer, "analyze", analyze)
    for path in archives:
        paths.forget_unzipped(path)
    before = len(paths._unzipped)
    assert run(["analyze", *map(str, archives), "-o", str(tmp_path / "out"), "--format", "json"]) == 0
    assert unpacked == [before + 1] * 2
    assert len(analysed) == 2


def spoil_weights(path: Path) -> None:
    content = json.loads(path.read_text())
    content["weights"]["find"] = "0" * 64
    path.write_text(json.dumps(content))


def spoil_version(path: Path) -> None:
    content = json.loads(path.read_text())
    content["software"]["monai-lung"] = "0.0.1"
    path.write_text(json.dumps(content))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize("spoil", [spoil_weights, spoil_version, cut, Path.unlink])
def test_a_result_of_other_makers_or_a_damaged_one_is_made_anew(job, analysed, tmp_path, spoil):
    path = volume(tmp_path / "in" / "one.nii.gz")
    first = analyze(job, path)
    spoil(job.out / "one" / "findings.json")
    assert analyze(job, path) == first
    assert len(analysed) == 2
    assert json.loads((job.out / "one" / "findings.json").read_text()) == first[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"formats": ("json", "nifti", "csv")},
        {"show_patient": True},
        {"options": pipeline.Options(device="cpu", person=Person(age=61))},
    ],
)
def test_other_options_make_it_anew(job, analysed, tmp_path, changes):
    path = volume(tmp_path / "in" / "one.nii.gz")
    analyze(job, path)
    changed = dataclasses.replace(job, **changes)
    analyze(changed, path)
    assert len(analysed) == 2
    analyze(changed, path)
    assert len(analysed) == 2


def test_with_a_prior_it_is_always_made_anew(job, analysed, tmp_path):
    path = volume(tmp_path / "in" / "one.nii.gz")
    analyze(job, path)
    again = dataclasses.replace(job, options=pipeline.Options(device="cpu", prior=path))
    (case,) = find_cases(path)
    assert job.finished(case)
    assert not again.finished(case)


def test_a_file_that_changed_is_analysed_again(job, analysed, tmp_path):
    path = volume(tmp_path / "in" / "one.nii.gz")
    analyze(job, path)
    os.utime(path)  # newer than the result, and the same
    analyze(job, path)
    assert len(analysed) == 1
    analyze(job, volume(path, 1))
    assert len(analysed) == 2


def test_another_file_of_the_same_name_is_never_taken_for_the_first(job, analysed, tmp_path):
    """Older than the result, of the same size and grid: only its content tells."""
    analyze(job, volume(tmp_path / "a" / "one.nii.gz", 1))
    second = volume(tmp_path / "b" / "one.nii.gz", 2)
    (findings,) = analyze(job, second)
    assert len(analysed) == 2
    assert findings["input"]["sha256"] == read_ct(second).sha256


def test_a_failed_case_is_tried_again(job, analysed, tmp_path):
    paths = [volume(tmp_path / "in" / f"{name}.nii.gz") for name in ("bad", "good")]
    for _ in range(2):
        failed, good = analyze(job, *paths)
        assert failed is None
        assert good["input"]["case"] == "good"
    assert analysed == ["bad", "good", "bad"]


def test_the_command_line_prints_the_same_twice(analysed, tmp_path, capsys):
    paths = [str(volume(tmp_path / "in" / f"{name}.nii.gz", n)) for n, name in enumerate(("one", "bad", "two"))]
    printed = []
    for arguments in ([], [], ["--json"], ["--json"]):
        assert run(["analyze", *paths, "-o", str(tmp_path / "out"), "--format", "json", *arguments]) == 1
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert printed[2] == printed[3]
    assert analysed == ["one", "bad", "two", "bad", "bad", "bad"]
    assert [case["case"] for case in json.loads(printed[2])["cases"]] == ["one", "two"]


def test_a_node_that_is_not_set_up_as_this_machine_is_refused(job, tmp_path):
    job.out.mkdir()
    asked_by = maker(job.options)
    RemoteCaseAnalysis(job, asked_by)
    for key, name in (("software", "monai-lung"), ("weights", "rate")):
        other = {**asked_by, key: {**asked_by[key], name: "other"}}
        with pytest.raises(ConfigError, match="install the same"):
            RemoteCaseAnalysis(job, other)
    job.out.rmdir()
    with pytest.raises(ConfigError, match="all nodes share"):
        RemoteCaseAnalysis(job, asked_by)


def test_a_node_that_does_not_see_the_input_says_so(job, tmp_path):
    path = volume(tmp_path / "in" / "one.nii.gz")
    (case,) = find_cases(path)
    job.out.mkdir()
    path.unlink()
    with pytest.raises(InputError, match="isn't there on"):
        RemoteCaseAnalysis(job, maker(job.options))(case)


def test_an_output_folder_that_takes_nothing_stops_before_the_first_case(job, analysed, tmp_path):
    (tmp_path / "taken").write_text("mine")
    bad = dataclasses.replace(job, out=tmp_path / "taken")
    with pytest.raises(OutputError, match="taken can't be written"):
        list(analyze_cases(bad, find_cases(volume(tmp_path / "ct.nii.gz")), Engine()))
    assert analysed == []
