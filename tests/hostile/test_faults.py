"""Whatever happens to a run, nothing is half-written, nothing is lost, and a rerun completes."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel
import pytest
from cage import Cage
from corpus import Chest
from faults import FILES
from kinds_volumes import nifti
from test_hostile import PREFIX


@pytest.fixture(scope="module")
def writers() -> Iterator[Cage]:
    with Cage("faults:warm_up", "monai_lung.cli") as one:
        yield one


def whole(folder: Path, ages: set[int]) -> int:
    """The age in a result; every file of it is there and can be read."""
    assert {p.name for p in folder.iterdir()} == FILES
    age = json.loads((folder / "findings.json").read_text())["person"]["age"]
    assert age in ages
    assert nibabel.load(folder / "lungs.nii.gz").get_fdata().shape == (48, 48, 40)
    assert (folder / "report.html").read_text().rstrip().endswith("</html>")
    return age


@pytest.mark.parametrize("earlier", [False, True])
def test_killed_at_every_operation_on_a_file(earlier: bool, writers: Cage, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if earlier:
        assert writers.run("--version", folder=tmp_path, setup="faults:write", OUT=out, AGE=50).code == 0
    seen = set()
    for number in range(1, 200):
        end = writers.run("--version", folder=tmp_path, setup="faults:write_and_die", OUT=out, AGE=60, KILL_AT=number)
        visible = [p for p in out.iterdir() if not p.name.startswith(".")] if out.exists() else []
        hidden = [p.name for p in out.iterdir() if p.name.startswith(".old-")] if out.exists() else []
        if visible:
            seen.add(whole(out / "case", {50, 60}))
        elif earlier:  # between two renames: the next run brings the earlier one back
            assert hidden
        if end.code == 0:
            break
        assert end.code == -9, end.err
    assert 20 < number < 199
    assert [p.name for p in out.iterdir()] == ["case"], "leftovers stay"
    assert whole(out / "case", {60}) == 60
    assert seen == ({50, 60} if earlier else {60})


def test_two_processes_on_one_folder(writers: Cage, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ends = []
    with Cage("faults:warm_up", "monai_lung.cli") as other:
        cages = {100: writers, 200: other}

        def work(age: int) -> None:
            (tmp_path / str(age)).mkdir()
            ends.append(
                cages[age].run("--version", folder=tmp_path / str(age), setup="faults:write_often", OUT=out, AGE=age)
            )

        threads = [threading.Thread(target=work, args=(age,)) for age in cages]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.02)
        for thread in threads:
            thread.join()
    assert [end.code for end in ends] == [0, 0], [end.err for end in ends]
    assert [p.name for p in out.iterdir()] == ["case"]
    assert whole(out / "case", {119, 219}) in (119, 219)


@pytest.mark.parametrize("limit", [600, 4000])
def test_a_disk_that_is_full(limit: int, chest: Chest, cage: Cage, tmp_path: Path) -> None:
    ct = chest.series().write(tmp_path / "ct")
    words = ["lungs", ct, "-o", tmp_path / "out" / "lungs.nii.gz"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "lungs.nii.gz").write_bytes(b"earlier")
    end = cage.run(*words, folder=tmp_path, setup="faults:small_files", LIMIT=limit)
    assert end.code == 1
    assert end.err.startswith(PREFIX)
    assert "larger than the file system allows" in end.err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["lungs.nii.gz"]
    assert (tmp_path / "out" / "lungs.nii.gz").read_bytes() == b"earlier"
    assert cage.run(*words, folder=tmp_path).code == 0
    assert nibabel.load(tmp_path / "out" / "lungs.nii.gz").shape == chest.hu.shape


@pytest.mark.parametrize("how", ["delete", "cut", "exchange"])
def test_input_that_vanishes_while_it_is_read(how: str, chest: Chest, cage: Cage, tmp_path: Path) -> None:
    ct = chest.series().write(tmp_path / "ct")
    words = ["lungs", ct, "-o", tmp_path / "out" / "lungs.nii.gz"]
    end = cage.run(*words, folder=tmp_path, setup="faults:vanish", VICTIM=ct / "0020.dcm", HOW=how)
    assert end.code == 1
    assert end.err.startswith(PREFIX)
    assert end.err.count("\n") == 1
    assert "0020.dcm" in end.err
    assert "unexpected" not in end.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["dicom", "nii.gz", "mha"])
def test_too_little_memory_is_one_line(form: str, cage: Cage, tmp_path: Path) -> None:
    """A volume of 100 MB where a child may map 60 MB."""
    import numpy as np
    import SimpleITK as sitk

    hu = np.zeros((512, 512, 200), np.int16)
    hu[100:300] = -1000
    if form == "dicom":
        ct = Chest(hu).series().write(tmp_path / "ct")
    elif form == "mha":
        ct = tmp_path / "ct.mha"
        sitk.WriteImage(sitk.GetImageFromArray(hu.T), str(ct))
    else:
        ct = nifti(Chest(hu), tmp_path)
    end = cage.run("lungs", ct, "-o", tmp_path / "out.nii.gz", folder=tmp_path, memory_mb=60)
    assert end.code == 1
    assert end.err.startswith(PREFIX)
    assert end.err.count("\n") == 1
    assert "memory" in end.err
    assert not (tmp_path / "out.nii.gz").exists()


def test_clocks_that_jump(chest: Chest, cage: Cage, writers: Cage, tmp_path: Path) -> None:
    ct = chest.series().write(tmp_path / "ct")
    for number, file in enumerate(sorted(ct.iterdir())):
        os.utime(file, (-86400 * number, 4102444800 * (number % 2)))
    out = tmp_path / "lungs.nii.gz"
    assert cage.run("lungs", ct, "-o", out, folder=tmp_path, setup="faults:clock_jumps").code == 0
    first = out.read_bytes()
    assert cage.run("lungs", ct, "-o", out, folder=tmp_path).code == 0
    assert out.read_bytes() == first
