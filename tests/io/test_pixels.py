"""Stored values to HU, for each way in which they can be stored."""

import numpy as np
import pytest
from dicom_series import SeriesBuilder, body_hu, save
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from monai_lung.errors import DecodeError, NotCTError
from monai_lung.io import read_ct


def stored_as(builder, dtype, **elements):
    """Keep the HU, change how they're stored."""
    for k, data in enumerate(builder.datasets):
        stored = builder.hu[:, :, k].T.astype(np.int64) - int(data.RescaleIntercept)
        data.PixelData = np.ascontiguousarray(stored.astype(dtype)).tobytes()
        for name, value in elements.items():
            setattr(data, name, value)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("signed", [True, False])
def test_compressed_series_decode_exactly(tmp_path, syntax, signed):
    builder = SeriesBuilder(signed=signed)
    for k, data in enumerate(builder.datasets):
        data.compress(syntax, generate_instance_uid=False)
        save(data, tmp_path / f"{k:04d}.dcm")
    np.testing.assert_array_equal(read_ct(tmp_path).hu, builder.hu)


def jpeg_ls(builder, folder):
    for k, data in enumerate(builder.datasets):
        data.compress(JPEGLSLossless, generate_instance_uid=False)
        save(data, folder / f"{k:04d}.dcm")
    return folder


def change_frame(file, change):
    """Exchange the compressed frame of a file."""
    data = dcmread(file)
    data.PixelData = encapsulate([change(next(generate_frames(data.PixelData, number_of_frames=1)))])
    data.save_as(file)


def test_jpeg_lossless_decodes_exactly(tmp_path):
    """Process 14, SV1, which pydicom has no encoder for."""
    gdcm = pytest.importorskip("gdcm")
    builder = SeriesBuilder(signed=False)
    builder.write(tmp_path / "plain")
    (tmp_path / "jpeg").mkdir()
    for file in (tmp_path / "plain").iterdir():
        reader = gdcm.ImageReader()
        reader.SetFileName(str(file))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(tmp_path / "jpeg" / file.name))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
    np.testing.assert_array_equal(read_ct(tmp_path / "jpeg").hu, builder.hu)
    for file in sorted((tmp_path / "jpeg").iterdir())[::2]:
        change_frame(file, lambda frame: frame.rstrip(b"\0") + b"\x4b")
    np.testing.assert_array_equal(read_ct(tmp_path / "jpeg").hu, builder.hu)


@pytest.mark.parametrize("padding", [b"\x4b", b"\xff", b"\0\x01\0", b"\xff\xd8" + b"x" * 300])
def test_padding_behind_the_end_of_a_frame_is_no_damage(tmp_path, padding):
    """126 of 247 slices of a real series end in FFD9 and a byte that isn't zero: they were called cut off."""
    builder = SeriesBuilder(signed=False)
    folder = jpeg_ls(builder, tmp_path)
    for file in sorted(folder.iterdir())[::2]:
        change_frame(file, lambda frame: frame.rstrip(b"\0") + padding)
    np.testing.assert_array_equal(read_ct(folder).hu, builder.hu)


def test_the_end_of_a_picture_within_the_header_is_not_that_of_the_frame(tmp_path):
    folder = jpeg_ls(SeriesBuilder(signed=False), tmp_path)
    preview = b"\xff\xe1\x00\x0aEXIF\xff\xd8\xff\xd9"
    change_frame(folder / "0005.dcm", lambda frame: frame[:2] + preview + frame[2 : len(frame) // 2])
    with pytest.raises(DecodeError, match=r"0005\.dcm can't be decoded"):
        read_ct(folder)


@pytest.mark.parametrize("compressed", [False, True])
def test_slices_that_are_cut_are_named_and_left_out_on_request(tmp_path, compressed):
    hu = body_hu(slices=14)
    hu[:] = np.round(hu[:, :, :1] + 10.0 * np.arange(14))  # linear in z, so that interpolation is exact
    builder = SeriesBuilder(hu, signed=False)
    folder = jpeg_ls(builder, tmp_path) if compressed else builder.write(tmp_path)
    for name in ("0004.dcm", "0005.dcm", "0013.dcm"):
        if compressed:
            change_frame(folder / name, lambda frame: frame[: len(frame) // 2])
        else:
            (folder / name).write_bytes((folder / name).read_bytes()[:-500])
    with pytest.raises(
        DecodeError, match=r"0004.dcm .*3 of 14 slices can't be read \(z = -92.0, -90.0, -74.0 mm\)"
    ) as e:
        read_ct(folder)
    assert "--allow-gaps leaves them out" in str(e.value)
    ct = read_ct(folder, allow_gaps=True)
    assert any("3 of 14 slices can't be read and were left out" in w for w in ct.warnings)
    assert len(ct.slices) == 11
    clear = (hu > -1024).all(axis=2)
    np.testing.assert_array_equal(ct.hu[clear], hu[:, :, :13][clear])


@pytest.mark.parametrize(
    ("dtype", "elements"),
    [
        (np.uint16, {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0}),
        (np.uint32, {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31, "PixelRepresentation": 0}),
        (np.int32, {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}),
    ],
)
def test_bit_depths(tmp_path, dtype, elements):
    builder = SeriesBuilder()
    stored_as(builder, dtype, **elements)
    builder.write(tmp_path)
    np.testing.assert_array_equal(read_ct(tmp_path).hu, builder.hu)


def test_bits_that_are_not_stored_are_ignored(tmp_path):
    """Overlays in the upper bits, and 12-bit values with a sign that isn't drawn through."""
    unsigned = SeriesBuilder(signed=False, BitsStored=12, HighBit=11)
    for data in unsigned.datasets:
        data.PixelData = (np.frombuffer(data.PixelData, np.uint16) | 0x9000).tobytes()
    unsigned.write(tmp_path / "u")
    np.testing.assert_array_equal(read_ct(tmp_path / "u").hu, unsigned.hu)
    signed = SeriesBuilder(intercept=0, BitsStored=12, HighBit=11)
    for data in signed.datasets:
        data.PixelData = (np.frombuffer(data.PixelData, np.uint16) & 0x0FFF).tobytes()
    signed.write(tmp_path / "s")
    np.testing.assert_array_equal(read_ct(tmp_path / "s").hu, signed.hu)


def test_big_endian(tmp_path):
    builder = SeriesBuilder()
    for k, data in enumerate(builder.datasets):
        data.PixelData = np.frombuffer(data.PixelData, np.int16).byteswap().tobytes()
        data["PixelData"].VR = "OW"
        save(data, tmp_path / f"{k}.dcm", "1.2.840.10008.1.2.2")
    np.testing.assert_array_equal(read_ct(tmp_path).hu, builder.hu)


def test_rescale_is_that_of_each_slice(tmp_path):
    builder = SeriesBuilder(signed=False)
    for k, data in enumerate(builder.datasets):
        data.RescaleIntercept = -1024 - k
        data.PixelData = (builder.hu[:, :, k].T.astype(np.int32) + 1024 + k).astype(np.uint16).tobytes()
    builder.write(tmp_path)
    np.testing.assert_array_equal(read_ct(tmp_path).hu, builder.hu)


def test_rescale_with_a_slope(tmp_path):
    builder = SeriesBuilder(slope=0.5, intercept=-1500.25)
    builder.write(tmp_path)
    assert np.abs(read_ct(tmp_path).hu.astype(int) - builder.hu).max() <= 1


def test_padding_is_air_whatever_its_tag_says(tmp_path):
    """LIDC-IDRI-0001 names 63536 as padding and stores -2048 HU; others pad with -3024 or ring below."""
    hu = body_hu()
    hu[:4], hu[4:6], hu[6] = -2048, -3024, -3600
    builder = SeriesBuilder(hu, PixelPaddingValue=-2000)
    builder.write(tmp_path)
    np.testing.assert_array_equal(read_ct(tmp_path).hu, np.maximum(hu, -1024))


@pytest.mark.parametrize("slope", [1, 2])
@pytest.mark.parametrize(("signed", "padding"), [(False, 63536), (False, 65535), (True, 32767)])
def test_padding_that_lost_its_sign_is_air(tmp_path, signed, padding, slope):
    """-2000 in 16 bits without a sign is 63536: 32767 HU all around the field of view."""
    builder = SeriesBuilder(signed=signed, slope=slope, PixelPaddingValue=padding)
    for data in builder.datasets:
        stored = np.frombuffer(data.PixelData, np.int16 if signed else np.uint16).copy()
        stored[:100] = padding
        stored[100] = padding - 1
        data.PixelData = stored.tobytes()
    builder.write(tmp_path)
    hu = read_ct(tmp_path).hu.transpose(2, 1, 0).reshape(len(builder.datasets), -1)
    assert (hu[:, :100] == -1024).all()
    assert (hu[:, 100] > 20000).all(), "what isn't the padding value stays"
    assert (hu[:, 101:] < 4000).all()


def test_padding_with_a_plausible_value_is_left_alone(tmp_path):
    builder = SeriesBuilder(signed=False, PixelPaddingValue=1064)
    builder.write(tmp_path)
    assert (builder.hu == 40).any()
    np.testing.assert_array_equal(read_ct(tmp_path).hu, builder.hu)


def test_values_beyond_16_bits_are_clipped(tmp_path):
    builder = SeriesBuilder(signed=False)
    stored = np.frombuffer(builder.datasets[0].PixelData, np.uint16).copy()
    stored[:3] = 65535
    builder.datasets[0].PixelData = stored.tobytes()
    builder.write(tmp_path)
    hu = read_ct(tmp_path).hu
    assert (hu[:3, 0, 0] == 32767).all()
    np.testing.assert_array_equal(hu[3:], builder.hu[3:])


@pytest.mark.parametrize("cut", ["pixels", "header", "nothing left"])
def test_truncated_file(tmp_path, cut):
    SeriesBuilder().write(tmp_path)
    file = tmp_path / "0004.dcm"
    whole = file.read_bytes()
    start = whole.index(b"\xe0\x7f\x10\x00")
    file.write_bytes(whole[: {"pixels": len(whole) - 700, "header": start, "nothing left": start + 12}[cut]])
    with pytest.raises(DecodeError, match=r"0004.dcm .* cut off"):
        read_ct(tmp_path)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("cut", ["frame", "file"])
def test_truncated_compressed_file(tmp_path, syntax, cut):
    """Decoders fill what is missing with anything and say nothing."""
    builder = SeriesBuilder()
    for k, data in enumerate(builder.datasets):
        data.compress(syntax, generate_instance_uid=False)
        if k == 3 and cut == "frame":
            frame = next(generate_frames(data.PixelData, number_of_frames=1))
            data.PixelData = encapsulate([frame[: len(frame) // 4 * 2]])
        save(data, tmp_path / f"{k:04d}.dcm")
    if cut == "file":
        file = tmp_path / "0003.dcm"
        file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(DecodeError, match=r"0003.dcm can't be decoded") as info:
        read_ct(tmp_path)
    assert "\n" not in str(info.value)


def test_a_damaged_stream_is_not_handed_on_to_a_laxer_decoder(tmp_path):
    """pydicom tries all decoders: some end the process at a damaged JPEG-LS frame, others make up its pixels."""
    builder = SeriesBuilder()
    for k, data in enumerate(builder.datasets):
        data.compress(JPEGLSLossless, generate_instance_uid=False)
        if k == 3:  # the sample precision of the frame header (SOF55)
            at = data.PixelData.index(b"\xff\xf7") + 4
            data.PixelData = data.PixelData[:at] + b"\x65" + data.PixelData[at + 1 :]
        save(data, tmp_path / f"{k:04d}.dcm")
    with pytest.raises(DecodeError, match=r"0003.dcm can't be decoded"):
        read_ct(tmp_path)


def test_missing_decoder_names_the_extra(tmp_path, monkeypatch):
    import pydicom

    builder = SeriesBuilder()
    for k, data in enumerate(builder.datasets):
        data.compress(JPEGLSLossless, generate_instance_uid=False)
        save(data, tmp_path / f"{k:04d}.dcm")

    def missing(self):
        raise RuntimeError("Unable to decompress because all plugins are missing dependencies")

    monkeypatch.setattr(pydicom.dataset.Dataset, "pixel_array", property(missing))
    with pytest.raises(DecodeError, match=r'pip install "monai-lung\[dicom\]"'):
        read_ct(tmp_path)


def test_a_file_that_vanishes_while_reading(tmp_path):
    from monai_lung.io import find_cases

    SeriesBuilder().write(tmp_path)
    case = find_cases(tmp_path)[0]
    (tmp_path / "0007.dcm").unlink()
    with pytest.raises(DecodeError, match=r"0007.dcm can't be read any more"):
        read_ct(case)


@pytest.mark.parametrize(
    ("elements", "error"),
    [
        ({"BitsAllocated": 12}, DecodeError),
        ({"BitsStored": 20}, DecodeError),
        ({"HighBit": 3}, DecodeError),
        ({"Rows": 64}, DecodeError),
        ({"RescaleSlope": 0}, NotCTError),
        ({"RescaleSlope": 1e300}, NotCTError),
    ],
)
def test_contradictory_headers(tmp_path, elements, error):
    builder = SeriesBuilder()
    for data in builder.datasets:
        for name, value in elements.items():
            setattr(data, name, value)
    builder.write(tmp_path)
    with pytest.raises(error):
        read_ct(tmp_path)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (lambda hu: np.full_like(hu, 7), "nothing but the value 7"),
        (lambda hu: np.clip(hu // 8 + 128, 0, 255), "no air"),
        (lambda hu: hu + 1024, "no air"),
        (lambda hu: np.random.default_rng(0).integers(-1024, 32000, hu.shape).astype(np.int16), "no soft tissue"),
    ],
)
def test_values_that_are_no_hounsfield_units(tmp_path, values, match):
    builder = SeriesBuilder(values(body_hu()).astype(np.int16))
    builder.write(tmp_path)
    with pytest.raises(NotCTError, match=match):
        read_ct(tmp_path)


def test_air_alone_is_a_ct(tmp_path):
    """The lungs' stage says that there are none."""
    hu = np.random.default_rng(0).normal(-1000, 10, (40, 32, 12)).astype(np.int16)
    SeriesBuilder(hu).write(tmp_path)
    assert read_ct(tmp_path).hu.max() < -900


def test_missing_rescale_and_lossy_compression_are_mentioned(tmp_path):
    builder = SeriesBuilder(intercept=0, LossyImageCompression="01")
    for data in builder.datasets:
        del data.RescaleSlope, data.RescaleIntercept
    builder.write(tmp_path)
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, builder.hu)
    assert any("without a rescale" in w for w in ct.warnings)
    assert any("compressed lossily" in w for w in ct.warnings)


def test_malformed_elements_elsewhere_do_no_harm(tmp_path):
    """Real files hold private elements that raise when they're converted, and values of the wrong type."""
    builder = SeriesBuilder()
    for data in builder.datasets:
        data.add_new(0x00090010, "LO", "TEST")
        data.add_new(0x00091001, "DS", "1.25")
    builder.write(tmp_path)
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes().replace(b"20240131", b"2024x131").replace(b"1.25", b"x.y."))
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, builder.hu)
    assert ct.study_date is None
