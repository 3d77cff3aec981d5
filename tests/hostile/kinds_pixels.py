"""Pixels: truncated, of other bits, other photometric, with loss, bombs."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from corpus import Chest, kind
from dicom_series import SeriesBuilder, save
from kinds_headers import changed, put, spliced, without
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless


def one_changed(chest: Chest, folder: Path, change: Callable[[Dataset], object]) -> Path:
    """The series with `change` done to one slice in its middle."""
    builder = chest.series()
    change(builder.datasets[20])
    return builder.write(folder)


def compressed(chest: Chest, folder: Path, syntax: str, change: Callable[[bytes], bytes]) -> Path:
    """The series compressed, and the stream of its slice 20 changed."""
    builder = chest.series()
    for k, data in enumerate(builder.datasets):
        data.compress(syntax, generate_instance_uid=False)
        if k == 20:
            from pydicom.encaps import generate_frames

            stream = next(generate_frames(data.PixelData, number_of_frames=1))
            data.PixelData = encapsulate([change(stream)])
    return builder.write(folder)


def stored(data: Dataset) -> np.ndarray:
    return np.frombuffer(data.PixelData, np.int16).reshape(data.Rows, data.Columns)


@kind("pixels", refused="fewer pixels")
def pixels_halved(chest: Chest, folder: Path) -> Path:
    """One slice has half of its pixels."""
    return one_changed(chest, folder, lambda d: setattr(d, "PixelData", d.PixelData[: 72 * 72]))


@kind("pixels", refused="cut off in its pixel data")
def file_cut_in_its_pixels(chest: Chest, folder: Path) -> Path:
    """One file ends within its pixels."""
    chest.series().write(folder)
    os.truncate(folder / "0020.dcm", 3000)
    return folder


@kind("pixels", refused="more pixels than its rows and columns")
def pixels_doubled(chest: Chest, folder: Path) -> Path:
    """One slice has the pixels of two."""
    return one_changed(chest, folder, lambda d: setattr(d, "PixelData", d.PixelData * 2))


@kind("pixels", refused="no pixel data")
def pixels_missing(chest: Chest, folder: Path) -> Path:
    """No slice has pixels."""
    return without(chest, folder, "PixelData")


@kind("pixels", refused="no pixel data|fewer pixels")
def pixels_empty(chest: Chest, folder: Path) -> Path:
    """One slice has pixel data of length 0."""
    return one_changed(chest, folder, lambda d: setattr(d, "PixelData", b""))


@kind("pixels", refused="no pixel data")
def pixels_as_floats(chest: Chest, folder: Path) -> Path:
    """Float Pixel Data (7FE0,0008)."""

    def change(data: Dataset) -> None:
        values = stored(data).astype(np.float32)
        del data.PixelData
        data.BitsAllocated = 32
        data.add_new(0x7FE00008, "OF", values.tobytes())

    return changed(chest, folder, change)


@kind("pixels", refused="bits per pixel")
def pixels_as_doubles(chest: Chest, folder: Path) -> Path:
    """Double Float Pixel Data (7FE0,0009)."""

    def change(data: Dataset) -> None:
        values = stored(data).astype(np.float64)
        del data.PixelData
        data.BitsAllocated = 64
        data.add_new(0x7FE00009, "OD", values.tobytes())

    return changed(chest, folder, change)


@kind("pixels", refused="bits per pixel")
def bits_allocated_12(chest: Chest, folder: Path) -> Path:
    """12 bits are allocated a pixel."""
    return changed(chest, folder, lambda d: setattr(d, "BitsAllocated", 12))


@kind("pixels", refused="bits per pixel")
def bits_stored_more_than_allocated(chest: Chest, folder: Path) -> Path:
    """24 of 16 bits are stored."""
    return changed(chest, folder, lambda d: (setattr(d, "BitsStored", 24), setattr(d, "HighBit", 23)))


@kind("pixels", refused="bits per pixel")
def bits_high_bit_too_low(chest: Chest, folder: Path) -> Path:
    """16 bits are stored up to bit 3."""
    return changed(chest, folder, lambda d: setattr(d, "HighBit", 3))


@kind("pixels", refused="more pixels|fewer pixels|Hounsfield")
def bits_8_of_16(chest: Chest, folder: Path) -> Path:
    """16-bit pixels that call themselves 8-bit."""
    return changed(
        chest, folder, lambda d: (setattr(d, "BitsAllocated", 8), setattr(d, "BitsStored", 8), setattr(d, "HighBit", 7))
    )


@kind("pixels")
def bits_above_hold_an_overlay(chest: Chest, folder: Path) -> Path:
    """Bits above the 12 stored ones hold an overlay."""

    def change(data: Dataset) -> None:
        values = stored(data).astype(np.uint16)
        values[::3] |= 0xF000
        data.PixelData, data.PixelRepresentation, data.BitsStored, data.HighBit = values.tobytes(), 0, 12, 11

    return changed(chest, folder, change)


@kind("pixels", refused="Hounsfield|no soft tissue")
def sign_lies(chest: Chest, folder: Path) -> Path:
    """Signed HU that call themselves unsigned: air becomes denser than metal."""
    builder = chest.series(intercept=0)
    for data in builder.datasets:
        data.PixelRepresentation = 0
    return builder.write(folder)


@kind("pixels", refused="colour")
def three_samples(chest: Chest, folder: Path) -> Path:
    """A colour picture that calls itself CT."""

    def change(data: Dataset) -> None:
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
        data.PixelData = data.PixelData * 3

    return changed(chest, folder, change)


@kind("pixels", refused="colour|palette")
def palette(chest: Chest, folder: Path) -> Path:
    """Pixels that are numbers of colours."""
    return changed(chest, folder, lambda d: setattr(d, "PhotometricInterpretation", "PALETTE COLOR"))


@kind("pixels", refused="colour|photometric")
def photometric_of_colour_on_one_sample(chest: Chest, folder: Path) -> Path:
    """One value per pixel, and it calls itself RGB."""
    return changed(chest, folder, lambda d: setattr(d, "PhotometricInterpretation", "RGB"))


@kind("pixels")
def photometric_inverted(chest: Chest, folder: Path) -> Path:
    """MONOCHROME1: shown inverted, but its values are HU all the same."""
    return changed(chest, folder, lambda d: setattr(d, "PhotometricInterpretation", "MONOCHROME1"))


@kind("pixels", refused="Hounsfield")
def values_inverted(chest: Chest, folder: Path) -> Path:
    """The values themselves are inverted."""

    def change(data: Dataset) -> None:
        data.PixelData = (4095 - stored(data)).astype(np.int16).tobytes()

    return changed(chest, folder, change)


@kind("pixels", refused="nothing but the value")
def values_constant(chest: Chest, folder: Path) -> Path:
    """All pixels are 0."""
    return changed(chest, folder, lambda d: setattr(d, "PixelData", bytes(len(d.PixelData))))


@kind("pixels", refused="Hounsfield")
def values_of_noise(chest: Chest, folder: Path) -> Path:
    """Pixels of random bits."""
    random = np.random.default_rng(0)
    return changed(chest, folder, lambda d: setattr(d, "PixelData", random.bytes(len(d.PixelData))))


@kind("pixels", warned="compressed lossily")
def lossy(chest: Chest, folder: Path) -> Path:
    """The header says that the image was compressed lossily."""
    return changed(chest, folder, lambda d: setattr(d, "LossyImageCompression", "01"))


def corners(values: np.ndarray) -> np.ndarray:
    """True outside the round field of view."""
    i, j = np.indices(values.shape)
    return np.hypot(i - 35.5, j - 35.5) > 36


@kind("pixels")
def padding_range_without_sign(chest: Chest, folder: Path) -> Path:
    """PixelPaddingRangeLimit: padding from 63000 to 65535, negative values that lost their sign."""
    builder = chest.series(signed=False)
    random = np.random.default_rng(0)
    for data in builder.datasets:
        values = stored(data).astype(np.uint16)
        outside = corners(values)
        values[outside] = random.integers(63000, 65536, int(outside.sum()))
        data.PixelData = values.tobytes()
        data.add_new(0x00280120, "US", 63000)
        data.add_new(0x00280121, "US", 65535)
    return builder.write(folder)


@kind("pixels")
def padding_range_backwards(chest: Chest, folder: Path) -> Path:
    """PixelPaddingRangeLimit below PixelPaddingValue, signed, above every metal."""
    builder = chest.series()
    for data in builder.datasets:
        values = stored(data).copy()
        values[corners(values)] = 30000
        data.PixelData = values.tobytes()
        data.add_new(0x00280120, "SS", 32767)
        data.add_new(0x00280121, "SS", 29000)
    return builder.write(folder)


@kind("pixels")
def padding_range_of_tissue(chest: Chest, folder: Path) -> Path:
    """A padding range that covers soft tissue: it isn't believed."""

    def change(data: Dataset) -> None:
        data.add_new(0x00280120, "SS", 0)
        data.add_new(0x00280121, "SS", 2000)

    return changed(chest, folder, change)


@kind("pixels")
def padding_of_many_values(chest: Chest, folder: Path) -> Path:
    """A padding value of three values, of another type."""
    return changed(chest, folder, put(0x00280120, "OW", b"\0\1\2\3\4\5"))


@kind("pixels", refused="can't be decoded")
def rle_cut(chest: Chest, folder: Path) -> Path:
    """An RLE stream that ends early."""
    return compressed(chest, folder, RLELossless, lambda s: s[: len(s) // 2])


@kind("pixels", refused="can't be decoded")
def rle_offsets_lie(chest: Chest, folder: Path) -> Path:
    """An RLE stream whose segments lie outside."""
    return compressed(chest, folder, RLELossless, lambda s: struct.pack("<16I", 15, *[0x7FFFFFFF] * 15) + s[64:])


@kind("pixels", refused="can't be decoded", noise="^$|panicked|index out of bounds|RUST_BACKTRACE")
def rle_segment_too_long(chest: Chest, folder: Path) -> Path:
    """An RLE stream with a segment that holds more than a plane: its decoder, in Rust, panics."""

    def change(stream: bytes) -> bytes:
        second = struct.unpack_from("<I", stream, 8)[0]
        return stream[:second] + b"\x81\x00" * 60

    return compressed(chest, folder, RLELossless, change)


@kind("pixels", refused="can't be decoded")
def jpeg2000_cut(chest: Chest, folder: Path) -> Path:
    """A JPEG 2000 stream that ends early."""
    return compressed(chest, folder, JPEG2000Lossless, lambda s: s[: len(s) // 2])


@kind("pixels", refused="can't be decoded|another size")
def jpeg2000_of_zeros(chest: Chest, folder: Path) -> Path:
    """A JPEG 2000 stream whose middle is zeros: a decoder makes something of it, or not."""
    return compressed(chest, folder, JPEG2000Lossless, lambda s: s[:40] + bytes(len(s) - 42) + s[-2:])


def _siz(stream: bytes, columns: int, rows: int) -> bytes:
    at = stream.index(b"\xff\x51") + 6
    return stream[:at] + struct.pack(">2I", columns, rows) + stream[at + 8 :]


@kind("pixels", refused="another size")
def jpeg2000_of_another_size(chest: Chest, folder: Path) -> Path:
    """A JPEG 2000 stream that says 36 x 144 where the header says 72 x 72."""
    return compressed(chest, folder, JPEG2000Lossless, lambda s: _siz(s, 36, 144))


@kind("pixels", refused="another size")
def jpeg2000_bomb(chest: Chest, folder: Path) -> Path:
    """A JPEG 2000 stream that says 60000 x 60000."""
    return compressed(chest, folder, JPEG2000Lossless, lambda s: _siz(s, 60000, 60000))


def _sof(stream: bytes, rows: int, columns: int) -> bytes:
    at = stream.index(b"\xff\xf7") + 5
    return stream[:at] + struct.pack(">2H", rows, columns) + stream[at + 4 :]


@kind("pixels", refused="another size")
def jpegls_bomb(chest: Chest, folder: Path) -> Path:
    """A JPEG-LS stream that says 65535 x 65535."""
    return compressed(chest, folder, JPEGLSLossless, lambda s: _sof(s, 65535, 65535))


@kind("pixels", refused="another size")
def jpegls_of_another_size(chest: Chest, folder: Path) -> Path:
    """A JPEG-LS stream that says 144 x 36: as many pixels, other rows."""
    return compressed(chest, folder, JPEGLSLossless, lambda s: _sof(s, 144, 36))


@kind("pixels", refused="can't be decoded|another size")
def jpegls_damaged(chest: Chest, folder: Path) -> Path:
    """A JPEG-LS stream with its middle missing."""
    return compressed(chest, folder, JPEGLSLossless, lambda s: s[:30] + s[-30:])


@kind("pixels", refused="can't be decoded")
def jpegls_of_text(chest: Chest, folder: Path) -> Path:
    """Text in the place of a JPEG-LS stream."""
    return compressed(chest, folder, JPEGLSLossless, lambda s: b"this is not an image at all \xff\xd9")


@kind("pixels")
def jpegls_padded_by_anything(chest: Chest, folder: Path) -> Path:
    """A JPEG-LS stream with bytes after its end that aren't zero."""
    return compressed(chest, folder, JPEGLSLossless, lambda s: s.rstrip(b"\0") + b"\x4b")


@kind("pixels", refused="1 of 40 slices can't be read .*: --allow-gaps leaves them out")
def jpegls_cut(chest: Chest, folder: Path) -> Path:
    """A JPEG-LS stream that ends early: the slice is named, and how to continue without it."""
    return compressed(chest, folder, JPEGLSLossless, lambda s: s[: len(s) // 2])


@kind("pixels", refused="can't be decoded|another size")
def frames_none(chest: Chest, folder: Path) -> Path:
    """Encapsulated pixel data without a frame."""
    builder = chest.series()
    for data in builder.datasets:
        data.compress(JPEGLSLossless, generate_instance_uid=False)
    builder.datasets[20].PixelData = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    return builder.write(folder)


@kind("pixels", refused="can't be decoded|cut off|damaged|another size")
def frame_lengths_lie(chest: Chest, folder: Path) -> Path:
    """A frame that claims 4 GB."""
    builder = chest.series()
    for data in builder.datasets:
        data.compress(JPEGLSLossless, generate_instance_uid=False)
    builder.datasets[20].PixelData = (
        b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0" + struct.pack("<I", 0xFFFFFFF0) + b"\xff\xd8\xff\xd9"
    )
    return builder.write(folder)


@kind("pixels", refused="far larger|can't be decoded")
def compressed_file_of_8_gigabytes(chest: Chest, folder: Path) -> Path:
    """A compressed slice in a file of 8 GB, most of it a hole."""
    builder = chest.series()
    for data in builder.datasets:
        data.compress(RLELossless, generate_instance_uid=False)
    builder.write(folder)
    content = (folder / "0020.dcm").read_bytes()
    (folder / "0020.dcm").write_bytes(content[:-8])
    os.truncate(folder / "0020.dcm", 8 * 2**30)
    return folder


def deflated(builder: SeriesBuilder, folder: Path, change: Callable[[bytes], bytes]) -> Path:
    """A deflated series; `change` is done to the deflated part of slice 20."""
    builder.write(folder)
    for k in range(len(builder.datasets)):
        file = folder / f"{k:04d}.dcm"
        content = file.read_bytes().replace(b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x16\x001.2.840.10008.1.2.1.99")
        at = content.index(b"\x02\0\0\0UL\x04\0")
        length = struct.unpack_from("<I", content, at + 8)[0] + 2
        start = at + 12 + length
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = packer.compress(content[start:]) + packer.flush()
        head = content[: at + 8] + struct.pack("<I", length) + content[at + 12 : start]
        file.write_bytes(head + (change(packed) if k == 20 else packed))
    return folder


@kind("pixels")
def deflated_sound(chest: Chest, folder: Path) -> Path:
    """A deflated series as it should be."""
    return deflated(chest.series(), folder, lambda packed: packed)


@kind("pixels", refused="misses 1 slices")
def deflated_bomb(chest: Chest, folder: Path) -> Path:
    """A deflated slice that grows a thousandfold."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    megabyte = bytes(2**20)
    bomb = b"".join([*(packer.compress(megabyte) for _ in range(64)), packer.flush()])
    return deflated(chest.series(), folder, lambda packed: bomb)


@kind("pixels", refused="inflates to more than|deflated")
def deflated_bombs(chest: Chest, folder: Path) -> Path:
    """Forty deflated files that each grow a thousandfold."""
    builder = chest.series()
    deflated(builder, folder, lambda packed: packed)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    megabyte = bytes(2**20)
    bomb = b"".join([*(packer.compress(megabyte) for _ in range(60)), packer.flush()])
    for k in range(40):
        file = folder / f"{k:04d}.dcm"
        content = file.read_bytes()
        at = content.index(b"\x02\0\0\0UL\x04\0")
        start = at + 12 + struct.unpack_from("<I", content, at + 8)[0]
        file.write_bytes(content[:start] + bomb)
    return folder


@kind("pixels", refused="misses 1 slices|damaged")
def deflated_cut(chest: Chest, folder: Path) -> Path:
    """A deflated slice that ends early."""
    return deflated(chest.series(), folder, lambda packed: packed[: len(packed) // 3])


@kind("pixels")
def big_endian_sound(chest: Chest, folder: Path) -> Path:
    """A big-endian series as it should be."""
    for k, data in enumerate(chest.series().datasets):
        data.PixelData = stored(data).byteswap().tobytes()
        save(data, folder / f"{k}.dcm", "1.2.840.10008.1.2.2")
    return folder


@kind("pixels")
def odd_length(chest: Chest, folder: Path) -> Path:
    """Pixel data with bytes after its end."""
    return spliced(chest, folder, lambda c: c + b"\0\0\0\0\0\0\0")
