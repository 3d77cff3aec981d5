"""Files and folders appear whole or not at all."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from monai_lung.errors import OutputError
from monai_lung.io import read_ct, replacing, replacing_folder, write_nifti
from monai_lung.io.output import _HOST, check_folder

NAMES = ("findings.json", "lungs.nii.gz", "nodules.nii.gz", "report.html")
OBLIQUE = np.array([[0.7, 0.1, 0, -20], [-0.1, 0.7, 0, -30.5], [0, 0, 2.5, 100], [0, 0, 0, 1]])


def hidden(folder):
    return [p.name for p in folder.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, bool])
def test_nifti_keeps_type_values_and_world(tmp_path, dtype):
    array = (np.random.default_rng(0).random((5, 6, 7)) * 200).astype(dtype)
    write_nifti(tmp_path / "new" / "a.nii.gz", array, OBLIQUE)
    image = nibabel.load(tmp_path / "new" / "a.nii.gz")
    assert image.get_data_dtype() == (np.uint8 if dtype is bool else dtype)
    np.testing.assert_array_equal(np.asarray(image.dataobj), array)
    assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 1
    np.testing.assert_allclose(image.affine, np.diag([-1, -1, 1, 1]) @ OBLIQUE, atol=1e-5)
    np.testing.assert_allclose(image.get_qform(), image.affine, atol=1e-4)
    itk = sitk.ReadImage(str(tmp_path / "new" / "a.nii.gz"))
    np.testing.assert_allclose(itk.TransformIndexToPhysicalPoint((1, 2, 3)), (OBLIQUE @ (1, 2, 3, 1))[:3], atol=1e-4)


def test_nifti_is_the_same_bytes_each_time(tmp_path):
    array = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_nifti(tmp_path / name / "x.nii.gz", array, OBLIQUE)
        time.sleep(1.1 if name == "a" else 0)
    assert (tmp_path / "a" / "x.nii.gz").read_bytes() == (tmp_path / "b" / "x.nii.gz").read_bytes()


def test_a_ct_that_was_written_reads_back(tmp_path):
    from dicom_series import body_hu

    write_nifti(tmp_path / "ct.nii.gz", body_hu(), OBLIQUE)
    ct = read_ct(tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(ct.hu, body_hu())
    np.testing.assert_allclose(ct.affine_lps, OBLIQUE, atol=1e-5)


def test_replacing_keeps_what_was_there_when_the_block_fails(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail():
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert target.read_text() == "old"
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
        assert temporary.suffix == ".txt"
    assert target.read_text() == "new"
    assert hidden(tmp_path) == []


def test_replacing_folder_swaps_the_whole_folder(tmp_path):
    target = tmp_path / "deep" / "case"
    for name in NAMES[:2]:
        with replacing_folder(target, NAMES) as temporary:
            (temporary / name).write_text("1")
    assert [p.name for p in target.iterdir()] == [NAMES[1]]

    def interrupted():
        with replacing_folder(target, NAMES) as temporary:
            (temporary / NAMES[2]).write_text("3")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [p.name for p in target.iterdir()] == [NAMES[1]]
    assert hidden(target.parent) == []


@pytest.mark.parametrize("name", ["ct.nii.gz", "dicom/IM0001.dcm", "deep/findings.json", ".notes"])
def test_a_folder_of_the_users_own_is_never_replaced(tmp_path, name):
    target = tmp_path / "ct"
    (target / name).parent.mkdir(parents=True)
    (target / name).write_text("precious")
    (target / "nodules.nii.gz").write_text("a mask")
    with pytest.raises(OutputError, match="ct holds other files; give another output folder"), replacing_folder(target):
        pytest.fail("the block is entered")
    assert (target / name).read_text() == "precious"
    assert hidden(tmp_path) == []


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["lungs.nii.gz", "nodules.nii.gz"],
        ["findings.json", "notes.txt"],
        ["dicom/IM0001.dcm", "truth/nodules.json"],
        ["ct.nii.gz", "votes.nii.gz"],
    ],
)
def test_empty_folders_and_those_of_an_earlier_run_are_replaced(tmp_path, names):
    target = tmp_path / "case"
    target.mkdir()
    for name in names:
        (target / name).parent.mkdir(exist_ok=True)
        (target / name).write_text("old")
    with replacing_folder(target, ["lungs.nii.gz", "nodules.nii.gz"]) as temporary:
        (temporary / "report.html").write_text("new")
    assert [p.name for p in target.iterdir()] == ["report.html"]


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize(
    ("code", "text"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission denied"),
        (errno.EDQUOT, "quota"),
    ],
)
def test_a_disk_that_refuses_is_one_line(tmp_path, monkeypatch, call, code, text):
    def refuse(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    target = tmp_path / "a.nii.gz"
    target.write_text("old")
    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(OutputError, match=text) as info:
        write_nifti(target, np.zeros((2, 2, 2), np.uint8), OBLIQUE)
    assert "\n" not in str(info.value)
    assert str(target) in str(info.value)
    assert target.read_text() == "old"
    assert hidden(tmp_path) == []


def test_a_disk_that_is_really_full(tmp_path):
    """/dev/full refuses each write: a write that buffers is caught as well as one that doesn't."""
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    full = Path("/dev/full")

    def half_a_folder():
        with replacing_folder(tmp_path / "b") as temporary:
            (temporary / "first").write_text("1")
            full.write_text("x")

    with pytest.raises(OutputError, match="no space left"), replacing(tmp_path / "a"):
        full.write_text("x" * 100_000)
    with pytest.raises(OutputError, match="no space left"):
        half_a_folder()
    assert list(tmp_path.iterdir()) == []


def test_things_in_the_way(tmp_path):
    (tmp_path / "file").write_text("1")
    for target in (tmp_path / "file" / "case", tmp_path / "file"):
        with pytest.raises(OutputError, match="a file is where a folder should be"), replacing_folder(target):
            pass
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="a folder is where a file should be"), replacing(tmp_path / "folder") as new:
        new.write_text("1")
    with pytest.raises(OutputError, match="name is too long"), replacing(tmp_path / ("x" * 300)) as new:
        new.write_text("1")


def test_errors_that_are_not_the_outputs_pass(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a"):
        (tmp_path / "missing_input").read_text()


def test_leftovers_of_dead_processes_are_removed_and_those_of_others_kept(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    alive = os.getppid()
    for pid in (dead.pid, alive):
        (tmp_path / f".new-{_HOST}-{pid}-0123abcd.case").mkdir()
        (tmp_path / f".new-{_HOST}-{pid}-0123abcd.case" / "half").write_text("1")
    (tmp_path / f".new-{'f' * 6}-{dead.pid}-0123abcd.case").mkdir()  # another machine's
    (tmp_path / f".new-{_HOST}-{dead.pid}-0123abcd.other").mkdir()  # another case's
    with replacing_folder(tmp_path / "case") as temporary:
        (temporary / "a").write_text("1")
    left = hidden(tmp_path)
    assert len(left) == 3
    assert not any(str(dead.pid) in n and n.endswith(".case") and _HOST in n for n in left)


def test_a_folder_that_was_moved_away_by_a_process_that_died_comes_back(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    moved = tmp_path / f".old-{_HOST}-{dead.pid}-0123abcd.case"
    moved.mkdir()
    (moved / "result").write_text("whole")
    with pytest.raises(ZeroDivisionError), replacing_folder(tmp_path / "case"):
        raise ZeroDivisionError
    assert (tmp_path / "case" / "result").read_text() == "whole"
    assert hidden(tmp_path) == []


def test_a_result_that_can_not_be_replaced_is_kept(tmp_path, monkeypatch):
    """The disk refuses all once the old result was moved away: it stays there, and the next run brings it back."""
    case = tmp_path / "case"
    case.mkdir()
    (case / "findings.json").write_text("whole")
    rename = os.rename

    def refuse(source, target):
        if Path(target) == case and not case.exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(OutputError, match="reports an error"), replacing_folder(tmp_path / "case") as temporary:
        (temporary / "findings.json").write_text("new")
    assert [(tmp_path / name / "findings.json").read_text() for name in hidden(tmp_path)] == ["whole"]
    monkeypatch.undo()
    with pytest.raises(ZeroDivisionError), replacing_folder(tmp_path / "case"):
        raise ZeroDivisionError
    assert (tmp_path / "case" / "findings.json").read_text() == "whole"
    assert hidden(tmp_path) == []


def test_leftovers_with_an_impossible_process_number_are_removed(tmp_path):
    (tmp_path / f".new-{_HOST}-{10**30}-0123abcd.case").mkdir()
    with replacing_folder(tmp_path / "case") as temporary:
        (temporary / "findings.json").write_text("1")
    assert hidden(tmp_path) == []


def test_many_writers_of_one_folder_leave_one_whole_result(tmp_path):
    def work(number):
        for _ in range(15):
            with replacing_folder(tmp_path / "case") as temporary:
                for name in NAMES:
                    (temporary / name).write_text(str(number))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(tmp_path / "case" / name).read_text() for name in NAMES}) == 1
    assert hidden(tmp_path) == []


WRITER = """
import sys, itertools
from pathlib import Path
from monai_lung.io.output import replacing_folder
print("ready", flush=True)
for number in itertools.count():
    with replacing_folder(Path(sys.argv[1])) as temporary:
        for name in ("findings.json", "lungs.nii.gz", "nodules.nii.gz", "report.html"):
            (temporary / name).write_text(str(number))
"""


def test_killed_at_any_moment(tmp_path):
    target = tmp_path / "case"
    for number in range(6):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(0.05 + 0.013 * number)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        if target.exists():
            assert len({(target / name).read_text() for name in NAMES}) == 1
        with replacing_folder(target) as temporary:
            for name in NAMES:
                (temporary / name).write_text("rerun")
        assert {(target / name).read_text() for name in NAMES} == {"rerun"}
        assert hidden(tmp_path) == []


def test_a_folder_that_can_take_no_file_is_found_out_before_the_work(tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nothing/here")):
        with pytest.raises(OutputError, match="can't be written"):
            check_folder(path)
    check_folder(tmp_path / "new" / "folder")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_on_windows_no_process_is_signalled_and_no_folder_opened(tmp_path, monkeypatch):
    """There signal 0 is Ctrl-C, and folders can't be opened to be flushed."""
    monkeypatch.setattr("monai_lung.io.output._WINDOWS", True)
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("a process was signalled"))
    left = tmp_path / f".new-{_HOST}-2147483647-00000000.result"
    left.mkdir()
    with replacing_folder(tmp_path / "result") as folder:
        (folder / "findings.json").write_text("{}")
    assert (tmp_path / "result" / "findings.json").read_text() == "{}"
    assert left.is_dir()
