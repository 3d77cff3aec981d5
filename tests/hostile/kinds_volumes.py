"""Volume files: no numbers, no shape, no place, no end."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk
from corpus import Chest, kind


def nifti(
    chest: Chest, folder: Path, array: np.ndarray | None = None, name: str = "ct.nii.gz", **header: object
) -> Path:
    """The chest, or `array` in its place, as NIfTI; `header` sets fields."""
    image = nibabel.Nifti1Image(chest.hu if array is None else array, chest.affine_ras)
    image.header.set_xyzt_units("mm")
    for field, value in header.items():
        image.header[field] = value
    nibabel.save(image, folder / name)
    return folder / name


def patched(path: Path, at: int, value: bytes) -> Path:
    """Bytes of a file, or of what it unpacks to, replaced."""
    if path.suffix == ".gz":
        content = gzip.decompress(path.read_bytes())
        path.write_bytes(gzip.compress(content[:at] + value + content[at + len(value) :], 1))
    else:
        content = path.read_bytes()
        path.write_bytes(content[:at] + value + content[at + len(value) :])
    return path


def text_header(chest: Chest, path: Path, *lines: tuple[str, str]) -> Path:
    """The chest as uncompressed NRRD or MetaImage with lines of its header exchanged (old, new)."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(chest.hu.T))
    image.SetSpacing([float(x) for x in np.diag(chest.affine_lps)[:3]])
    image.SetOrigin([float(x) for x in chest.affine_lps[:3, 3]])
    sitk.WriteImage(image, str(path))
    content = path.read_bytes()
    for old, new in lines:
        start = content.index(old.encode())
        end = content.index(b"\n", start)
        content = content[:start] + new.encode() + content[end:]
    path.write_bytes(content)
    return path


@kind("volume", warned="voxels that were NaN or infinite")
def nan_few(chest: Chest, folder: Path) -> Path:
    """A few voxels are nan or infinite."""
    array = chest.hu.astype(np.float32)
    array[:2, :2, :2], array[3, 3, 3] = np.nan, np.inf
    return nifti(chest, folder, array)


@kind("volume", refused="are NaN or infinite")
def nan_many(chest: Chest, folder: Path) -> Path:
    """A tenth of the voxels is nan."""
    array = chest.hu.astype(np.float32)
    array[:8] = np.nan
    return nifti(chest, folder, array)


@kind("volume", refused="are NaN or infinite")
def infinite(chest: Chest, folder: Path) -> Path:
    """All voxels are infinite."""
    return nifti(chest, folder, np.full(chest.hu.shape, np.inf, np.float32))


@kind("volume", refused="nothing but the value")
def constant(chest: Chest, folder: Path) -> Path:
    """One value everywhere."""
    return nifti(chest, folder, np.full(chest.hu.shape, 40, np.int16))


@kind("volume", refused="ml of lung")
def air(chest: Chest, folder: Path) -> Path:
    """Air and noise."""
    noise = np.random.default_rng(0).normal(-1000, 10, chest.hu.shape)
    return nifti(chest, folder, noise.astype(np.int16))


@kind("volume", refused="ml of lung|Hounsfield")
def noise(chest: Chest, folder: Path) -> Path:
    """Random HU between air and bone."""
    return nifti(chest, folder, np.random.default_rng(0).integers(-1024, 1000, chest.hu.shape).astype(np.int16))


@kind("volume", refused="ml of lung|Hounsfield")
def checkerboard(chest: Chest, folder: Path) -> Path:
    """Air and tissue in turns, from voxel to voxel."""
    board = np.indices(chest.hu.shape).sum(0) % 2
    return nifti(chest, folder, np.where(board, 40, -900).astype(np.int16))


@kind("volume", refused="1 slices|at least 8")
def one_slice_volume(chest: Chest, folder: Path) -> Path:
    """One slice."""
    return nifti(chest, folder, chest.hu[:, :, 20:21])


@kind("volume", refused="three-dimensional")
def flat(chest: Chest, folder: Path) -> Path:
    """Two dimensions."""
    return nifti(chest, folder, chest.hu[:, :, 20])


@kind("volume", refused="three-dimensional")
def four_dimensions(chest: Chest, folder: Path) -> Path:
    """Three volumes in one file."""
    return nifti(chest, folder, np.stack([chest.hu] * 3, -1))


@kind("volume")
def four_dimensions_of_one(chest: Chest, folder: Path) -> Path:
    """A fourth and a fifth dimension of size 1."""
    return nifti(chest, folder, chest.hu[..., None, None])


@kind("volume", refused="can't be read|cut off")
def slices_by_header_only(chest: Chest, folder: Path) -> Path:
    """4,000 slices of 256 x 256 by the header, and no voxel."""
    path = nifti(chest, folder, name="ct.nii")
    patched(path, 40, struct.pack("<4h", 3, 256, 256, 3000))
    os.truncate(path, 352)
    return path


@kind("volume", refused="voxels, more than")
def voxels_by_header_only(chest: Chest, folder: Path) -> Path:
    """32767 x 32767 x 32767 voxels by the header."""
    return patched(nifti(chest, folder), 40, struct.pack("<4h", 3, 32767, 32767, 32767))


@kind("volume", refused="three-dimensional|can't be read")
def sizes_negative(chest: Chest, folder: Path) -> Path:
    """Negative sizes in the header."""
    return patched(nifti(chest, folder), 40, struct.pack("<4h", 3, -72, -72, 40))


@kind("volume", refused="no chest CT has|NaN or infinite|can't be read")
def affine_singular(chest: Chest, folder: Path) -> Path:
    """An affine whose third axis is 0."""
    return patched(nifti(chest, folder), 312, struct.pack("<4f", 0, 0, 0, 0))


@kind("volume", refused="right angles")
def affine_sheared(chest: Chest, folder: Path) -> Path:
    """Axes that aren't perpendicular."""
    return patched(nifti(chest, folder), 280, struct.pack("<4f", -5.2, 3, 0, 184.6))


@kind("volume", refused="NaN or infinite values|can't be read")
def affine_no_number(chest: Chest, folder: Path) -> Path:
    """An affine of nan."""
    return patched(nifti(chest, folder), 280, struct.pack("<4f", *[float("nan")] * 4))


@kind("volume", refused="no chest CT has|can't be read")
def affine_astronomical(chest: Chest, folder: Path) -> Path:
    """Voxels of 1e30 mm."""
    return patched(nifti(chest, folder), 280, struct.pack("<4f", 1e30, 0, 0, 0))


@kind("volume", warned="sform and qform")
def affines_disagree(chest: Chest, folder: Path) -> Path:
    """The two affines of the NIfTI header mirror each other: the sform counts."""
    path = nifti(chest, folder, qform_code=1)
    return patched(path, 252, struct.pack("<2h6f", 1, 1, 0, 0, 1, 50, 50, 50))


def turned_qform(chest: Chest, folder: Path, degrees: float) -> Path:
    """A sound sform beside a qform that is turned about the patient's long axis."""
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    image = nibabel.Nifti1Image(chest.hu, None)
    image.header.set_xyzt_units("mm")
    image.set_sform(chest.affine_ras, 1)
    image.set_qform(turn @ chest.affine_ras, 1)
    nibabel.save(image, folder / "ct.nii.gz")
    return folder / "ct.nii.gz"


@kind("volume", warned="sform and qform contradict each other by up to")
def affines_5_degrees_apart(chest: Chest, folder: Path) -> Path:
    """The two affines differ by a turn of 5 degrees, no element of them by much: the sform counts."""
    return turned_qform(chest, folder, 5)


@kind("volume", warned="sform and qform contradict each other by up to")
def affines_15_degrees_apart(chest: Chest, folder: Path) -> Path:
    """The two affines differ by a turn of 15 degrees: the sform counts."""
    return turned_qform(chest, folder, 15)


@kind("volume")
def affines_that_round_differently(chest: Chest, folder: Path) -> Path:
    """The two affines differ by a turn of 0.01 degrees: they say the same."""
    return turned_qform(chest, folder, 0.01)


@kind("volume", warned="left and right may be swapped")
def orientation_unknown(chest: Chest, folder: Path) -> Path:
    """Neither affine of the NIfTI header is valid."""
    array = np.flip(chest.hu, 1)  # so that what readers make of it by habit is right here
    image = nibabel.Nifti1Image(array, None)
    image.header.set_zooms((5.2, 5.2, 7.5))
    nibabel.save(image, folder / "ct.nii.gz")
    return folder / "ct.nii.gz"


@kind("volume", refused="micron|unit")
def unit_micrometres(chest: Chest, folder: Path) -> Path:
    """The header says that lengths are micrometres."""
    return nifti(chest, folder, xyzt_units=3)


@kind("volume", refused="meter|unit")
def unit_metres(chest: Chest, folder: Path) -> Path:
    """The header says that lengths are metres."""
    return nifti(chest, folder, xyzt_units=1)


@kind("volume", refused="Hounsfield")
def scaled_to_bytes(chest: Chest, folder: Path) -> Path:
    """Grey values from 0 to 255."""
    return nifti(chest, folder, np.clip((chest.hu + 1000) / 8, 0, 255).astype(np.uint8))


@kind("volume", refused="not Hounsfield units|values per voxel")
def colours(chest: Chest, folder: Path) -> Path:
    """RGB voxels."""
    kind_ = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    return nifti(chest, folder, np.zeros(chest.hu.shape, kind_))


@kind("volume", refused="not Hounsfield units")
def complex_numbers(chest: Chest, folder: Path) -> Path:
    """Complex voxels."""
    return nifti(chest, folder, chest.hu.astype(np.complex64))


@kind("volume")
def doubles(chest: Chest, folder: Path) -> Path:
    """64-bit floats."""
    return nifti(chest, folder, chest.hu.astype(np.float64))


@kind("volume")
def big_endian(chest: Chest, folder: Path) -> Path:
    """A big-endian NIfTI."""
    image = nibabel.Nifti1Image(chest.hu, chest.affine_ras, nibabel.Nifti1Header(endianness=">"))
    nibabel.save(image, folder / "ct.nii")
    return folder / "ct.nii"


@kind("volume")
def scale_no_number(chest: Chest, folder: Path) -> Path:
    """A scale of infinity, which counts as none."""
    return patched(nifti(chest, folder), 112, struct.pack("<2f", float("inf"), 0))


@kind("volume", refused="Hounsfield|nothing but the value")
def scale_huge(chest: Chest, folder: Path) -> Path:
    """A scale of 1e30."""
    return patched(nifti(chest, folder), 112, struct.pack("<2f", 1e30, 0))


@kind("volume", refused="can't be read")
def gzip_cut(chest: Chest, folder: Path) -> Path:
    """A compressed file that ends early."""
    path = nifti(chest, folder)
    os.truncate(path, path.stat().st_size // 2)
    return path


@kind("volume", refused="can't be read")
def gzip_damaged(chest: Chest, folder: Path) -> Path:
    """A compressed file with a byte exchanged in its middle."""
    path = nifti(chest, folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)
    return path


@kind("volume", refused="can't be read")
def gzip_checksum_wrong(chest: Chest, folder: Path) -> Path:
    """A compressed file whose voxels unpack, but aren't those of its checksum."""
    path = nifti(chest, folder)
    content = path.read_bytes()
    path.write_bytes(content[:-8] + bytes([content[-8] ^ 1]) + content[-7:])
    return path


@kind("volume", refused="can't be read")
def nrrd_gzip_damaged(chest: Chest, folder: Path) -> Path:
    """A compressed NRRD with a byte exchanged in its middle."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(chest.hu.T))
    sitk.WriteImage(image, str(folder / "ct.nrrd"), True)
    content = bytearray((folder / "ct.nrrd").read_bytes())
    content[len(content) // 2] ^= 0x55
    (folder / "ct.nrrd").write_bytes(content)
    return folder / "ct.nrrd"


@kind("volume", refused="nothing but the value|voxels, more than")
def gzip_bomb(chest: Chest, folder: Path) -> Path:
    """1.5 MB that unpack to 512 x 512 x 600 zeros."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((512, 512, 600))
    header.set_sform(np.diag([-0.7, -0.7, 1, 1]), 1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    with gzip.open(folder / "ct.nii.gz", "wb", 1) as file:
        file.write(header.binaryblock + b"\0\0\0\0")
        for _ in range(600):
            file.write(bytes(512 * 512 * 2))
    return folder / "ct.nii.gz"


@kind("volume", refused="can't be read")
def text_in_gzip(chest: Chest, folder: Path) -> Path:
    """Text, compressed, called NIfTI."""
    (folder / "ct.nii.gz").write_bytes(gzip.compress(b"no image\n" * 100))
    return folder / "ct.nii.gz"


@kind("volume", refused="can't be read")
def offset_beyond_the_end(chest: Chest, folder: Path) -> Path:
    """The voxels are said to start far behind the file's end."""
    return patched(nifti(chest, folder), 108, struct.pack("<f", 1e15))


@kind("volume")
def extension_of_2_gigabytes(chest: Chest, folder: Path) -> Path:
    """A header extension that claims 2 GB: the voxels start where the header says."""
    path = nifti(chest, folder, name="ct.nii")
    return patched(path, 348, struct.pack("<4B2i", 1, 0, 0, 0, 0x7FFFFFF0, 6))


@kind("volume", refused="can't be read")
def type_unknown(chest: Chest, folder: Path) -> Path:
    """A data type that doesn't exist."""
    return patched(nifti(chest, folder), 70, struct.pack("<2h", 9999, 16))


@kind("volume", refused="neither NRRD nor MetaImage")
def dicom_called_nrrd(chest: Chest, folder: Path) -> Path:
    """A DICOM file called NRRD: it isn't handed to whatever reader knows it."""
    chest.series().write(folder)
    return (folder / "0020.dcm").rename(folder / "ct.nrrd")


@kind("volume")
def nrrd_sound(chest: Chest, folder: Path) -> Path:
    """A NRRD as it should be."""
    return text_header(chest, folder / "ct.nrrd")


@kind("volume", refused="negative|can't be read|left-handed")
def metaimage_spacing_negative(chest: Chest, folder: Path) -> Path:
    """A negative voxel size in a MetaImage."""
    return text_header(chest, folder / "ct.mha", ("ElementSpacing", "ElementSpacing = -5.2 5.2 7.5"))


@kind("volume", refused="can't be read|no chest CT has")
def metaimage_spacing_zero(chest: Chest, folder: Path) -> Path:
    """A voxel size of 0 in a MetaImage."""
    return text_header(chest, folder / "ct.mha", ("ElementSpacing", "ElementSpacing = 0 5.2 7.5"))


@kind("volume", refused="can't be read|three-dimensional")
def metaimage_sizes_zero(chest: Chest, folder: Path) -> Path:
    """A MetaImage of 0 columns."""
    return text_header(chest, folder / "ct.mha", ("DimSize", "DimSize = 0 72 40"))


@kind("volume", refused="cut off")
def metaimage_cut(chest: Chest, folder: Path) -> Path:
    """A MetaImage that ends early."""
    path = text_header(chest, folder / "ct.mha")
    os.truncate(path, 100_000)
    return path


@kind("volume", refused="cut off")
def nrrd_cut(chest: Chest, folder: Path) -> Path:
    """A NRRD that ends early."""
    path = text_header(chest, folder / "ct.nrrd")
    os.truncate(path, 100_000)
    return path


@kind("volume", refused="outside")
def metaimage_of_another_file(chest: Chest, folder: Path) -> Path:
    """A MetaImage whose voxels are a file of the system."""
    return text_header(chest, folder / "ct.mha", ("ElementDataFile", "ElementDataFile = /proc/self/environ"))


@kind("volume", refused="outside|regular file")
def metaimage_of_a_pipe(chest: Chest, folder: Path) -> Path:
    """A MetaImage whose voxels come from a pipe that nobody writes to."""
    os.mkfifo(folder / "pipe")
    return text_header(chest, folder / "ct.mha", ("ElementDataFile", "ElementDataFile = pipe"))


@kind("volume", refused="outside|regular file")
def metaimage_of_a_device(chest: Chest, folder: Path) -> Path:
    """A MetaImage whose voxels come from /dev/zero by a link."""
    (folder / "zero").symlink_to("/dev/zero")
    return text_header(chest, folder / "ct.mha", ("ElementDataFile", "ElementDataFile = zero"))


@kind("volume", refused="several files")
def metaimage_of_a_list(chest: Chest, folder: Path) -> Path:
    """A MetaImage whose voxels are in a list of files."""
    return text_header(chest, folder / "ct.mhd", ("ElementDataFile", "ElementDataFile = LIST\n/dev/zero"))


@kind("volume", refused="outside")
def nrrd_of_another_file(chest: Chest, folder: Path) -> Path:
    """A NRRD whose voxels are a file of another folder."""
    path = text_header(chest, folder / "ct.nhdr")
    raw = next(p for p in folder.iterdir() if p != path)
    (folder / "other").mkdir()
    (folder / "inner").mkdir()
    raw.rename(folder / "other" / raw.name)
    text = path.read_bytes().replace(b"data file: " + raw.name.encode(), b"data file: ../other/" + raw.name.encode())
    (folder / "inner" / "ct.nhdr").write_bytes(text)
    path.unlink()
    return folder / "inner" / "ct.nhdr"


@kind("volume", refused="regular file|outside")
def nrrd_of_a_pipe(chest: Chest, folder: Path) -> Path:
    """A NRRD whose voxels come from a pipe."""
    path = text_header(chest, folder / "ct.nhdr")
    raw = next(p for p in folder.iterdir() if p != path)
    raw.unlink()
    os.mkfifo(raw)
    return path


@kind("volume")
def nrrd_beside_its_data(chest: Chest, folder: Path) -> Path:
    """A NRRD header with its voxels in a file beside it, as it should be."""
    return text_header(chest, folder / "ct.nhdr")


@kind("volume", refused="can't be read")
def nrrd_encoding_unknown(chest: Chest, folder: Path) -> Path:
    """An encoding that doesn't exist."""
    return text_header(chest, folder / "ct.nrrd", ("encoding:", "encoding: magic"))


@kind("volume", refused="values per voxel|three-dimensional|can't be read")
def nrrd_of_vectors(chest: Chest, folder: Path) -> Path:
    """The first axis of a NRRD is said to be a vector's."""
    return text_header(chest, folder / "ct.nrrd", ("kinds:", "kinds: vector domain domain"))


@kind("volume", warned="orientation|left and right")
def nrrd_without_space(chest: Chest, folder: Path) -> Path:
    """An NRRD with spacings that does not state the patient's orientation."""
    path = text_header(chest, folder / "ct.nrrd")
    head, _, body = path.read_bytes().partition(b"\n\n")
    lines = [line for line in head.split(b"\n") if not line.startswith((b"space", b"kinds"))]
    path.write_bytes(b"\n".join([*lines, b"spacings: 5.2 5.2 7.5", b"axis mins: -187.2 -187.2 -150"]) + b"\n\n" + body)
    return path


@kind("volume", warned="left and right may be swapped")
def nrrd_in_a_scanner(chest: Chest, folder: Path) -> Path:
    """A NRRD whose space is scanner-xyz, which isn't the patient's: its vectors may mean anything."""
    return text_header(chest, folder / "ct.nrrd", ("space: ", "space: scanner-xyz"))


@kind("volume", warned="left and right may be swapped")
def nrrd_right_handed(chest: Chest, folder: Path) -> Path:
    """A NRRD whose space is 3D-right-handed."""
    return text_header(chest, folder / "ct.nrrd", ("space: ", "space: 3D-right-handed"))


@kind("volume", warned="left and right may be swapped")
def nrrd_of_three_dimensions(chest: Chest, folder: Path) -> Path:
    """A NRRD whose space has three dimensions and no name."""
    return text_header(chest, folder / "ct.nrrd", ("space: ", "space dimension: 3"))


@kind("volume")
def nrrd_in_ras(chest: Chest, folder: Path) -> Path:
    """A NRRD in RAS rather than LPS, as it should be."""
    return text_header(
        chest,
        folder / "ct.nrrd",
        ("space: ", "space: RAS"),
        ("space directions:", "space directions: (-5.2,0,0) (0,-5.2,0) (0,0,7.5)"),
        ("space origin:", "space origin: (184.6,184.6,-146.25)"),
    )


@kind("volume", warned="left and right may be swapped")
def metaimage_without_matrix(chest: Chest, folder: Path) -> Path:
    """A MetaImage that does not say how it lies in the patient."""
    return text_header(
        chest,
        folder / "ct.mha",
        ("TransformMatrix", "Comment = none"),
        ("AnatomicalOrientation", "Modality = MET_MOD_CT"),
    )


@kind("volume", refused="can't be read|NaN or infinite|no chest CT|right angles")
def nrrd_directions_singular(chest: Chest, folder: Path) -> Path:
    """Two axes of a NRRD run the same way."""
    return text_header(
        chest, folder / "ct.nrrd", ("space directions:", "space directions: (5.2,0,0) (5.2,0,0) (0,0,7.5)")
    )


@kind("volume", refused="can't be read|more than|MiB")
def nrrd_sizes_huge(chest: Chest, folder: Path) -> Path:
    """A NRRD of 99999 x 99999 x 99999 voxels."""
    return text_header(chest, folder / "ct.nrrd", ("sizes:", "sizes: 99999 99999 99999"))
