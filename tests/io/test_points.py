"""Points as people have them: typed, in tables, of 3D Slicer, of DICOM SR and presentation states."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from monai_lung.errors import InputError, UsageError
from monai_lung.io.points import read_points
from monai_lung.model import CT, Series, SourceSlice

AFFINE = np.array([[0.5, 0, 0, -50], [0, 0.5, 0, -60], [0, 0, 2.0, 100], [0, 0, 0, 1]])
UID, FRAME = "1.2.3.4", "1.2.3.9"


def ct(**more: object) -> CT:
    return replace(CT(np.full((40, 40, 20), -800, np.int16), AFFINE, "chest", Path("/data/chest.mhd")), **more)


def dicom_ct(folder: Path) -> CT:
    slices = []
    for k in range(20):
        affine = AFFINE.copy()
        affine[:3, 3] = (AFFINE @ (0, 0, k, 1))[:3]
        affine[:3, 2] = (0, 0, 1)
        slices.append(SourceSlice(folder / f"{k}.dcm", f"1.2.3.4.{k}", affine, (40, 40)))
    series = Series(UID, "1.2", "CT", "", (), True, "")
    return ct(series=series, slices=tuple(slices), frame_of_reference_uid=FRAME)


def test_typed_points_are_lps_mm_or_indices() -> None:
    assert read_points("1,2,3; -4.5,5e0,6;", ct()) == [(1, 2, 3), (-4.5, 5, 6)]
    assert read_points("10,20,3", ct(), index=True) == [(-45, -50, 106)]


@pytest.mark.parametrize("given", ["1,2", "1,2,3,4", "1,2,3;4", "nowhere.csv", ""])
def test_what_is_no_point_is_wrong_usage(given: str) -> None:
    with pytest.raises(UsageError, match="--points"):
        read_points(given, ct())


def test_a_coordinate_that_is_no_number_is_refused() -> None:
    with pytest.raises(InputError, match="not a number"):
        read_points("1,nan,3", ct())


@pytest.mark.parametrize("name", ["1.2.3.4", "chest"])
def test_candidates_of_luna16_are_those_of_the_series(tmp_path: Path, name: str) -> None:
    path = tmp_path / "candidates.csv"
    path.write_text(f"seriesuid,coordX,coordY,coordZ,class\n{name},-45,-50,106,1\n9.9,0,0,0,0\n{name},1.5,2,3,0\n")
    assert read_points(str(path), dicom_ct(tmp_path)) == [(-45, -50, 106), (1.5, 2, 3)]
    path.write_text("seriesuid,coordX,coordY,coordZ,class\n9.9,0,0,0,0\n")
    with pytest.raises(InputError, match=r"no row is about this CT's series \(1.2.3.4, chest\)"):
        read_points(str(path), dicom_ct(tmp_path))


def test_other_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id;x;y;z\na;1;2;3\nb;4;5;6\n")
    assert read_points(str(path), ct()) == [(1, 2, 3), (4, 5, 6)]
    path.write_text("x,y,z\n10,20,3\n")
    assert read_points(str(path), ct(), index=True) == [(-45, -50, 106)]
    path.write_text("id,center_x_mm,center_y_mm,center_z_mm\n1,1,2,3\n")
    assert read_points(str(path), ct()) == [(1, 2, 3)]
    for text, words in (("a,b\n1,2\n", "none of these sets of columns"), ("x,y,z\n1,?,3\n", "not coordinates")):
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            read_points(str(path), ct())


def markups(system: str, kind: str = "Fiducial", **more: object) -> str:
    points = [{"position": p, "positionStatus": "defined"} for p in ([10.0, 20.0, 30.0], [12.0, 22.0, 34.0])]
    points.append({"position": [0, 0, 0], "positionStatus": "undefined"})
    return json.dumps({"markups": [{"type": kind, "coordinateSystem": system, "controlPoints": points, **more}]})


def test_markups_of_slicer_in_either_system(tmp_path: Path) -> None:
    path = tmp_path / "F.mrk.json"
    path.write_text(markups("LPS"))
    assert read_points(str(path), ct()) == [(10, 20, 30), (12, 22, 34)]
    path.write_text(markups("RAS"))
    assert read_points(str(path), ct()) == [(-10, -20, 30), (-12, -22, 34)]
    path.write_text(markups("LPS", "Line"))
    assert read_points(str(path), ct()) == [(11, 21, 32)]


@pytest.mark.parametrize("text", [markups("IJK"), markups("LPS", coordinateUnits="cm"), "{}", "[", '{"markups": [1]}'])
def test_markups_that_can_not_be_understood(tmp_path: Path, text: str) -> None:
    path = tmp_path / "F.mrk.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"F\.mrk\.json") as caught:
        read_points(str(path), ct())
    assert "\n" not in str(caught.value)


def save(path: Path, data: object) -> Path:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.11.1", "1.2.3.77"
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = data.SOPClassUID, "1.2.3.77"
    data.ContentDate = datetime.date(2026, 1, 1)
    data.save_as(path, enforce_file_format=True)
    return path


def dataset(**elements: object) -> object:
    from pydicom.dataset import Dataset

    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def test_a_presentation_state_gives_its_points(tmp_path: Path) -> None:
    image = dataset(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID="1.2.3.4.3")
    other = dataset(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID="9.9")
    graphics = [
        dataset(GraphicAnnotationUnits="PIXEL", GraphicType="POINT", GraphicData=[10.5, 20.5], GraphicDimensions=2),
        dataset(GraphicAnnotationUnits="DISPLAY", GraphicType="POINT", GraphicData=[0.5, 0.5]),
        dataset(GraphicAnnotationUnits="PIXEL", GraphicType="POLYLINE", GraphicData=[8.5, 20.5, 12.5, 24.5]),
    ]
    text = dataset(AnchorPointAnnotationUnits="PIXEL", AnchorPoint=[0.5, 0.5], UnformattedTextValue="here")
    annotation = dataset(
        ReferencedImageSequence=[image, other], GraphicObjectSequence=graphics, TextObjectSequence=[text]
    )
    path = save(tmp_path / "pr.dcm", dataset(Modality="PR", GraphicAnnotationSequence=[annotation]))
    assert read_points(str(path), dicom_ct(tmp_path)) == [(-45, -50, 106), (-45, -49, 106), (-50, -60, 106)]
    with pytest.raises(InputError, match="no point of this CT"):
        read_points(str(path), ct())


def test_a_report_gives_points_of_space_and_of_images(tmp_path: Path) -> None:
    image = dataset(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID="1.2.3.4.3")
    flat = dataset(
        ValueType="SCOORD", GraphicType="POINT", GraphicData=[10.5, 20.5],
        ContentSequence=[dataset(ValueType="IMAGE", ReferencedSOPSequence=[image])],
    )  # fmt: skip
    points = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    space = dataset(
        ValueType="SCOORD3D", GraphicType="MULTIPOINT", GraphicData=points, ReferencedFrameOfReferenceUID=FRAME
    )
    group = dataset(ValueType="CONTAINER", ContentSequence=[dataset(ValueType="NUM", ContentSequence=[space]), flat])
    path = save(tmp_path / "sr.dcm", dataset(Modality="SR", ContentSequence=[group]))
    assert read_points(str(path), dicom_ct(tmp_path)) == [(1, 2, 3), (4, 5, 6), (-45, -50, 106)]
    with pytest.raises(InputError, match=r"frame of reference 1\.2\.3\.9, not in this CT's"):
        read_points(str(path), replace(dicom_ct(tmp_path), frame_of_reference_uid="1.9"))
