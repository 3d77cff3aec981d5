"""Enhanced CT: one file, one frame for each slice."""

import numpy as np
import pytest
from dicom_series import SeriesBuilder, assert_same_world, body_hu, save
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEGLSLossless

from monai_lung.errors import GeometryError
from monai_lung.io import find_cases, read_ct


def group(**elements):
    data = Dataset()
    for name, value in elements.items():
        setattr(data, name, value)
    return Sequence([data])


def enhanced(builder, order):
    """One Enhanced CT object of a builder's slices, its frames in any order."""
    first = builder.datasets[0]
    data = Dataset()
    data.file_meta = first.file_meta
    same = "StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID PatientID StudyDate Modality"
    pixel = (
        "Rows Columns SamplesPerPixel PhotometricInterpretation BitsAllocated BitsStored HighBit PixelRepresentation"
    )
    for name in f"{same} {pixel}".split():
        setattr(data, name, getattr(first, name))
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2.1", "1.2.3.4"
    data.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    data.NumberOfFrames = len(order)
    shared = Dataset()
    shared.PixelMeasuresSequence = group(PixelSpacing=first.PixelSpacing, SliceThickness=2.0)
    shared.PlaneOrientationSequence = group(ImageOrientationPatient=first.ImageOrientationPatient)
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for k in order:
        own, source = Dataset(), builder.datasets[k]
        own.PlanePositionSequence = group(ImagePositionPatient=source.ImagePositionPatient)
        own.PixelValueTransformationSequence = group(
            RescaleIntercept=source.RescaleIntercept, RescaleSlope=1, RescaleType="HU"
        )
        frames.append(own)
    data.PerFrameFunctionalGroupsSequence = Sequence(frames)
    data.PixelData = b"".join(builder.datasets[k].PixelData for k in order)
    return data


@pytest.mark.parametrize("compressed", [False, True])
def test_enhanced_ct(tmp_path, compressed):
    builder = SeriesBuilder(spacing=(0.6, 0.9, 2.0))
    data = enhanced(builder, [5, 3, 0, 1, 2, 4, 11, 10, 9, 8, 7, 6])
    if compressed:
        data.compress(JPEGLSLossless, generate_instance_uid=False)
    save(data, tmp_path / "enhanced.dcm")
    assert [c.series.n_slices for c in find_cases(tmp_path)] == [12]
    for path in (tmp_path, tmp_path / "enhanced.dcm"):
        ct = read_ct(path)
        assert_same_world(ct, builder)
    assert [s.frame for s in ct.slices] == [2, 3, 4, 1, 5, 0, 11, 10, 9, 8, 7, 6]
    assert len(ct.series.files) == 1


def test_enhanced_ct_with_a_missing_frame(tmp_path):
    save(enhanced(SeriesBuilder(), [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11]), tmp_path / "enhanced.dcm")
    with pytest.raises(GeometryError, match="misses 1 slices"):
        read_ct(tmp_path)


def test_a_long_header_is_read_whole(tmp_path):
    """Headers longer than what is read at first (many frames, private data) are parsed from the file itself."""
    builder = SeriesBuilder()
    for data in builder.datasets:
        data.add_new(0x00090010, "LO", "TEST")
        data.add_new(0x00091001, "OB", b"\1" * 100_000)
    builder.write(tmp_path)
    np.testing.assert_array_equal(read_ct(tmp_path).hu, builder.hu)


def in_parts(builder, folder, parts=3):
    """The slices as a concatenation: one image in several files."""
    count = len(builder.datasets) // parts
    for part in range(parts):
        data = enhanced(builder, range(part * count, (part + 1) * count))
        data.SOPInstanceUID = f"1.2.3.{part + 1}"
        data.ConcatenationUID, data.InConcatenationNumber, data.InConcatenationTotalNumber = "1.2.9", part + 1, parts
        save(data, folder / f"{part}.dcm")
    return folder


def test_one_file_of_several_stands_for_all_of_them(tmp_path):
    """OHIF issue 4388: a third of the chest was taken for all of it."""
    builder = SeriesBuilder(body_hu(slices=30))
    in_parts(builder, tmp_path)
    for path in (tmp_path, tmp_path / "1.dcm"):
        ct = read_ct(path)
        assert_same_world(ct, builder)
        assert len(ct.series.files) == 3
        assert not any("files of this image" in w for w in ct.warnings)


def test_a_part_alone_says_so(tmp_path):
    in_parts(SeriesBuilder(body_hu(slices=30)), tmp_path)
    (tmp_path / "2.dcm").unlink()
    assert any("Only 2 of the 3 files of this image are present" in w for w in read_ct(tmp_path / "1.dcm").warnings)


def test_one_file_of_two_phases_stands_for_itself(tmp_path):
    """Each file of the series is a whole volume: the one that is named is read."""
    builders = [SeriesBuilder(body_hu(seed=n)) for n in (1, 2)]
    for number, builder in enumerate(builders):
        data = enhanced(builder, range(12))
        data.SeriesInstanceUID, data.SOPInstanceUID = "1.2.7", f"1.2.3.{number}"
        data.StudyInstanceUID = data.FrameOfReferenceUID = "1.2.8"
        save(data, tmp_path / f"{number}.dcm")
    for number, builder in enumerate(builders):
        np.testing.assert_array_equal(read_ct(tmp_path / f"{number}.dcm").hu, builder.hu)
