"""Enhanced CT: one file, a frame a slice."""

import numpy as np
import pytest
from dicom_series import SeriesBuilder, assert_same_world, save
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
