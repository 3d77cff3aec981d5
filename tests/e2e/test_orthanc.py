"""SEG and SR in a real archive: stored beside their CT by C-STORE or STOW-RS, fetched back unchanged over DICOMweb."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from orthanc_server import Orthanc, missing_packages

from monai_lung.advice import tracking_uid
from monai_lung.clinical.guidelines import advise
from monai_lung.clinical.measurements import measure
from monai_lung.io import read_ct
from monai_lung.lidc.votes import ReaderMasks, draw_masks
from monai_lung.lidc.xml import read_xml
from monai_lung.lungs import segment_lungs
from monai_lung.model import CT, Nodule, Outline, Person, Rating, Report, Seed
from monai_lung.pipeline import software
from monai_lung.report import dicom_seg, dicom_sr

pytest.importorskip("highdicom", reason="the dicom extra isn't installed")
pydicom = pytest.importorskip("pydicom")

from pydicom.dataelem import RawDataElement  # noqa: E402
from pydicom.dataset import Dataset  # noqa: E402

MISSING = missing_packages()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed, Debian's packages: {', '.join(MISSING)}"),
]
SEG, SR = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.34"
LUNGS = 2
PHANTOM, REAL = "phantom", "LIDC-IDRI-0001"

Elements = dict[tuple[str, ...], tuple[str | None, object]]


@dataclass(frozen=True)
class Stored:
    """A study in an archive: what was sent, what came back."""

    archive: Orthanc
    report: Report
    masks: list[NDArray[np.bool_]]
    sent: dict[str, Path]
    """SOP Instance UID to file; CT, SEG and SR."""
    fetched: dict[str, Path]
    folder: Path

    def of_class(self, sop_class: str) -> Path:
        """The one fetched file of a SOP class."""
        (path,) = [p for p in self.fetched.values() if header(p).SOPClassUID == sop_class]
        return path


@pytest.fixture(scope="module", params=[(PHANTOM, "C-STORE"), (PHANTOM, "STOW-RS"), (REAL, "C-STORE")], ids="-".join)
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    """A study that was sent to an archive of its own, and fetched again."""
    case, transport = request.param
    if case == PHANTOM:
        chest = request.getfixturevalue("phantom_dir")
        ct = read_ct(chest / "dicom")
        masks = true_masks(chest, ct)
    else:
        ct = read_ct(request.getfixturevalue("data_dir") / "ct" / REAL / "dicom")
        masks = [on_grid(ct, readers_of(ct, request), share=0.5)]
    report = report_of(ct, masks)
    folder = tmp_path_factory.mktemp("archive")
    files = [s.path for s in ct.slices] + objects_of(report, folder / "sent")
    with Orthanc(folder / "orthanc") as archive:
        send(archive, transport, files)
        study = str(header(files[-1]).StudyInstanceUID)
        fetched = by_uid(archive.wado(study, folder / "fetched"))
        yield Stored(archive, report, masks, by_uid(files), fetched, folder)
        assert archive.stop() == 0, archive.log()


def send(archive: Orthanc, transport: str, files: list[Path]) -> None:
    """By the one or the other way."""
    {"C-STORE": archive.c_store, "STOW-RS": archive.stow}[transport](files)


def header(path: Path) -> Dataset:
    """Without the pixels."""
    return pydicom.dcmread(path, stop_before_pixels=True)


def by_uid(paths: list[Path]) -> dict[str, Path]:
    """SOP Instance UID to file; a UID that comes twice is an error."""
    found = {str(header(path).SOPInstanceUID): path for path in paths}
    assert len(found) == len(paths)
    return found


def true_masks(chest: Path, ct: CT) -> list[NDArray[np.bool_]]:
    """The phantom's nodules on the CT's grid, which may run another way than that of the truth's file."""
    truth = nibabel.nifti1.load(chest / "truth" / "nodules.nii.gz")
    labels = np.asarray(truth.dataobj)
    masks = []
    for label in range(1, int(labels.max()) + 1):
        world = nibabel.affines.apply_affine(np.diag([-1, -1, 1, 1]) @ truth.affine, np.argwhere(labels == label))
        masks.append(np.zeros(ct.hu.shape, bool))
        masks[-1][tuple(np.rint(ct.to_index(world)).astype(int).T)] = True
    return masks


def readers_of(ct: CT, request: pytest.FixtureRequest) -> ReaderMasks:
    """The four readers' marks of the one nodule of `REAL`."""
    (xml,) = (request.getfixturevalue("data_dir") / "ct" / REAL).glob("*.xml")
    z_mm = np.array([s.affine_lps[2, 3] for s in ct.slices])
    return draw_masks(read_xml(xml).annotations, lambda z: int(np.abs(z_mm - z).argmin()))


def on_grid(ct: CT, readers: ReaderMasks, *, share: float) -> NDArray[np.bool_]:
    """What so many of the readers agree on, (X, Y, Z)."""
    box = tuple(slice(o, o + n) for o, n in zip(readers.offset, readers.bits.shape, strict=True))
    mask = np.zeros(ct.hu.shape, bool)
    mask[box] = readers.consensus(share=share)
    return mask


def report_of(ct: CT, masks: list[NDArray[np.bool_]]) -> Report:
    """The report of an analysis that outlined just these nodules; the lungs are segmented."""
    lungs, person = segment_lungs(ct.hu, ct.affine_lps), Person(age=64, sex="F")
    outlines = []
    for mask in masks:
        voxels = np.argwhere(mask)
        low, high = voxels.min(0), voxels.max(0) + 1
        box = mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        seed = Seed(tuple(ct.to_world(voxels.mean(0)).tolist()), 1.0, 10.0)
        outlines.append(Outline(box, box.astype(np.float32), tuple(low.tolist()), seed))
    sizes = [measure(outline, ct, lungs) for outline in outlines]
    each, examination = advise(sizes, person, [None] * len(sizes))
    nodules = [
        Nodule(n, tracking_uid(ct, size), outline, size, Rating(0.97, 0.4, (0.3, 0.5)), advice)
        for n, (outline, size, advice) in enumerate(zip(outlines, sizes, each, strict=True), start=1)
    ]
    weights = {"find": "ab" * 32, "delineate": "cd" * 32, "rate": "ef" * 32}
    return Report(ct, lungs, tuple(nodules), examination, person, weights=weights, software=software())


def objects_of(report: Report, folder: Path) -> list[Path]:
    """SEG and SR as files."""
    folder.mkdir()
    seg = dicom_seg.write(report, folder / "seg.dcm")
    return [seg, dicom_sr.write(report, folder / "sr.dcm", seg)]


def elements(dataset: Dataset, place: tuple[str, ...] = ()) -> Elements:
    """VR and value of every element at any depth, the value as bytes where pydicom hasn't parsed it.

    Group lengths are left out: they are retired, and say how the rest is written (PS3.5 7.2).
    """
    found: Elements = {}
    for tag in sorted(dataset.keys()):
        raw, here = dataset.get_item(tag), (*place, str(tag))
        if raw.VR == "SQ":
            found[here] = ("SQ", len(dataset[tag].value))
            for n, item in enumerate(dataset[tag].value):
                found.update(elements(item, (*here, str(n))))
        elif tag.element != 0:
            found[here] = (raw.VR, raw.value if isinstance(raw, RawDataElement) else str(raw.value))
    return found


def nodule_points(seg: Dataset) -> dict[int, NDArray[np.float64]]:
    """Nodule to LPS mm (n, 3) of its pixels, by what the SEG says of itself and nothing else."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    row_mm, column_mm = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    found: dict[int, list[NDArray[np.float64]]] = {}
    for frame, item in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        nodule = int(item.SegmentIdentificationSequence[0].ReferencedSegmentNumber) - LUNGS
        if nodule < 1:
            continue
        rows, columns = np.nonzero(frame)
        start = np.array(item.PlanePositionSequence[0].ImagePositionPatient, float)
        points = start + columns[:, None] * column_mm * axes[0] + rows[:, None] * row_mm * axes[1]
        found.setdefault(nodule, []).append(points)
    return {nodule: np.concatenate(points) for nodule, points in found.items()}


def references(dataset: Dataset) -> dict[str, str]:
    """SOP Instance UID to SOP Class UID of all that an object refers to, at any depth."""
    items = [dataset, *(item for element in dataset.iterall() if element.VR == "SQ" for item in element.value)]
    named = [item for item in items if "ReferencedSOPInstanceUID" in item]
    return {str(item.ReferencedSOPInstanceUID): str(item.ReferencedSOPClassUID) for item in named}


def test_every_object_comes_back_unchanged(stored: Stored) -> None:
    assert stored.fetched.keys() == stored.sent.keys()
    for uid, path in stored.sent.items():
        before, after = pydicom.dcmread(path), pydicom.dcmread(stored.fetched[uid])
        assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
        assert after.PixelData == before.PixelData if "PixelData" in before else "PixelData" not in after
        a, b = elements(before), elements(after)
        assert a.keys() == b.keys()
        assert {where: (a[where], b[where]) for where in a if a[where] != b[where]} == {}


def test_the_fetched_study_is_read_as_the_same_ct(stored: Stored) -> None:
    """The archive names and orders files its own way, and hands out SEG and SR in the same folder."""
    assert stored.report.ct.series is not None
    ct = read_ct(stored.folder / "fetched", series_uid=stored.report.ct.series.uid)
    np.testing.assert_array_equal(ct.hu, stored.report.ct.hu)
    np.testing.assert_array_equal(ct.affine_lps, stored.report.ct.affine_lps)
    points = nodule_points(pydicom.dcmread(stored.of_class(SEG)))
    assert len(points) == len(stored.masks)
    for nodule, mask in enumerate(stored.masks, start=1):
        index = ct.to_index(points[nodule])
        assert np.abs(index - np.rint(index)).max() < 1e-3
        assert {tuple(v) for v in np.rint(index).astype(int)} == {tuple(v) for v in np.argwhere(mask)}


def test_references_resolve_in_the_archive(stored: Stored) -> None:
    seg, sr = (pydicom.dcmread(stored.of_class(sop_class)) for sop_class in (SEG, SR))
    held = stored.archive.qido(StudyInstanceUID=str(seg.StudyInstanceUID))
    slices = {s.sop_instance_uid for s in stored.report.ct.slices}
    assert references(seg).keys() == slices
    assert references(sr).keys() == slices | {str(seg.SOPInstanceUID)}
    assert references(seg).items() <= held.items()
    assert references(sr).items() <= held.items()
    headers = {uid: header(stored.fetched[uid]) for uid in slices}
    assert {h.FrameOfReferenceUID for h in headers.values()} == {seg.FrameOfReferenceUID}
    for item in seg.PerFrameFunctionalGroupsSequence:
        source = headers[item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        shown = np.array(item.PlanePositionSequence[0].ImagePositionPatient, float)
        np.testing.assert_allclose(shown, np.array(source.ImagePositionPatient, float), atol=1e-6)


def test_a_rerun_that_is_sent_again_leaves_one_copy(stored: Stored, tmp_path: Path) -> None:
    again = objects_of(report_of(read_ct(stored.report.ct.path), stored.masks), tmp_path / "again")
    assert by_uid(again).keys() <= stored.sent.keys()
    files = [*(s.path for s in stored.report.ct.slices), *again]
    for transport in ("C-STORE", "STOW-RS"):
        send(stored.archive, transport, files)
        assert stored.archive.count() == len(stored.sent)
    study = str(header(again[0]).StudyInstanceUID)
    assert stored.archive.qido(StudyInstanceUID=study).keys() == stored.sent.keys()
    kept = by_uid(stored.archive.wado(study, tmp_path / "kept"))
    assert all(path.read_bytes() == stored.fetched[uid].read_bytes() for uid, path in kept.items())


def test_dciodvfy_accepts_what_comes_back(stored: Stored) -> None:
    dciodvfy = shutil.which("dciodvfy")
    if dciodvfy is None:
        pytest.skip("dciodvfy isn't installed (Debian's package dicom3tools)")
    for sop_class in (SEG, SR):
        call = [dciodvfy, "-new", str(stored.of_class(sop_class))]
        done = subprocess.run(call, capture_output=True, text=True, timeout=120, check=False)
        assert [line for line in done.stderr.splitlines() if line.startswith("Error")] == []
        assert done.returncode == 0


def test_what_is_stored_outlives_the_process(stored: Stored) -> None:
    assert stored.archive.stop() == 0, stored.archive.log()
    with pytest.raises(OSError, match="refused"):
        stored.archive.http("system")
    stored.archive.__enter__()
    assert stored.archive.count() == len(stored.sent)


@pytest.mark.parametrize("stored", [(REAL, "C-STORE")], indirect=True, ids="-".join)
def test_the_fetched_outline_lies_on_the_readers_nodule(
    stored: Stored, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    """The readers' pixels take their place from the CT's stored headers, the outline's from the SEG: no code shared."""
    readers = readers_of(stored.report.ct, request)
    union, half = readers.votes() > 0, readers.consensus(share=0.5)
    slices = [header(stored.fetched[s.sop_instance_uid]) for s in stored.report.ct.slices]
    marked = []
    for column, row, k in np.argwhere(union) + readers.offset:
        x, y = np.array(slices[k].ImageOrientationPatient, float).reshape(2, 3)
        row_mm, column_mm = map(float, slices[k].PixelSpacing)
        marked.append(np.array(slices[k].ImagePositionPatient, float) + column * column_mm * x + row * row_mm * y)
    outline = nodule_points(pydicom.dcmread(stored.of_class(SEG)))[1]
    ours, theirs = ({tuple(p) for p in np.rint(np.array(points) * 100).astype(int)} for points in (outline, marked))
    dice = 2 * len(ours & theirs) / (len(ours) + len(theirs))
    distance_mm = float(np.linalg.norm(outline.mean(0) - np.mean(marked, 0)))
    record_property("dice_with_union", round(dice, 4))
    record_property("center_distance_mm", round(distance_mm, 3))
    print(f"Dice with the readers' union {dice:.3f}, centres {distance_mm:.2f} mm apart", file=sys.stderr)
    assert ours <= theirs
    assert dice == pytest.approx(2 * half.sum() / (half.sum() + union.sum()))
    assert distance_mm < stored.report.ct.spacing_mm[2]
    np.testing.assert_allclose(outline.mean(0), (56, 86, -116), atol=stored.report.ct.spacing_mm[2])
