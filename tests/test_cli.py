"""The command line's own doing: exit codes, one-line errors, batches, JSON, what it imports."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest

from monai_lung import cli, pipeline
from monai_lung.cli import run
from monai_lung.cli.report_text import report_text
from monai_lung.cli.terminal import table
from monai_lung.errors import DecodeError, OutputError, WeightsError
from monai_lung.io.output import write_nifti
from monai_lung.model import CT, Advice, Lungs, Measurements, Nodule, Outline, Rating, Report, Seed
from monai_lung.report.findings import to_dict
from monai_lung.report.formats import DEFAULT_FORMATS, FORMATS


@pytest.fixture
def volumes(tmp_path: Path) -> list[Path]:
    """Three volume files; what's in them doesn't matter, since the analysis is replaced."""
    folder = tmp_path / "in"
    folder.mkdir()
    paths = [folder / f"{name}.nii.gz" for name in ("one", "two", "three")]
    for path in paths:
        write_nifti(path, np.zeros((4, 4, 4), np.int16), np.eye(4))
    return paths


@pytest.fixture
def analyzer(monkeypatch: pytest.MonkeyPatch) -> dict[str, Exception | type[BaseException]]:
    """Replaces the analysis by one that answers at once, and fails for the cases in the dict that it returns."""
    failing: dict = {}

    class Quick:
        def __init__(self, options: pipeline.Options) -> None:
            failing["options"] = options

        def analyze(self, case, progress=None) -> Report:
            if case.name in failing:
                raise failing[case.name]
            return report(case.name)

    monkeypatch.setattr(pipeline, "Analyzer", Quick)
    return failing


def report(name: str) -> Report:
    shape = (4, 4, 4)
    measured = {f.name: 0.0 for f in dataclasses.fields(Measurements)}
    measured |= {
        "center_mm": (1.0, 2.0, 3.0),
        "center_index": (1, 1, 1),
        "bbox_index": ((0, 0, 0), (2, 2, 2)),
        "hu_percentiles": (0.0,) * 5,
        "axes_mm": ((0.0,) * 3,) * 4,
        "long_axis_mm": 104.25,
        "short_axis_mm": 100.5,
        "volume_mm3": 123456.7,
        "texture": "ground-glass",
        "attachment": (),
        "benign_pattern": None,
        "side": "right",
        "third": "middle",
    }
    outline = Outline(np.ones((2, 2, 2), bool), np.ones((2, 2, 2), np.float32), (0, 0, 0), Seed((0, 0, 0), 1, 5))
    advice = {
        "fleischner_2017": Advice("Fleischner 2017", "not-applicable", "Words of advice. " * 9, "rule"),
        "lung_rads_2022": Advice("Lung-RADS v2022", "4B", "Chest CT.", "rule", modifier="S"),
    }
    nodule = Nodule(11, "1.2.3", outline, Measurements(**measured), Rating(1, 1, (0.99, 1)), advice)
    ct = CT(np.zeros(shape, np.int16), np.eye(4), name, Path(name))
    lungs = Lungs(np.ones(shape, np.uint8), 3000, 2800)
    return Report(ct, lungs, (nodule,), advice, warnings=("Slices are thick. " * 8,))


def one_line(error: str) -> str:
    (line,) = error.strip().splitlines()
    assert line.startswith("monai-lung: error: ")
    assert "Traceback" not in error
    return error


def test_help_names_every_format(capsys):
    assert run(["analyze", "--help"]) == 0
    text = capsys.readouterr().out.replace("\n", "").replace(" ", "")
    assert ",".join(FORMATS) in text
    assert ",".join(DEFAULT_FORMATS) in text


def test_help_imports_nothing_heavy():
    """`rich` draws the help; the version needs not even that."""
    for words in (["--help"], ["analyze", "--help"], ["--version"]):
        code = f"import sys; from monai_lung.cli import run; run({words}); print(sorted(sys.modules))"
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        modules = out.splitlines()[-1]
        heavy = ["torch", "monai", "numpy", "pydicom", "SimpleITK", "scipy", "matplotlib"]
        heavy += ["rich.console", "monai_lung.cli.analyze"] if words == ["--version"] else []
        assert not [name for name in heavy if f"'{name}'" in modules]


def test_version(capsys):
    from monai_lung import __version__

    assert run(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["analyze"],
        ["analyze", "x"],
        ["analyze", "", "-o", "OUT"],
        ["analyze", "IN", "-o", ""],
        ["analyze", "/no/such/place", "-o", "OUT"],
        ["lungs", "/no/such/place", "-o", "OUT/m.nii.gz"],
        ["lungs", "IN", "-o", "OUT/mask.png"],
        ["lungs", "IN", "-o", "OUT/m.nii.gz"],
        ["inspect", "/no/such/place"],
        ["summarize", "/no/such/place"],
        ["analyze", "IN", "-o", "OUT", "--format", "docx"],
        ["analyze", "IN", "-o", "OUT", "--age", "-3"],
        ["analyze", "IN", "-o", "OUT", "--prior", "/no/such/place"],
        ["phantom", "-o", "OUT", "--size", "3"],
        ["nonsense"],
        ["--nonsense"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2_and_one_line(arguments, volumes, tmp_path, capsys):
    places = {"IN": str(volumes[0].parent), "OUT": str(tmp_path / "out")}
    for name, place in places.items():
        arguments = [a.replace(name, place) for a in arguments]
    assert run(arguments) == 2
    one_line(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [[], ["lidc"]], ids=["monai-lung", "lidc"])
def test_without_anything_the_help_keeps_its_lines(arguments, capsys):
    assert run(arguments) in (0, 2)  # 0 before click 8.2
    said = capsys.readouterr()
    lines = (said.out + said.err).splitlines()
    assert lines[0].strip().startswith("Usage: monai-lung")
    assert len(lines) > 10
    assert max(map(len, lines)) <= 80


def test_empty_folder_is_1(tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    for command in (["analyze", str(empty), "-o", str(tmp_path / "out")], ["inspect", str(empty)]):
        assert run(command) == 1
        assert "empty holds no DICOM series" in one_line(capsys.readouterr().err)


def test_text_file_named_dcm_is_1(tmp_path, capsys):
    (tmp_path / "a.dcm").write_text("I am no DICOM\n" * 50)
    assert run(["analyze", str(tmp_path / "a.dcm"), "-o", str(tmp_path / "out")]) == 1
    one_line(capsys.readouterr().err)


def test_table_fits_and_names_the_folder(volumes, tmp_path, analyzer, capsys):
    assert run(["analyze", str(volumes[0]), "-o", str(tmp_path / "out"), "--format", "json,nifti"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert max(len(line) for line in lines[:-1]) <= 80
    assert lines[-1] == f"-> {tmp_path / 'out' / 'one'}"
    assert "right middle" in captured.out
    assert "4BS" in captured.out
    assert captured.err == "", "no progress where stderr is not a terminal"
    assert {p.name for p in (tmp_path / "out" / "one").iterdir()} == {"findings.json", "lungs.nii.gz", "nodules.nii.gz"}


def test_json_goes_to_stdout_alone(volumes, tmp_path, analyzer, capsys):
    analyzer["two"] = DecodeError("two: truncated")
    code = run(["analyze", *map(str, volumes), "-o", str(tmp_path / "out"), "--format", "json", "--json"])
    assert code == 1
    answer = json.loads(capsys.readouterr().out)
    assert [case["case"] for case in answer["cases"]] == ["one", "three"]
    assert answer["cases"][0]["findings"]["nodules"][0]["id"] == 11
    assert answer["failed"] == [{"case": "two", "error": "two: truncated"}]


@pytest.mark.parametrize(
    "failure", [DecodeError("two.nii.gz: truncated"), ValueError("a bug\nin two lines"), MemoryError()]
)
def test_batch_goes_on_after_a_failing_case(failure, volumes, tmp_path, analyzer, capsys):
    analyzer["two"] = failure
    assert run(["analyze", *map(str, volumes), "-o", str(tmp_path / "out"), "--format", "json"]) == 1
    captured = capsys.readouterr()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["one", "three"]
    first, *rest = captured.err.splitlines()
    assert first == "monai-lung: error: 1 of 3 cases failed:"
    assert len(rest) == 1
    assert "two" in rest[0]
    assert "Traceback" not in captured.err


def test_batch_goes_on_after_a_folder_without_images(volumes, tmp_path, analyzer, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    inputs = [str(volumes[0]), str(empty), str(volumes[2])]
    assert run(["analyze", *inputs, "-o", str(tmp_path / "out"), "--format", "json"]) == 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["one", "three"]
    assert "empty holds no DICOM series" in capsys.readouterr().err


def test_a_path_that_is_not_there_stops_before_any_work(volumes, tmp_path, analyzer, capsys):
    assert run(["analyze", str(volumes[0]), str(tmp_path / "no"), "-o", str(tmp_path / "out")]) == 2
    one_line(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_names_that_clash_are_told_apart(volumes, tmp_path, analyzer):
    other = tmp_path / "other"
    other.mkdir()
    twin = other / "one.nii.gz"
    twin.write_bytes(volumes[0].read_bytes())
    assert run(["analyze", str(volumes[0]), str(twin), "-o", str(tmp_path / "out"), "--format", "json"]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["one", "one-2"]


def test_missing_weights_stop_the_batch(volumes, tmp_path, analyzer, capsys):
    analyzer["one"] = WeightsError("model.pt: no weights")
    assert run(["analyze", *map(str, volumes), "-o", str(tmp_path / "out")]) == 1
    assert "no weights" in one_line(capsys.readouterr().err)


def test_output_that_is_a_file_is_1(volumes, tmp_path, analyzer, capsys):
    blocked = tmp_path / "out"
    blocked.write_text("I was here first")
    assert run(["analyze", str(volumes[0]), "-o", str(blocked), "--format", "json"]) == 1
    assert "can't be written" in one_line(capsys.readouterr().err)
    assert blocked.read_text() == "I was here first"


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "no space left"), (errno.EROFS, "read-only"), (errno.EACCES, "permission")],
)
def test_disk_that_takes_nothing_is_1_and_leaves_nothing(code, words, volumes, tmp_path, analyzer, capsys, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code), str(tmp_path / "out" / "one"))

    monkeypatch.setattr("nibabel.save", refuse)
    assert run(["analyze", str(volumes[0]), "-o", str(tmp_path / "out")]) == 1
    assert words in one_line(capsys.readouterr().err)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_output_is_1(volumes, tmp_path, analyzer, capsys):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert run(["analyze", str(volumes[0]), "-o", str(locked), "--format", "json"]) == 1
    assert "permission denied" in one_line(capsys.readouterr().err)


def test_interrupt_is_130_and_keeps_finished_cases_only(volumes, tmp_path, analyzer, capsys, monkeypatch):
    wrote = FORMATS["json"].write

    def interrupted(result: Report, folder: Path, show_patient: bool) -> None:
        wrote(result, folder, show_patient)
        if result.ct.name == "two":
            raise KeyboardInterrupt

    monkeypatch.setitem(FORMATS, "json", dataclasses.replace(FORMATS["json"], write=interrupted))
    assert run(["analyze", *map(str, volumes), "-o", str(tmp_path / "out"), "--format", "json"]) == 130
    assert "interrupted" in one_line(capsys.readouterr().err)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["one"]


def test_debug_shows_the_traceback(volumes, tmp_path, analyzer, capsys):
    analyzer["one"] = OutputError("the disk is gone")
    assert run(["analyze", str(volumes[0]), "-o", str(tmp_path / "out"), "--debug"]) == 1
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert error.splitlines()[-1] == "monai-lung: error: one: the disk is gone"


def every_command(group: click.Group = cli.cli, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Each command with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from every_command(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


def test_help_texts_are_sentences() -> None:
    """Of every command and option: they begin with a capital letter and end with a full stop, or a default."""
    for path, command in every_command():
        assert command.get_short_help_str(200).endswith("."), path
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                text = str(parameter.help)
                assert text[:1].isupper(), f"{path} {parameter.opts}"
                assert text.endswith("."), f"{path} {parameter.opts}"


@pytest.mark.parametrize("path", [path for path, _ in every_command()])
def test_help_fits_80_columns(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*path.split(), "--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_every_command_knows_the_common_options():
    for name, command in every_command():
        known = [option for parameter in command.params for option in parameter.opts]
        for option in ("--verbose", "--quiet", "--debug"):
            assert known.count(option) == 1, f"{name} {option}"


def test_summarize_counts_cases_and_nodules(volumes, tmp_path, analyzer, capsys):
    out = tmp_path / "out"
    assert run(["analyze", *map(str, volumes), "-o", str(out), "--format", "json"]) == 0
    capsys.readouterr()
    assert run(["summarize", str(out), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["cases"], answer["analysed"], answer["nodules"], answer["failed"]) == (3, 3, 3, [])
    assert all(Path(file).is_file() for file in answer["files"])


def test_options_reach_the_analysis(volumes, tmp_path, analyzer):
    words = [
        "--age",
        "61",
        "--sex",
        "f",
        "--emphysema",
        "--no-family-history",
        "--device",
        "cpu",
        "--allow-gaps",
        "--allow-other-patient",
        "--sensitivity",
        "high",
        "--risk",
        "low",
        "--incidental",
        "--earlier-category",
        "4a",
        "--format",
        "json",
    ]
    assert run(["analyze", str(volumes[0]), "-o", str(tmp_path / "out"), "--prior", str(volumes[1]), *words]) == 0
    options = analyzer["options"]
    person = options.person
    assert (person.age, person.sex, person.emphysema, person.family_history, person.spiculation) == (
        61,
        "F",
        True,
        False,
        None,
    )
    assert (person.risk, person.screening, person.earlier_category) == ("low", False, "4A")
    assert person.sources["risk"] == "option"
    assert "spiculation" not in person.sources
    assert options.sensitivity == "high"
    assert (options.device, options.allow_gaps, options.allow_other_patient) == ("cpu", True, True)
    assert options.prior == volumes[1]


def test_a_format_whose_library_is_missing_stops_before_any_work(volumes, tmp_path, analyzer, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run(["analyze", str(volumes[0]), "-o", str(tmp_path / "out"), "--format", "json,figure"]) == 2
    assert 'matplotlib: pip install "monai-lung[dicom]"' in one_line(capsys.readouterr().err)
    assert "options" not in analyzer
    assert run(["analyze", str(volumes[0]), "-o", str(tmp_path / "out"), "--format", "json"]) == 0


def test_json_tells_of_skipped_formats_as_the_files_do(volumes, tmp_path, analyzer, capsys):
    assert run(["analyze", str(volumes[0]), "-o", str(tmp_path / "out"), "--format", "json,sr", "--json"]) == 0
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    written = json.loads((tmp_path / "out/one/findings.json").read_text())
    assert case["findings"]["input"]["warnings"] == written["input"]["warnings"]
    assert "SEG and SR" in written["input"]["warnings"][-1]


def test_main_exits_with_the_code(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["monai-lung", "inspect", "/no/such/place"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2


def test_text_names_what_decides_before_the_rest(make_findings, tmp_path):
    """The deciding nodule, then Lung-RADS, then Fleischner, then the rows, the most urgent first."""
    content = make_findings
    text = report_text(content, tmp_path)
    assert max(map(len, text.splitlines()[:-1])) <= 80
    lead = ["Nodule 12 decides: ground-glass", "Lung-RADS v2022 4B", "Fleischner 2017 n/a"]
    order = [*lead, "\n12  right", "\n11  right"]
    places = [text.index(word) for word in order]
    assert places == sorted(places)
    assert "image 54" in text
    assert "1 more below the operating point, not counted" in text
    assert "Note: Consider infection." in text


@pytest.fixture
def make_findings():
    """Findings of two nodules: the second decides though the first ranks higher."""
    content = to_dict(report("one"))
    row = content["nodules"][0]
    change = {"status": "growing", "volume_change_percent": 60.0}
    second = {**row, "id": 12, "image_number": 54, "growth": change}
    higher = {**row["guidelines"], "lung_rads_2022": {**row["guidelines"]["lung_rads_2022"], "category": "4X"}}
    content["nodules"] = [{**row, "guidelines": higher, "growth": {**change, "status": "stable"}}, second]
    content |= {"deciding_nodule": 12, "candidates": [row], "notes": ["Consider infection."], "prior": {}}
    content["guidelines"]["lung_rads_2022"]["modifier"] = ""
    content["guidelines"] = dict(reversed(content["guidelines"].items()))  # Lung-RADS leads
    return content


def test_table_aligns():
    assert table(("a", "n"), [("x", 1), ("long", 22)], "lr") == "a      n\nx      1\nlong  22"


def test_the_options_offer_what_the_model_knows():
    from typing import get_args

    from monai_lung import model
    from monai_lung.cli import options
    from monai_lung.clinical.guidelines.nodule import LUNG_RADS_CATEGORIES

    assert get_args(model.Sensitivity) == options._SENSITIVITIES
    assert get_args(model.Risk) == options._RISKS
    assert LUNG_RADS_CATEGORIES == options._CATEGORIES
