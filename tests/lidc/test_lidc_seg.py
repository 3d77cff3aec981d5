"""The readers as DICOM SEG: read back, each segment is a reader's mask at its place."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess

import numpy as np
import pytest
from small_download import LONELY, NODULE, write_database, write_series

from monai_lung.errors import InputError
from monai_lung.io import read_ct
from monai_lung.lidc.index import Scan, read_index
from monai_lung.lidc.nodules import marked_nodules
from monai_lung.lidc.seg import build, write_seg
from monai_lung.lidc.votes import ReaderMasks
from monai_lung.model import CT

highdicom = pytest.importorskip("highdicom", reason="highdicom is of the dicom extra")


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> tuple[CT, Scan]:
    root = tmp_path_factory.mktemp("seg")
    folder = write_series(root / "ct", 1, "{:03d}.dcm")
    return read_ct(folder), read_index(write_database(root / "lidc.sqlite"))[0]


def voxels_of(seg, ct: CT) -> dict[str, np.ndarray]:
    """Label to voxel indices (n, 3) in the CT, each frame put where it says that it lies."""
    labels = {s.SegmentNumber: s.SegmentLabel for s in seg.SegmentSequence}
    found: dict[str, list[np.ndarray]] = {label: [] for label in labels.values()}
    for frame, item in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        label = labels[item.SegmentIdentificationSequence[0].ReferencedSegmentNumber]
        i, j, k = np.rint(ct.to_index(np.array(item.PlanePositionSequence[0].ImagePositionPatient, float))).astype(int)
        assert (i, j) == (0, 0)
        rows, columns = np.nonzero(frame)
        found[label].append(np.stack([columns, rows, np.full(len(rows), k)], axis=1))
    return {label: ordered(np.concatenate(parts)) for label, parts in found.items()}


def ordered(voxels: np.ndarray) -> np.ndarray:
    return voxels[np.lexsort(voxels.T)]


def marked_voxels(masks: ReaderMasks, mask: np.ndarray) -> np.ndarray:
    return ordered(np.argwhere(mask) + masks.offset)


def test_each_reader_and_the_consensus_is_a_segment(case, tmp_path):
    ct, scan = case
    assert write_seg(ct, scan, tmp_path / "seg.dcm") == 6
    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    voxels = voxels_of(seg, ct)
    (lonely, nodule) = marked_nodules(scan)
    assert list(voxels) == [
        "Nodule 0 reader 1",
        "Nodule 0 consensus",
        "Nodule 1 reader 1",
        "Nodule 1 reader 2",
        "Nodule 1 reader 3",
        "Nodule 1 consensus",
    ]
    for marked, name in ((lonely, "Nodule 0"), (nodule, "Nodule 1")):
        masks = marked.masks()
        for reader in range(masks.n_readers):
            expected = marked_voxels(masks, masks.reader(reader))
            np.testing.assert_array_equal(voxels[f"{name} reader {reader + 1}"], expected)
        np.testing.assert_array_equal(voxels[f"{name} consensus"], marked_voxels(masks, masks.consensus(share=0.5)))
    np.testing.assert_array_equal(voxels["Nodule 1 consensus"].mean(0), NODULE)
    np.testing.assert_array_equal(voxels["Nodule 0 consensus"].mean(0), LONELY)
    assert len({(s.SegmentLabel[:8], s.TrackingUID) for s in seg.SegmentSequence}) == 2
    assert seg.SegmentSequence[2].SegmentDescription == "annotation 10, named n0 by the reader"


def test_the_same_scan_gives_the_same_object(case):
    ct, scan = case
    first, again, other = build(ct, scan), build(ct, scan), build(ct, scan, at_least=3)
    assert first.SOPInstanceUID == again.SOPInstanceUID != other.SOPInstanceUID
    assert first.PixelData == again.PixelData
    assert len(voxels_of(other, ct)["Nodule 1 consensus"]) == 3 * 5 * 5
    assert "Nodule 0 consensus" not in voxels_of(other, ct)


def test_what_does_not_fit_is_refused(case):
    ct, scan = case
    with pytest.raises(InputError, match=r"not 9\.9"):
        build(ct, dataclasses.replace(scan, series_uid="9.9"))
    with pytest.raises(InputError, match="no reader marked"):
        build(ct, dataclasses.replace(scan, annotations=()))
    with pytest.raises(InputError, match="gaps"):
        build(dataclasses.replace(ct, resampled=True), scan)
    with pytest.raises(InputError, match="1 of 61 slices"):
        build(ct, dataclasses.replace(scan, slice_z_mm=np.append(scan.slice_z_mm, 500.0)))
    far = dataclasses.replace(scan.annotations[0].contours[0], points=np.array([[300, 5], [310, 5], [310, 15]]))
    strayed = dataclasses.replace(scan.annotations[0], contours=(far,))
    with pytest.raises(InputError, match="outside the image"):
        build(ct, dataclasses.replace(scan, annotations=(strayed,)))
    high = dataclasses.replace(scan.annotations[0].contours[0], z_mm=900.0)
    with pytest.raises(InputError, match=r"no slice at z = 900\.0 mm"):
        build(ct, dataclasses.replace(scan, annotations=(dataclasses.replace(strayed, contours=(high,)),)))


def test_the_real_scan_of_four_nodules(data_dir, lidc_scans, tmp_path):
    ct, scan = read_ct(data_dir / "ct" / "LIDC-IDRI-0003" / "dicom"), lidc_scans[14]
    assert write_seg(ct, scan, tmp_path / "seg.dcm") == 17
    voxels = voxels_of(highdicom.seg.segread(tmp_path / "seg.dcm"), ct)
    for nodule in marked_nodules(scan):
        masks = nodule.masks()
        for reader in range(masks.n_readers):
            expected = marked_voxels(masks, masks.reader(reader))
            np.testing.assert_array_equal(voxels[f"Nodule {nodule.cluster} reader {reader + 1}"], expected)
    centers = [ct.to_world(voxels[f"Nodule {n} consensus"].mean(0)) for n in (1, 2, 3)]
    np.testing.assert_allclose(centers, [(72, 77, -191), (24, -48, -172), (-47, -30, -169)], atol=2)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed: apt-get install dicom3tools")
def test_dciodvfy_finds_no_error(case, tmp_path):
    ct, scan = case
    write_seg(ct, scan, tmp_path / "seg.dcm")
    result = subprocess.run(["dciodvfy", str(tmp_path / "seg.dcm")], capture_output=True, text=True, check=False)
    assert "Error" not in result.stderr + result.stdout
