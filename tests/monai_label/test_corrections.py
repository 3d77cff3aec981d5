from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from lib.corrections import (
    MARGIN_MM,
    entries_present,
    nodule_mask,
    nodule_values,
    segment_info,
    split,
    write_crops,
)
from numpy.typing import NDArray

from monai_lung.data.crops import read_crop, read_table
from monai_lung.errors import MaskError
from monai_lung.io import write_nifti
from monai_lung.model import CT
from monai_lung.training.datasets import DelineateDataset, load_crops

CENTERS_MM = (np.array([-30.0, 12, 40]), np.array([25.0, -20, 75]))
RADIUS_MM = 6.0


def chest(slices: int = 1) -> tuple[CT, NDArray[np.bool_]]:
    """A CT with two balls, and their mask; its columns run to the right, its slices up (1) or down (-1)."""
    affine = np.array(
        [[-0.8, 0, 0, 60], [0, 0.8, 0, -50], [0, 0, 2.0 * slices, 0 if slices > 0 else 118], [0, 0, 0, 1]]
    )
    ct = CT(np.full((140, 130, 60), -850, np.int16), affine, "chest", Path("chest.nii.gz"))
    index = np.moveaxis(np.indices(ct.hu.shape), 0, -1)
    world = ct.to_world(index.astype(float))
    mask = np.zeros(ct.hu.shape, bool)
    for center in CENTERS_MM:
        mask |= np.linalg.norm(world - center, axis=-1) <= RADIUS_MM
    ct.hu[mask] = 40
    return ct, mask


def label_file(path: Path, ct: CT, values: NDArray[np.uint8]) -> Path:
    write_nifti(path, values, ct.affine_lps)
    return path


@pytest.mark.parametrize("slices", [1, -1])
def test_crops_hold_each_nodule_where_it_is(tmp_path: Path, slices: int) -> None:
    ct, mask = chest(slices)
    assert write_crops(tmp_path, [("chest one", ct, mask)]) == {"chest one": 2}
    centers = []
    for row in read_table(tmp_path):
        crop = read_crop(tmp_path, row)
        assert row.patient == "chest one"
        assert row.diameter_mm == pytest.approx(2 * RADIUS_MM, rel=0.05)
        marked = crop.share > 0.5
        assert (crop.hu[marked] == 40).all()
        ras = crop.affine_ras @ np.append(np.argwhere(marked).mean(0), 1)
        centers.append(ras[:3] * [-1, -1, 1])
        reach = (np.argwhere(marked).min(0)) * crop.spacing_mm
        assert (reach >= MARGIN_MM).all()
    order = np.argsort([c[2] for c in centers])
    np.testing.assert_allclose(np.array(centers)[order], CENTERS_MM, atol=0.5)


def test_crops_train_the_delineating_network(tmp_path: Path) -> None:
    ct, mask = chest()
    write_crops(tmp_path, [("chest", ct, mask)])
    dataset = DelineateDataset(load_crops(tmp_path, ["chest"]), (0.625, 0.625, 1.25), (48, 48, 24), augment=False)
    assert len(dataset) == 2
    item = dataset[0]
    target, trust = item["label"]
    assert (trust > 0).all()  # the margins reach as far as the patch does
    assert item["image"][0][target > 0.9].mean() > 0.7
    volume_mm3 = float((target >= 0.5).sum()) * 0.625**2 * 1.25
    assert volume_mm3 == pytest.approx(4 / 3 * np.pi * RADIUS_MM**3, rel=0.1)


def test_a_stray_stroke_is_no_nodule(tmp_path: Path) -> None:
    ct, _ = chest()
    stroke = np.zeros(ct.hu.shape, bool)
    stroke[70, 60:63, 30] = True
    assert write_crops(tmp_path, [("chest", ct, stroke)]) == {}
    assert read_table(tmp_path) == []


def test_a_label_is_read_on_whatever_grid_it_was_saved(tmp_path: Path) -> None:
    ct, mask = chest()
    whole = label_file(tmp_path / "whole.nii.gz", ct, mask.astype(np.uint8))
    np.testing.assert_array_equal(nodule_mask(whole, {}, ct), mask)
    slices = np.flatnonzero(mask.any((0, 1)))
    first, last = int(slices[0]), int(slices[-1]) + 1
    part = sitk.ReadImage(str(whole))[:, :, first:last]
    sitk.WriteImage(part[::-1, :, :], str(tmp_path / "part.nrrd"))  # fewer slices, the columns the other way round
    np.testing.assert_array_equal(nodule_mask(tmp_path / "part.nrrd", {}, ct), mask)


def test_only_the_segment_called_nodule_is_taken(tmp_path: Path) -> None:
    ct, mask = chest()
    values = np.where(mask, 3, 1).astype(np.uint8)
    path = label_file(tmp_path / "label.nii.gz", ct, values)
    listed = {"label_info": [{"name": "right lung"}, {"name": "left lung"}, {"name": "Nodule"}]}
    np.testing.assert_array_equal(nodule_mask(path, listed, ct), mask)
    swapped = {"label_info": [{"name": "lung", "idx": 3}, {"name": "nodule", "idx": 1}]}
    np.testing.assert_array_equal(nodule_mask(path, swapped, ct), ~mask)
    own = {"params": {"label_names": {"right lung": 1, "left lung": 2, "nodule": 3}}}
    np.testing.assert_array_equal(nodule_mask(path, own, ct), mask)
    with pytest.raises(MaskError, match="which is nodule"):
        nodule_mask(path, {}, ct)
    assert nodule_values([1, 2], {"label_info": [{"name": "lungs"}, {"name": "airways"}]}, "x") == []


def test_a_gap_in_the_numbers_that_slicer_sends_is_closed() -> None:
    """It counts the segment `background`, which it doesn't send; the values have no gap."""
    names = ["right lung", "left lung", "nodule", "background", "nodule 2"]
    info = [{"name": name, "idx": n} for n, name in enumerate(names, start=1) if name != "background"]
    assert nodule_values([1, 2, 3, 4], {"label_info": info}, "x") == [3, 4]
    assert nodule_values([4], {"label_info": info}, "x") == [4]
    assert nodule_values([1, 2, 3], {"label_info": info}, "x") == [3]
    assert nodule_values([5], {"label_info": [{"name": "nodule", "idx": 5}]}, "x") == [5]


def test_an_archive_gets_the_names_of_the_segments_that_are_not_empty(tmp_path: Path) -> None:
    """MONAI Label names them by their order: of lungs and nodule with empty lungs the nodule would be a lung."""
    ct, mask = chest()
    path = label_file(tmp_path / "label.nii.gz", ct, 3 * mask.astype(np.uint8))
    info = {"label_info": [{"name": "right lung"}, {"name": "left lung"}, {"name": "nodule", "color": [1, 2, 3]}]}
    assert entries_present(path, info) == [{"name": "nodule", "color": [1, 2, 3], "idx": 3}]
    assert entries_present(path, {"label_info": info["label_info"][:2]}) == [{"name": "unknown", "idx": 3}]
    with pytest.raises(MaskError, match="doesn't name its values"):
        entries_present(path, {"label_info": ["nodule"]})


def test_a_seg_of_others_names_its_segments(tmp_path: Path) -> None:
    assert segment_info(tmp_path / "nowhere") == []
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = pydicom.uid.SegmentationStorage, pydicom.uid.generate_uid()
    data.SegmentSequence = [pydicom.Dataset(), pydicom.Dataset()]
    for number, (segment, name) in enumerate(zip(data.SegmentSequence, ("left lung", "Nodule"), strict=True), start=1):
        segment.SegmentNumber, segment.SegmentLabel = number, name
    data.save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    found = segment_info(tmp_path)
    assert found == [{"name": "left lung", "idx": 1}, {"name": "Nodule", "idx": 2}]
    assert nodule_values([1, 2], {"label_info": found}, "x") == [2]


@pytest.mark.parametrize(
    "info", [{"label_info": [{"idx": None}]}, {"label_info": ["nodule"]}, {"params": {"label_names": {"nodule": "x"}}}]
)
def test_one_client_that_sends_nonsense_costs_its_own_label_alone(info: dict[str, Any]) -> None:
    """Training leaves out what raises a MaskError."""
    with pytest.raises(MaskError, match="doesn't name its values"):
        nodule_values([1], info, "x")


def test_labels_that_fit_no_ct_are_refused(tmp_path: Path) -> None:
    ct, mask = chest()
    moved = CT(ct.hu, ct.affine_lps + np.array([[0, 0, 0, 500]] + 3 * [[0, 0, 0, 0]]), "moved", Path("moved"))
    path = label_file(tmp_path / "label.nii.gz", moved, mask.astype(np.uint8))
    with pytest.raises(MaskError, match="outside the CT"):
        nodule_mask(path, {}, ct)
    path.write_bytes(b"no image")
    with pytest.raises(MaskError, match="can't be read"):
        nodule_mask(path, {}, ct)


def test_a_scan_keeps_its_side() -> None:
    names = [f"scan {n}" for n in range(10)]
    train, held = split(names, 0.2)
    assert (len(train), len(held)) == (8, 2)
    assert set(train) | set(held) == set(names)
    assert split(reversed(names), 0.2) == (train, held)
    more_train, _ = split([*names, "one more"], 0.2)
    assert len(set(train) - set(more_train)) <= 1
    assert split(["alone"], 0.2) == (["alone"], ["alone"])
    assert [len(part) for part in split(["a", "b"], 0.9)] == [1, 1]
