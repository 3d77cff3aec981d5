"""A download becomes training data: both layouts, the crop format, resuming, and scans that fail."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage
from small_download import (
    LONELY,
    NODULE,
    ORIGIN_MM,
    PATIENTS,
    SLICES,
    SPACING_MM,
    chest_hu,
    series_uid,
    write_database,
    write_download,
)

from monai_lung.batch.options import Engine
from monai_lung.data.backgrounds import read_backgrounds
from monai_lung.data.crops import read_crop, read_table
from monai_lung.data.splits import Folds, write_folds
from monai_lung.errors import InputError, UsageError
from monai_lung.io import read_ct
from monai_lung.lidc.index import Ratings
from monai_lung.lidc.prepare import Outcome, prepare
from monai_lung.lidc.scan_folder import MARGIN_MM, Settings
from monai_lung.lidc.whole_lungs import make_backgrounds

REAL_SERIES = "1.3.6.1.4.1.14519.5.2.1.6279.6001.179049373636438705059720603192"
SETTINGS = Settings(min_readers=1)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A download and its database; not to be changed."""
    root = tmp_path_factory.mktemp("lidc")
    write_download(root / "tcia")
    write_database(root / "lidc.sqlite")
    return root


@pytest.fixture(scope="module")
def prepared(source) -> Path:
    out = source / "prepared"
    outcome = prepare(source / "tcia", out, settings=SETTINGS, database=source / "lidc.sqlite")
    assert outcome == Outcome(done=2, failed={}, missing=1, others=1, crops=4)
    return out


@pytest.fixture
def own(source, tmp_path) -> tuple[Path, dict[str, Path]]:
    """A copy of the download to spoil, and the folders of its two series."""
    shutil.copytree(source / "tcia", tmp_path / "tcia")
    folders = {patient: next((tmp_path / "tcia").rglob(patient)) for patient in PATIENTS[:2]}
    return tmp_path / "tcia", {
        patient: max((p.parent for p in folder.rglob("*.dcm")), key=lambda f: len(list(f.iterdir())))
        for patient, folder in folders.items()
    }


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def array(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


def run(tcia: Path, source: Path, out: Path, **options) -> Outcome:
    settings = Settings(min_readers=3)
    return prepare(tcia, out, settings=settings, database=source / "lidc.sqlite", **options)


def corners(boxes, lungs, spacing_mm) -> list[np.ndarray]:
    """Lowest and highest corner (2, 3) of each box, in mm from the lungs' lowest corner, in order of x."""
    low = np.argwhere(lungs > 0).min(0)
    ends = [np.array([[s.start for s in box], [s.stop for s in box]]) for box in boxes]
    return sorted(((e - low) * spacing_mm for e in ends), key=lambda c: c[0, 0])


def folds_of(folder: Path, of: dict[str, int]) -> Path:
    write_folds(Folds(0, 2, "patient", of), folder / "folds.json")
    return folder / "folds.json"


def test_parts_of_the_collection_come_one_after_another(source, own, tmp_path):
    tcia, folders = own
    first, second = PATIENTS[:2]
    held_back = folders[second].rename(tmp_path / "later")
    assert run(tcia, source, tmp_path / "out").done == 1
    shutil.rmtree(folders[first])
    held_back.rename(folders[second])
    seen = []
    outcome = run(tcia, source, tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    assert (outcome.done, outcome.missing, seen) == (2, 1, [(0, 1), (1, 1)])
    assert {row["patient"] for row in table(tmp_path / "out" / "nodules.csv")} == {first, second}
    assert all(
        (tmp_path / "out" / "images" / f"{r['id']}.nii.gz").is_file() for r in table(tmp_path / "out" / "nodules.csv")
    )


def test_parts_made_with_other_settings_are_not_lost_on_the_way(own, source, tmp_path):
    tcia, folders = own
    assert run(tcia, source, tmp_path / "out").done == 2
    before = table(tmp_path / "out" / "nodules.csv")
    shutil.rmtree(folders[PATIENTS[0]])
    with pytest.raises(UsageError, match=rf"holds {PATIENTS[0]}_s1, which was made with other settings.*min_readers"):
        prepare(tcia, tmp_path / "out", settings=replace(SETTINGS, min_readers=2), database=source / "lidc.sqlite")
    assert table(tmp_path / "out" / "nodules.csv") == before


def test_scans_outside_of_the_fold_become_backgrounds(prepared, tmp_path):
    fold_file = folds_of(tmp_path, {PATIENTS[0]: 0, PATIENTS[1]: 1})
    options = {"fold_file": fold_file, "fold": 0}
    assert make_backgrounds(prepared, tmp_path / "b", **options) == 1
    (background,) = read_backgrounds(tmp_path / "b")
    (row,) = [r for r in table(prepared / "manifest.csv") if r["patient"] == PATIENTS[1]]
    folder = prepared / row["folder"]
    assert background.name == folder.name
    ct = read_ct(folder / "ct.nii.gz")
    np.testing.assert_allclose(background.spacing_mm, ct.spacing_mm, atol=1e-4)
    lung_ml, here_ml = (
        (mask > 0).sum() * np.prod(spacing) / 1000
        for mask, spacing in (
            (array(folder / "lungs.nii.gz"), ct.spacing_mm), (background.depth_mm, background.spacing_mm)
        )
    )  # fmt: skip
    assert here_ml == pytest.approx(lung_ml, rel=0.05)
    marks = ndimage.find_objects(ndimage.label(array(folder / "votes.nii.gz"))[0])
    known = ndimage.find_objects(ndimage.label(background.known)[0])
    assert len(known) == len(marks) > 0
    # from the lungs' lowest corner, whatever was cut off around them; 4 mm are kept free around a mark
    for mark, box in zip(corners(marks, array(folder / "lungs.nii.gz"), ct.spacing_mm),
                         corners(known, background.depth_mm, background.spacing_mm), strict=True):  # fmt: skip
        np.testing.assert_allclose(box.mean(0), mark.mean(0), atol=4)
        assert (np.ptp(box, axis=0) > np.ptp(mark, axis=0)).all()
    before = (tmp_path / "b" / f"{folder.name}.npz").stat().st_mtime_ns
    assert make_backgrounds(prepared, tmp_path / "b", **options) == 1
    assert (tmp_path / "b" / f"{folder.name}.npz").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="another --output"):
        make_backgrounds(prepared, tmp_path / "b", **options | {"fold": 1})


def test_no_background_without_scans_that_may_be_one(prepared, tmp_path):
    fold_file = folds_of(tmp_path, dict.fromkeys(PATIENTS, 0))
    with pytest.raises(UsageError, match="outside of fold 0"):
        make_backgrounds(prepared, tmp_path / "b", fold_file=fold_file, fold=0)
    with pytest.raises(UsageError, match="lidc prepare"):
        make_backgrounds(tmp_path, tmp_path / "b", fold_file=fold_file, fold=1)
    with pytest.raises(UsageError, match="no fold 5"):
        make_backgrounds(prepared, tmp_path / "b", fold_file=fold_file, fold=5)
    others = folds_of(tmp_path, {"other": 0, "another": 1})
    with pytest.raises(UsageError, match="made of these scans"):
        make_backgrounds(prepared, tmp_path / "b", fold_file=others, fold=1)
    assert not (tmp_path / "b").exists()


def test_a_scan_whose_lungs_are_lost_is_named(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "prepared")
    fold_file = folds_of(tmp_path, {"other": 0} | dict.fromkeys(PATIENTS, 1))
    next((tmp_path / "prepared").rglob("lungs.nii.gz")).write_bytes(b"no")
    with pytest.raises(InputError, match=r"lungs\.nii\.gz"):
        make_backgrounds(tmp_path / "prepared", tmp_path / "b", fold_file=fold_file, fold=0)


def test_both_layouts_are_found_and_the_manifest_says_what_became_of_each_scan(prepared):
    rows = {row["patient"]: row for row in table(prepared / "manifest.csv")}
    assert [rows[patient]["status"] for patient in PATIENTS] == ["done", "done", "missing"]
    assert {row["series_uid"] for row in rows.values()} == {series_uid(n) for n in (1, 2, 3)}
    assert (rows[PATIENTS[0]]["slices"], rows[PATIENTS[0]]["crops"], rows[PATIENTS[0]]["nodules"]) == ("60", "2", "2")
    assert float(rows[PATIENTS[1]]["right_lung_ml"]) > 500


def test_the_scan_is_whole_and_in_hu(prepared):
    folder = prepared / "scans" / f"{PATIENTS[1]}_s2"
    np.testing.assert_array_equal(array(folder / "ct.nii.gz"), chest_hu(2))
    lungs, votes = array(folder / "lungs.nii.gz"), array(folder / "votes.nii.gz")
    assert set(np.unique(lungs)) == {0, 1, 2}
    assert (votes[NODULE], votes[LONELY], votes.max()) == (3, 1, 3)
    assert (votes == 3).sum() == 3 * 5 * 5
    assert lungs[NODULE[0], NODULE[1] + 8, NODULE[2]] == 1


def test_crops_are_in_the_crop_format_with_a_margin_on_each_side(prepared):
    rows = read_table(prepared)
    assert [(row.id, row.n_readers) for row in rows] == [
        (f"{patient}_s{n}_n{cluster}", readers)
        for n, patient in ((1, PATIENTS[0]), (2, PATIENTS[1]))
        for cluster, readers in ((0, 1), (1, 3))
    ]
    places = {row["id"]: row for row in table(prepared / "nodules.csv")}
    for row in rows:
        crop, place = read_crop(prepared, row), places[row.id]
        z0 = round((float(place["z0_mm"]) - ORIGIN_MM[2]) / SPACING_MM)
        start = np.array([int(place["x0"]), int(place["y0"]), z0])
        box = tuple(slice(a, a + n) for a, n in zip(start, crop.hu.shape, strict=True))
        assert crop.hu.shape == tuple(int(place[name]) for name in ("nx", "ny", "nz"))
        np.testing.assert_array_equal(crop.hu, chest_hu(1 if PATIENTS[0] in row.id else 2)[box])
        np.testing.assert_allclose(crop.affine_ras[:3, 3], (np.array(ORIGIN_MM) + start * SPACING_MM) * [-1, -1, 1])
        marked = np.argwhere(crop.votes > 0)
        below, above = marked.min(0) * SPACING_MM, (np.array(crop.hu.shape) - 1 - marked.max(0)) * SPACING_MM
        room_below = (start + marked.min(0)) * SPACING_MM
        assert (below >= np.minimum(MARGIN_MM, room_below)).all()
        assert (above >= MARGIN_MM).all()
        assert tuple(start + np.round(marked.mean(0)).astype(int)) == (LONELY if row.n_readers == 1 else NODULE)
    bits = read_crop(prepared, rows[1]).readers
    assert [int((bits >> k & 1).sum()) for k in range(4)] == [3 * 5 * 5, 3 * 7 * 7, 3 * 9 * 9, 0]
    assert rows[1].diameter_mm == pytest.approx((6 * 3 * 49 * SPACING_MM**3 / np.pi) ** (1 / 3), abs=0.01)


def test_a_second_run_makes_nothing_anew_but_other_settings_do(source, prepared, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(prepared, out)
    records = sorted(out.glob("scans/*/record.json"))
    before = [path.stat().st_mtime_ns for path in records]
    tables = [(out / f"{name}.csv").read_text() for name in ("manifest", "nodules")]
    seen = []
    prepare(
        source / "tcia", out, settings=SETTINGS, database=source / "lidc.sqlite", progress=lambda *n: seen.append(n)
    )
    assert seen == [(2, 2)]
    assert [path.stat().st_mtime_ns for path in records] == before
    assert [(out / f"{name}.csv").read_text() for name in ("manifest", "nodules")] == tables
    records[0].write_text("{ cut off")
    outcome = run(source / "tcia", source, out)
    assert (outcome.done, outcome.crops) == (2, 2)
    assert all(path.stat().st_mtime_ns > old for path, old in zip(records, before, strict=True))


def test_scans_that_version_0_1_prepared_stay(source, prepared, tmp_path):
    """It made patches and sub-cases as well, which nothing reads any more."""
    out = tmp_path / "out"
    shutil.copytree(prepared, out)
    for path in out.glob("scans/*/record.json"):
        old = json.loads(path.read_text())
        old["settings"]["backgrounds"], old["backgrounds"] = 8, [{"id": "b0"}]
        old["scan"] |= {"backgrounds": 8, "subcases": 2}
        path.write_text(json.dumps(old))
    seen = []
    outcome = prepare(
        source / "tcia", out, settings=SETTINGS, database=source / "lidc.sqlite", progress=lambda *n: seen.append(n)
    )
    assert seen == [(2, 2)], "nothing is made again"
    assert (outcome.done, outcome.crops) == (2, 4)
    assert (out / "manifest.csv").read_text() == (prepared / "manifest.csv").read_text()


@pytest.mark.slow
def test_two_processes_make_what_one_makes(source, prepared, tmp_path):
    out = tmp_path / "out"
    database = source / "lidc.sqlite"
    outcome = prepare(source / "tcia", out, settings=SETTINGS, engine=Engine(workers=2), database=database)
    assert outcome.done == 2
    names = sorted(path.relative_to(prepared) for path in prepared.rglob("*") if path.is_file())
    assert sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file()) == names
    for name in names:
        assert (out / name).read_bytes() == (prepared / name).read_bytes(), name


def cut_a_file(folder: Path) -> None:
    path = sorted(folder.glob("*.dcm"))[20]
    path.write_bytes(path.read_bytes()[:5000])


def remove_slices(folder: Path) -> None:
    for path in sorted(folder.glob("*.dcm"))[-3:]:
        path.unlink()


def remove_a_slice_within(folder: Path) -> None:
    sorted(folder.glob("*.dcm"))[20].unlink()


def fill_with_junk(folder: Path) -> None:
    for path in folder.glob("*.dcm"):
        path.write_bytes(b"no DICOM" * 100)


def contradict(folder: Path) -> None:
    ratings = "".join(
        f"<{name}>{value}</{name}>"
        for name, value in zip(
            Ratings._fields,
            (5, 1, 6, 4, 4, 1, 1, 5, 5),
            strict=True,
        )
    )
    nodule = (
        f"<unblindedReadNodule><noduleID>n</noduleID><characteristics>{ratings}</characteristics></unblindedReadNodule>"
    )
    (folder / "069.xml").write_text(
        '<LidcReadMessage xmlns="http://www.nih.gov"><ResponseHeader>'
        f"<SeriesInstanceUid>{series_uid(1)}</SeriesInstanceUid></ResponseHeader>"
        f"<readingSession>{nodule * 4}</readingSession></LidcReadMessage>"
    )


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (cut_a_file, "000021"),
        (remove_slices, f"3 of {SLICES} slices of series"),
        (remove_a_slice_within, "gap|missing"),
        (fill_with_junk, "holds no DICOM series"),
        (contradict, r"069\.xml and the database contradict.*malignancy of annotation 10"),
    ],
)
def test_a_bad_scan_is_recorded_with_its_reason(own, source, tmp_path, spoil, reason):
    tcia, folders = own
    shutil.rmtree(folders[PATIENTS[1]])
    spoil(folders[PATIENTS[0]])
    outcome = run(tcia, source, tmp_path / "out")
    assert (outcome.done, list(outcome.failed), outcome.crops) == (0, [f"{PATIENTS[0]}_s1"], 0)
    row = table(tmp_path / "out" / "manifest.csv")[0]
    assert (row["patient"], row["status"]) == (PATIENTS[0], "failed")
    assert re.search(reason, row["reason"]), row["reason"]
    assert "\n" not in row["reason"]
    assert not (tmp_path / "out" / "scans").exists()


def test_a_bad_scan_is_passed_over_and_tried_again(own, source, tmp_path):
    tcia, folders = own
    cut_a_file(folders[PATIENTS[0]])
    assert run(tcia, source, tmp_path / "out").done == 1
    whole = source / "tcia" / folders[PATIENTS[0]].relative_to(tcia)
    shutil.copytree(whole, folders[PATIENTS[0]], dirs_exist_ok=True)
    seen = []
    outcome = run(tcia, source, tmp_path / "out", progress=lambda *n: seen.append(n))
    assert (outcome.done, outcome.failed) == (2, {})
    assert seen == [(1, 2), (2, 2)]


def test_processes_report_each_bad_scan(own, source, tmp_path):
    tcia, folders = own
    for folder in folders.values():
        remove_slices(folder)
    outcome = run(tcia, source, tmp_path / "out", engine=Engine(workers=2))
    assert (outcome.done, outcome.missing) == (0, 1)
    assert list(outcome.failed) == [f"{PATIENTS[0]}_s1", f"{PATIENTS[1]}_s2"]


def test_a_folder_without_a_readable_header_is_recorded(own, source, tmp_path):
    tcia, folders = own
    shutil.rmtree(folders[PATIENTS[0]])
    fill_with_junk(folders[PATIENTS[1]])
    outcome = run(tcia, source, tmp_path / "out")
    assert (outcome.done, outcome.missing) == (0, 3)
    (failed,) = outcome.failed
    assert failed == str(folders[PATIENTS[1]])
    last = table(tmp_path / "out" / "manifest.csv")[-1]
    assert (last["patient"], last["status"]) == (PATIENTS[1], "failed")


def write_unknown_ct(tcia: Path, monkeypatch) -> Path:
    """A CT in the download that the database doesn't have."""
    import small_download

    with monkeypatch.context() as patched:
        patched.setattr(small_download, "series_uid", lambda number: f"1.2.3.{number}")
        return small_download.write_series(tcia / "more" / PATIENTS[2] / "s", 3, "1-{:03d}.dcm")


def test_a_ct_that_the_database_doesnt_have_is_recorded(own, source, tmp_path, monkeypatch):
    tcia, folders = own
    shutil.rmtree(folders[PATIENTS[0]])
    folder = write_unknown_ct(tcia, monkeypatch)
    outcome = run(tcia, source, tmp_path / "out")
    assert (outcome.done, list(outcome.failed)) == (1, [str(folder)])
    last = table(tmp_path / "out" / "manifest.csv")[-1]
    assert (last["patient"], last["status"]) == (PATIENTS[2], "failed")
    assert "isn't in the database" in last["reason"]


def test_a_download_of_something_else_is_refused_and_leaves_nothing(own, source, tmp_path, monkeypatch):
    tcia, folders = own
    for folder in folders.values():
        shutil.rmtree(folder)
    write_unknown_ct(tcia, monkeypatch)
    with pytest.raises(InputError, match=r"holds no scan of LIDC-IDRI \(other CTs: 1, other series: 1\)"):
        run(tcia, source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def lungless(number: int) -> np.ndarray:
    hu = chest_hu(number)
    return np.where((hu > -950) & (hu < -700), 40, hu).astype(np.int16)


def test_a_chest_without_lungs_is_recorded(own, source, tmp_path, monkeypatch):
    import small_download

    tcia, folders = own
    for folder in folders.values():
        shutil.rmtree(folder)
    monkeypatch.setattr(small_download, "chest_hu", lungless)
    small_download.write_series(folders[PATIENTS[1]], 2, "1-{:03d}.dcm")
    outcome = run(tcia, source, tmp_path / "out")
    assert "ml of lung" in outcome.failed[f"{PATIENTS[1]}_s2"]
    assert not list((tmp_path / "out" / "scans").glob("*_s2*"))


def test_wrong_use_is_refused(source, tmp_path):
    with pytest.raises(UsageError, match=r"nowhere is not a folder"):
        run(tmp_path / "nowhere", source, tmp_path / "out")
    with pytest.raises(UsageError, match=r"holds no \.dcm file"):
        run(tmp_path, source, tmp_path / "out")
    with pytest.raises(UsageError, match="0 workers"):
        run(source / "tcia", source, tmp_path / "out", engine=Engine(workers=0))


@pytest.mark.slow
def test_the_two_real_scans_hold_the_published_crops(data_dir, tmp_path):
    """LIDC-IDRI-0001 in the classic layout, 0003 in the newer one: HU and bits of the crops agree to the voxel."""
    for patient, folder in (
        ("LIDC-IDRI-0001", "LIDC-IDRI/LIDC-IDRI-0001/1.2/" + REAL_SERIES),
        ("LIDC-IDRI-0003", "manifest-1/LIDC-IDRI/LIDC-IDRI-0003/01-01-2000-NA-NA-94866/3000611.000000-NA-03264"),
    ):
        shutil.copytree(data_dir / "ct" / patient / "dicom", tmp_path / "tcia" / folder, copy_function=shutil.copyfile)
        for xml in (data_dir / "ct" / patient).glob("*.xml"):
            shutil.copyfile(xml, tmp_path / "tcia" / folder / xml.name)
    outcome = prepare(tmp_path / "tcia", tmp_path / "out", engine=Engine(workers=2))
    assert outcome == Outcome(done=2, failed={}, missing=1016, others=0, crops=4)
    ours = {row["id"]: row for row in table(tmp_path / "out" / "nodules.csv")}
    theirs = {row["id"]: row for row in table(data_dir / "lidc_crops" / "nodules.csv") if row["id"] in ours}
    assert list(theirs) == list(ours)
    for name, row in theirs.items():
        own = ours[name]
        changed = {key for key in row if row[key] != own[key]} - {"nx", "ny", "nz", "x0", "y0", "z0_mm", "sx", "sy"}
        assert not changed
        steps = [int(row[key]) - int(own[key]) for key in ("x0", "y0")]
        steps.append(round((float(row["z0_mm"]) - float(own["z0_mm"])) / float(row["sz"])))
        for kind in ("images", "readers"):
            small, large = (array(f / kind / f"{name}.nii.gz") for f in (data_dir / "lidc_crops", tmp_path / "out"))
            inner = tuple(slice(a, a + n) for a, n in zip(steps, small.shape, strict=True))
            np.testing.assert_array_equal(large[inner], small)
            assert kind == "images" or np.count_nonzero(large) == np.count_nonzero(small)
