"""The commands: what they print and write, and their exit codes."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from small_download import write_database, write_download

from monai_lung.cli.lidc import lidc
from monai_lung.data.splits import read_folds
from monai_lung.errors import InputError, UsageError


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("lidc-cli")
    write_download(root / "tcia")
    write_database(root / "lidc.sqlite")
    return root


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(lidc, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_summary_prints_and_saves(source, tmp_path):
    result = call("summary", "--database", source / "lidc.sqlite", "-o", tmp_path / "s.json")
    saved = json.loads((tmp_path / "s.json").read_text())
    assert (saved["patients"], saved["annotations"], saved["nodules"], saved["contours"]) == (3, 12, 6, 36)
    assert saved["at_least"]["3"]["median_below_at_above_3"] == [3, 0, 0]
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert {"nodules 6", "nodules by annotations 1: 3, 3: 3", ">= 3 annotations: nodules 3"} <= set(lines)
    as_json = call("summary", "--json", "--database", source / "lidc.sqlite", "-o", tmp_path / "s.json")
    assert json.loads(as_json.stdout) == saved


def test_index_and_split_of_it(source, tmp_path):
    result = call("index", "--database", source / "lidc.sqlite", "-o", tmp_path / "nodules.csv")
    assert "6 nodules" in result.stdout
    with (tmp_path / "nodules.csv").open() as file:
        rows = list(csv.DictReader(file))
    nodule = rows[1]
    assert (nodule["malignancy"], nodule["malignancy_median"], nodule["n_readers"]) == ("1 2 3", "2.0", "3")
    assert (float(nodule["x"]), float(nodule["y"]), float(nodule["z_mm"])) == (48, 55, -5)
    assert float(nodule["diameter_mm"]) == pytest.approx(16.4, abs=0.1)
    result = call("split", tmp_path / "nodules.csv", "-k", 3, "-o", tmp_path / "folds.json")
    assert "3 patients in 3 folds" in result.stdout
    assert "no patient is in two folds" in result.stdout
    assert sorted(read_folds(tmp_path / "folds.json").fold_of.values()) == [0, 1, 2]


@pytest.mark.parametrize("unit", ["nodule", "mark"])
def test_split_by_nodule_says_that_it_leaks(source, tmp_path, unit):
    call("index", "--database", source / "lidc.sqlite", "-o", tmp_path / "nodules.csv")
    result = call("split", tmp_path / "nodules.csv", "--split", unit, "-k", 2, "-o", tmp_path / "folds.json")
    patients, nodules = map(
        int, re.search(r"this split leaks: (\d) patients with (\d) nodules", result.stdout).groups()
    )
    assert 1 <= patients == nodules / 2  # each has two
    assert read_folds(tmp_path / "folds.json").unit == unit


def test_prepare_split_and_seg(source, tmp_path):
    options = ("--database", source / "lidc.sqlite", "--min-readers", 1)
    result = call("prepare", source / "tcia", "-o", tmp_path / "out", *options)
    assert result.exit_code == 0
    assert "2 scans done, 0 failed, 1 not in the download, 4 nodule crops" in result.stdout
    assert result.stderr == ""
    result = call("split", tmp_path / "out", "--split", "nodule", "-k", 2, "-o", tmp_path / "folds.json")
    nodules = read_folds(tmp_path / "folds.json").fold_of  # no scan is a nodule
    assert set(nodules) == {path.name.split(".")[0] for path in (tmp_path / "out" / "images").iterdir()}
    assert len(nodules) == 4
    assert re.search(r"leaks: (1 patients with 2|2 patients with 4) nodules", result.stdout)
    result = call("split", tmp_path / "out", "-k", 2, "-o", tmp_path / "folds.json")
    assert set(read_folds(tmp_path / "folds.json").fold_of) == {"LIDC-IDRI-9001", "LIDC-IDRI-9002"}
    folds = ("--fold-file", tmp_path / "folds.json", "--fold", 1)
    result = call("backgrounds", tmp_path / "out", "-o", tmp_path / "b", *folds)
    assert "1 background ->" in result.stdout
    (name,) = (p.stem for p in (tmp_path / "b").iterdir())
    assert read_folds(tmp_path / "folds.json").fold_of[name.rsplit("_s", 1)[0]] == 0
    result = call("seg", source / "tcia" / "classic", "-o", tmp_path / "seg.dcm", "--database", source / "lidc.sqlite")
    assert "6 segments" in result.stdout
    assert (tmp_path / "seg.dcm").read_bytes()[128:132] == b"DICM"


def test_a_failed_scan_is_listed_and_gives_exit_code_1(tmp_path):
    write_database(tmp_path / "lidc.sqlite")
    folders = write_download(tmp_path / "tcia")
    next(iter(folders["LIDC-IDRI-9001"].iterdir())).unlink()
    result = call("prepare", tmp_path / "tcia", "-o", tmp_path / "out", "--database", tmp_path / "lidc.sqlite")
    assert result.exit_code == 1
    assert "1 scans done, 1 failed" in result.stdout
    assert "failed: LIDC-IDRI-9001_s1: " in result.stderr


def test_wrong_input_is_named(source, tmp_path):
    with pytest.raises(InputError, match="no scan 1"):
        call("seg", source / "tcia" / "classic", "-o", tmp_path / "seg.dcm")
    with pytest.raises(InputError, match="holds no nodule"):
        call("split", tmp_path, "-o", tmp_path / "folds.json")
    with pytest.raises(UsageError, match="is not a folder"):
        call("prepare", tmp_path / "nowhere", "-o", tmp_path / "out")
    with pytest.raises(InputError, match="is not a file"):
        call("summary", "--database", tmp_path / "nowhere.sqlite", "-o", tmp_path / "s.json")
