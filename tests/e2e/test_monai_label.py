"""MONAI Label with the app of this package: the real server, over its REST interface; OHIF in a real browser."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from label_server import ANSWER_S, START, LabelServer, build, free_port, multipart, wait_for
from numpy.typing import NDArray
from orthanc_server import Orthanc, missing_packages
from scipy import ndimage

from monai_lung.inference import delineate, find
from monai_lung.io import find_cases, read_ct, write_nifti
from monai_lung.lidc.votes import draw_masks
from monai_lung.lidc.xml import read_xml
from monai_lung.model import CT, Report
from monai_lung.pipeline import Analyzer
from monai_lung.pointed import outline_at
from monai_lung.weights import bundle_dir

pytestmark = pytest.mark.slow

RIGHT, LEFT, NODULE = 1, 2, 3
REAL = "LIDC-IDRI-0001"
DIFFERENT_VOXELS = 1e-4
"""Share of a mask that may differ between two environments with other versions of numpy; measured: none."""
CHROMIUM = "--no-sandbox --disable-quic --no-first-run --disable-background-networking --disable-sync"
LPS_RAS = np.diag([-1, -1, 1, 1])


@pytest.fixture(scope="module", autouse=True)
def _environment() -> None:
    if problem := build():
        pytest.skip(f"MONAI Label's environment can't be built: {problem}")


@dataclass(frozen=True)
class Served:
    """A server on a folder of two studies and a file that is not a CT."""

    server: LabelServer
    studies: Path
    labelled: str
    """The scan that is labelled in these tests: of real data where there are some."""
    label: Path
    """Its true nodules, two voxels wider, on its grid."""

    @property
    def scans(self) -> list[str]:
        """The CTs."""
        return sorted(p.name.removesuffix(".nii.gz") for p in self.studies.glob("*.nii.gz") if p.stem != "noise.nii")

    def path(self, scan: str) -> Path:
        """Its file."""
        return self.studies / f"{scan}.nii.gz"


@pytest.fixture(scope="module")
def served(
    request: pytest.FixtureRequest, phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The phantom as DICOM, a real CT as DICOM (where there is one), and noise."""
    folder = tmp_path_factory.mktemp("monai_label")
    studies = folder / "studies"
    shutil.copytree(phantom_dir / "dicom", studies / "phantom")
    label = folder / "label.nii.gz"
    labelled = find_cases(studies)[0].name
    try:
        data = request.getfixturevalue("data_dir")
    except pytest.skip.Exception:
        ct = read_ct(studies / "phantom")
        write_label(label, on_grid_of(ct.affine_lps, ct.hu.shape, phantom_dir / "truth" / "nodules.nii.gz"), ct)
    else:
        ct = read_ct(unpacked(data, studies / "real"))
        z_mm = np.array([s.affine_lps[2, 3] for s in ct.slices])
        (xml,) = (data / "ct" / REAL).glob("*.xml")
        readers = draw_masks(read_xml(xml).annotations, lambda z: int(np.abs(z_mm - z).argmin()))
        mask = np.zeros(ct.hu.shape, bool)
        mask[tuple(slice(o, o + n) for o, n in zip(readers.offset, readers.bits.shape, strict=True))] = (
            readers.consensus(share=0.5)
        )
        write_label(label, mask, ct)
        labelled = ct.name
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 40)).astype(np.int16)
    write_nifti(studies / "noise.nii.gz", noise, np.diag([2.0, 2, 2, 1]))
    with LabelServer(folder / "work", studies) as server:
        yield Served(server, studies, labelled, label)


def unpacked(data: Path, folder: Path) -> Path:
    """`folder` with the real CT as plain DICOM: the server's environment has no decoders."""
    unpack = [sys.executable, data / "unpack_dicom.py", folder, REAL]
    subprocess.run(list(map(str, unpack)), check=True, capture_output=True)
    return folder


def write_label(path: Path, mask: NDArray[np.bool_], ct: CT) -> None:
    """As a label of one value, two voxels wider in the plane."""
    wide = ndimage.binary_dilation(mask, np.ones((3, 3, 1)), iterations=2)
    write_nifti(path, wide.astype(np.uint8), ct.affine_lps)


def on_grid_of(affine_lps: NDArray[np.float64], shape: tuple[int, ...], path: Path) -> NDArray[np.bool_]:
    """A mask file on another grid of the same voxels, which may run another way."""
    image = nibabel.load(path)
    world = nibabel.affines.apply_affine(LPS_RAS @ image.affine, np.argwhere(np.asarray(image.dataobj) > 0))
    mask = np.zeros(shape, bool)
    mask[tuple(np.rint(nibabel.affines.apply_affine(np.linalg.inv(affine_lps), world)).astype(int).T)] = True
    return mask


@cache
def analyzer() -> Analyzer:
    """Of this very environment."""
    return Analyzer()


@cache
def analyzed(path: Path) -> Report:
    """As `monai-lung analyze` finds it."""
    return analyzer().analyze(path)


def mask_of(content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Labels and LPS affine of a NIfTI that the server sent."""
    image = nibabel.Nifti1Image.from_stream(io.BytesIO(gzip.decompress(content)))
    return np.asarray(image.dataobj), LPS_RAS @ image.affine


def parts_of(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Findings and label map of a multipart answer."""
    boundary = content[: content.index(b"\r\n")]
    bodies = [part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n") for part in content.split(boundary)[1:-1]]
    return json.loads(bodies[0])["findings"], bodies[1]


def differing(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Share of the voxels in either mask that are not in both."""
    return float((a != b).sum() / max(1, (a | b).sum()))


def test_info_names_tasks_and_labels(served: Served) -> None:
    info = served.server.get("info/")
    assert info["name"] == "monai-lung"
    assert info["models"]["analysis"]["labels"] == {"right lung": RIGHT, "left lung": LEFT, "nodule": NODULE}
    assert info["models"]["segmentation"]["labels"] == {"nodule": 1}
    assert info["models"]["click"]["labels"] == {"nodule": 1, "background": 0}
    assert info["models"]["click"]["type"] == "deepedit", "the panels' SmartEdit lists models of this type"
    assert "model_filename" not in info["models"]["segmentation"]["config"]
    assert set(info["trainers"]) == {"segmentation"}
    assert "doubt" in info["strategies"]


def test_the_datastore_serves_the_dicom_studies_unchanged(served: Served) -> None:
    listed = served.server.get("datastore/", output="all")["objects"]
    assert set(listed) == {*served.scans, "noise"}
    for case in find_cases(served.studies):
        ct = read_ct(case)
        content = served.server.request("GET", "datastore/image", {"image": case.name})[1]
        stored, affine_lps = mask_of(content)
        np.testing.assert_array_equal(stored, ct.hu)
        np.testing.assert_allclose(affine_lps, ct.affine_lps, atol=1e-4)


def test_the_analysis_is_that_of_the_command_line(served: Served) -> None:
    for scan in served.scans:
        findings, content = parts_of(served.server.infer("analysis", scan, "all"))
        labels, affine_lps = mask_of(content)
        report = analyzed(served.path(scan))
        assert labels.shape == report.ct.hu.shape
        np.testing.assert_allclose(affine_lps, report.ct.affine_lps, atol=1e-3)
        nodules = report.nodule_labels() > 0
        assert differing(labels == NODULE, nodules) <= DIFFERENT_VOXELS
        for side in (RIGHT, LEFT):
            assert differing(labels == side, (report.lungs.labels == side) & ~nodules) <= DIFFERENT_VOXELS
        right, left = (nibabel.affines.apply_affine(affine_lps, np.argwhere(labels == s))[:, 0] for s in (RIGHT, LEFT))
        assert right.mean() < left.mean() - 50  # LPS: x grows to the patient's left
        volumes = [n["volume_mm3"] for n in findings["nodules"]]
        assert volumes == pytest.approx([n.measurements.volume_mm3 for n in report.nodules], rel=1e-3)


def test_the_segmentation_is_that_of_the_bundle(served: Served) -> None:
    scan = served.labelled
    labels, _ = mask_of(served.server.infer("segmentation", scan))
    report, networks = analyzed(served.path(scan)), analyzer().networks
    expected = np.zeros(labels.shape, bool)
    for outline in delineate(report.ct, find(report.ct, report.lungs, networks), networks, report.lungs):
        expected[outline.box] |= outline.mask
    assert set(np.unique(labels)) == {0, 1}
    assert differing(labels > 0, expected) <= DIFFERENT_VOXELS


def test_slicer_gets_the_format_that_it_asks_for(served: Served, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    scan = served.scans[0]
    (tmp_path / "label.nrrd").write_bytes(
        served.server.infer("analysis", scan, result_extension=".nrrd", result_dtype="uint8")
    )
    label = sitk.ReadImage(str(tmp_path / "label.nrrd"))
    ct = analyzed(served.path(scan)).ct
    np.testing.assert_allclose(label.GetOrigin(), ct.affine_lps[:3, 3], atol=1e-3)
    nodules = sitk.GetArrayFromImage(label).T == NODULE
    assert differing(nodules, analyzed(served.path(scan)).nodule_labels() > 0) <= DIFFERENT_VOXELS


def test_what_is_no_ct_gets_one_clear_line(served: Served) -> None:
    for model in ("analysis", "segmentation"):
        status, body = served.server.request("POST", f"infer/{model}", {"image": "noise"})
        assert status == 422
        detail = json.loads(body)["detail"]
        assert "Hounsfield" in detail or "lung" in detail
        assert "\n" not in detail


def test_the_most_doubtful_scan_is_served_first(served: Served) -> None:
    served.server.finished("scoring")  # it started by itself
    doubts = {
        scan: sum(min(p, 1 - p) for p in (n.rating.nodule_probability for n in analyzed(served.path(scan)).nodules))
        for scan in served.scans
    }
    order = sorted(doubts, key=lambda scan: (-doubts[scan], scan))
    got = [served.server.post("activelearning/doubt", {}) for _ in range(len(order) + 1)]
    assert [sample["id"] for sample in got] == [*order, "noise"]
    assert got[0]["weight"] == pytest.approx(doubts[order[0]], abs=1e-3)


def test_run_does_not_analyse_again_what_the_background_has(served: Served) -> None:
    served.server.finished("scoring")
    scan = served.scans[0]
    first = parts_of(served.server.infer("analysis", scan, "all"))
    files = {p: p.stat().st_mtime_ns for p in (served.server.work / "analyses").iterdir()}
    assert sum(p.name.endswith(".nii.gz") for p in files) == len(served.scans)
    again = parts_of(served.server.infer("analysis", scan, "all"))
    np.testing.assert_array_equal(mask_of(again[1])[0], mask_of(first[1])[0])
    np.testing.assert_allclose(mask_of(again[1])[1], served_affine(served, scan), atol=1e-3)
    assert again[0] == first[0]
    assert {p: p.stat().st_mtime_ns for p in (served.server.work / "analyses").iterdir()} == files


def served_affine(served: Served, scan: str) -> NDArray[np.float64]:
    """LPS affine of a scan of the server."""
    return analyzed(served.path(scan)).ct.affine_lps


def test_a_click_adds_the_nodule_at_it_and_a_background_point_takes_it_away(served: Served) -> None:
    """The request is that of Slicer's and OHIF's panels: voxel indices under the label's name, and "background"."""
    served.server.finished("scoring")
    scan = max(served.scans, key=lambda s: len(analyzed(served.path(s)).nodules))
    report = analyzed(served.path(scan))
    index = list(report.nodules[0].measurements.center_index)
    (expected,), _ = outline_at(report.ct, [tuple(report.ct.to_world(np.array(index, float)))], analyzer().networks)
    clicked = np.zeros(report.ct.hu.shape, bool)
    clicked[expected.box] = expected.mask
    found = report.nodule_labels() > 0
    for name in ("nodule", "foreground"):
        labels, affine_lps = mask_of(served.server.infer("click", scan, **{name: [index]}))
        assert differing(labels > 0, found | clicked) <= DIFFERENT_VOXELS
        np.testing.assert_allclose(affine_lps, report.ct.affine_lps, atol=1e-3)
    away, _ = mask_of(served.server.infer("click", scan, nodule=[index], background=[index]))
    parts, _ = ndimage.label(found, np.ones((3, 3, 3)))
    assert parts[tuple(index)]
    assert differing(away > 0, found & (parts != parts[tuple(index)]) & ~clicked) <= DIFFERENT_VOXELS
    none = json.loads(served.server.infer("click", scan, "json", nodule=[[0, 0, 0]]))
    assert "no nodule" in none["warnings"][0]
    status, body = served.server.request(
        "POST", "infer/click", {"image": scan}, *multipart({"params": json.dumps({"nodule": [[1, 2]]}).encode()})
    )
    assert status == 422
    assert "must be a list of points" in json.loads(body)["detail"]


def test_a_label_comes_back_and_trains(served: Served) -> None:
    """The way around: label, no longer served, training, a lower loss, new weights, another inference.

    The reader draws two voxels wider than the truth: the network has to learn that.
    """
    server, scan = served.server, served.labelled
    before, _ = mask_of(server.infer("segmentation", scan))
    assert server.request("POST", "train/segmentation", {}, b"{}", {"Content-Type": "application/json"})[0] == 200
    with pytest.raises(AssertionError, match="no final label has a nodule"):
        server.finished("train")

    drawn = np.asarray(nibabel.load(served.label).dataobj) > 0
    answer = server.put_label(scan, served.label, label_info=[{"name": "nodule", "idx": 1}])
    assert answer["label"] == scan
    stored = server.request("GET", "datastore/label", {"label": scan, "tag": "final"})[1]
    assert hashlib.sha256(stored).digest() == hashlib.sha256(served.label.read_bytes()).digest()
    assert server.get("datastore/")["completed"] == 1
    assert server.post("activelearning/doubt", {})["id"] != scan

    model = server.work / "bundle" / "lung_nodule_segmentation" / "models" / "model.pt"
    shipped = bundle_dir("lung_nodule_segmentation") / "models" / "model.pt"
    old = model.read_bytes()
    assert old == shipped.read_bytes()
    server.post("train/segmentation", {"max_epochs": 30})
    server.finished("train")
    stats = server.get("info/")["train_stats"]["segmentation"]
    assert stats["nodules"] >= 1
    assert stats["epoch"] == stats["total_epochs"] == 30
    assert stats["total_time"]
    assert 0 < stats["best_metric"] == stats["dice_after"] < 1
    assert stats["loss_after"] < stats["loss_before"]
    assert stats["replaced"]
    assert hashlib.sha256(model.read_bytes()).hexdigest() == stats["weights"]
    assert model.read_bytes() != old
    assert shipped.read_bytes() == old

    after, _ = mask_of(server.infer("segmentation", scan))
    assert not np.array_equal(after, before)
    assert (after > 0)[drawn].sum() > (before > 0)[drawn].sum()  # as wide as the reader drew
    findings = json.loads(server.infer("analysis", scan, "json"))["findings"]
    assert findings["weights"]["delineate"] == stats["weights"]


def started(*arguments: str | Path) -> tuple[int, str]:
    """Exit code and last line of a start that must fail."""
    done = subprocess.run(list(map(str, [START, *arguments])), capture_output=True, text=True, timeout=600, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.strip().splitlines()[-1]


def test_what_can_not_start_says_why_in_one_line(tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    studies.mkdir()
    code, line = started(tmp_path / "nowhere")
    assert (code, line) == (2, f"start: error: {tmp_path}/nowhere: no such folder; give the folder that holds the CTs")
    code, line = started("--dicomweb", f"http://127.0.0.1:{free_port()}/dicom-web", "--work", tmp_path / "a")
    assert code == 2
    assert "no DICOMweb answers there" in line
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, line = started(studies, "--port", str(taken.getsockname()[1]), "--work", tmp_path / "b")
    assert code == 2
    assert "choose another --port" in line
    bundle = tmp_path / "c" / "bundle" / "lung_nodule_segmentation"
    shutil.copytree(bundle_dir("lung_nodule_segmentation"), bundle)
    (bundle / "trained").touch()
    (bundle / "models" / "model.pt").unlink()
    code, line = started(studies, "--port", str(free_port()), "--work", tmp_path / "c")
    assert code == 1
    assert "model.pt: no weights" in line


@dataclass(frozen=True)
class Archived:
    """A server on an archive with one CT."""

    server: LabelServer
    archive: Orthanc
    series: str
    study: str
    dicom: Path


@pytest.fixture(scope="module")
def archived(
    request: pytest.FixtureRequest, phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Archived]:
    """Orthanc with a real CT, or the phantom where there is none."""
    if missing := missing_packages():
        pytest.skip(f"not installed, Debian's packages: {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("dicomweb")
    try:
        data = request.getfixturevalue("data_dir")
        dicom = unpacked(data, folder / "real")
    except pytest.skip.Exception:
        dicom = phantom_dir / "dicom"
    ct = read_ct(dicom)
    assert ct.series is not None
    with Orthanc(folder / "orthanc") as archive:
        archive.c_store([s.path for s in ct.slices])
        url = f"http://127.0.0.1:{archive.http_port}/dicom-web"
        with LabelServer(folder / "work", "--dicomweb", url) as server:
            yield Archived(server, archive, ct.series.uid, ct.series.study_uid, dicom)


def test_a_study_of_the_archive_gets_a_dicom_seg(archived: Archived, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    names = ["right lung", "left lung", "nodule"]
    content = archived.server.infer(
        "analysis", archived.series, "dicom_seg", label_info=[{"name": name} for name in names]
    )
    (tmp_path / "seg.dcm").write_bytes(content)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert [s.SegmentLabel for s in seg.SegmentSequence] == names
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == archived.series
    if Path("/usr/bin/dciodvfy").exists():
        done = subprocess.run(["/usr/bin/dciodvfy", tmp_path / "seg.dcm"], capture_output=True, text=True, check=False)
        assert "Error" not in done.stderr, done.stderr
    assert _voxels(seg, 3) == pytest.approx(int((analyzed(archived.dicom).nodule_labels() > 0).sum()), rel=0.01)


def test_a_seg_that_ohif_exports_is_learned_from(archived: Archived) -> None:
    """It sends it by STOW-RS through the server; the segments' names tell the nodules from the lungs."""
    server = archived.server
    found, _ = mask_of(server.infer("analysis", archived.series))
    infos = [{"name": name} for name in ("right lung", "left lung", "nodule")]
    seg = server.infer("analysis", archived.series, "dicom_seg", label_info=infos)
    body = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + seg + b"\r\n--x--\r\n"
    kind = {
        "Content-Type": 'multipart/related; type="application/dicom"; boundary=x',
        "Accept": "application/dicom+json",
    }
    status, answer = server.request("POST", "proxy/dicom/wado/studies", {}, body, kind)
    assert status == 200, answer
    wait_for(lambda: len(archived.archive.qido(Modality="SEG")) == 1, 60, lambda: "no SEG in the archive")
    server.post("train/segmentation", {"max_epochs": 1000})
    table = server.work / "training" / "crops" / "nodules.csv"
    wait_for(lambda: table.is_file() and len(table.read_text().splitlines()) > 1, ANSWER_S, server.tail)
    server.request("DELETE", "train/")
    rows = table.read_text().splitlines()[1:]
    assert {row.split(",")[1] for row in rows} == {archived.series}
    assert len(rows) == ndimage.label(found == NODULE, np.ones((3, 3, 3)))[1]


def test_a_label_with_an_empty_lung_keeps_its_names_in_the_archive(archived: Archived, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    labels, affine_lps = mask_of(archived.server.infer("analysis", archived.series))
    write_nifti(tmp_path / "label.nii.gz", np.where(labels == NODULE, NODULE, 0).astype(np.uint8), affine_lps)
    before = set(archived.archive.qido(Modality="SEG"))
    infos = [{"name": name, "idx": n} for n, name in enumerate(("right lung", "left lung", "nodule"), start=1)]
    archived.server.put_label(archived.series, tmp_path / "label.nii.gz", label_info=infos)
    stored = [pydicom.dcmread(path) for path in archived.archive.wado(archived.study, tmp_path / "study")]
    (seg,) = [data for data in stored if data.Modality == "SEG" and data.SOPInstanceUID not in before]
    assert [(s.SegmentNumber, s.SegmentLabel) for s in seg.SegmentSequence] == [(1, "nodule")]


def _voxels(seg: object, number: int) -> int:
    """Voxels of a segment."""
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)  # type: ignore[attr-defined]
    groups = seg.PerFrameFunctionalGroupsSequence  # type: ignore[attr-defined]
    wanted = [g.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number for g in groups]
    return int(frames[wanted].sum())


def test_ohif_shows_the_ct(archived: Archived, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    image = pytest.importorskip("PIL.Image")
    url = f"http://127.0.0.1:{archived.server.port}/ohif/monai-label?StudyInstanceUIDs={archived.study}"
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium, args=[*CHROMIUM.split(), "--use-gl=angle", "--use-angle=swiftshader"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url, timeout=300_000)
        page.wait_for_selector(".cornerstone-canvas", timeout=600_000)
        picture = tmp_path / "ohif.png"
        for _ in range(60):  # slices arrive one by one
            page.wait_for_timeout(5000)
            page.screenshot(path=picture)
            if _shows_a_chest(np.asarray(image.open(picture).convert("L"), float)):
                break
        else:
            pytest.fail(f"no CT on the screen: {picture}")
        browser.close()


def _shows_a_chest(grey: NDArray[np.float64]) -> bool:
    """Whether the middle of the screen holds much of dark, of grey and of edges: an empty viewport is all black."""
    middle = grey[300:540, 290:990]
    return bool((middle < 40).mean() > 0.1 and ((middle > 90) & (middle < 230)).mean() > 0.1 and middle.std() > 40)
