"""Files and archives: loops, pipes, sockets, bombs, names."""

from __future__ import annotations

import os
import socket
import struct
import zipfile
from pathlib import Path

from corpus import Chest, kind
from kinds_volumes import nifti


@kind("files")
def links_in_a_loop(chest: Chest, folder: Path) -> Path:
    """A folder with links to itself and to its parent."""
    chest.series().write(folder / "a")
    (folder / "a" / "again").symlink_to(folder)
    (folder / "a" / "self").symlink_to("self")
    return folder


@kind("files", refused="does not exist", code=2)
def link_to_itself(chest: Chest, folder: Path) -> Path:
    """A link that leads to itself."""
    (folder / "x").symlink_to("x")
    return folder / "x"


@kind("files")
def pipes_and_sockets_between(chest: Chest, folder: Path) -> Path:
    """Pipes, a socket, a device and dead links beside a sound series."""
    chest.series().write(folder)
    os.mkfifo(folder / "0000a.dcm")
    (folder / "link.dcm").symlink_to(folder / "0000a.dcm")
    (folder / "dead.dcm").symlink_to("nowhere")
    (folder / "zero.dcm").symlink_to("/dev/zero")
    here = os.getcwd()
    try:  # a socket's path may have 107 bytes
        os.chdir(folder)
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("socket.dcm")
    finally:
        os.chdir(here)
    return folder


@kind("files", refused="neither a file nor a folder", code=2)
def a_pipe(chest: Chest, folder: Path) -> Path:
    """A pipe."""
    os.mkfifo(folder / "ct.nii.gz")
    return folder / "ct.nii.gz"


@kind("files", refused="neither a file nor a folder", code=2)
def a_device(chest: Chest, folder: Path) -> Path:
    """/dev/zero."""
    return Path("/dev/zero")


@kind("files", refused="does not exist", code=2)
def nothing(chest: Chest, folder: Path) -> Path:
    """A path that isn't there."""
    return folder / "nothing"


@kind("files", refused="does not exist", code=2)
def a_name_too_long(chest: Chest, folder: Path) -> Path:
    """A name of 5,000 characters."""
    return folder / ("x" * 5000)


@kind("files", refused="no DICOM series")
def empty_folder(chest: Chest, folder: Path) -> Path:
    """An empty folder."""
    return folder


@kind("files", refused="not a DICOM file")
def empty_file(chest: Chest, folder: Path) -> Path:
    """An empty file."""
    (folder / "a.dcm").touch()
    return folder / "a.dcm"


@kind("files", refused="can't be read")
def empty_volume(chest: Chest, folder: Path) -> Path:
    """An empty NIfTI."""
    (folder / "a.nii.gz").touch()
    return folder / "a.nii.gz"


@kind("files", refused="can't be read|not a DICOM")
def unreadable_file(chest: Chest, folder: Path) -> Path:
    """A regular file whose reading is an error of the device."""
    (folder / "a.dcm").symlink_to("/proc/self/mem")
    return folder / "a.dcm"


@kind("files", warned="could not be read as DICOM")
def unreadable_file_between(chest: Chest, folder: Path) -> Path:
    """The same beside a sound series."""
    chest.series().write(folder)
    (folder / "a.dcm").symlink_to("/proc/self/mem")
    return folder


@kind("files")
def names_of_any_bytes(chest: Chest, folder: Path) -> Path:
    """File names with line breaks, quotes, other encodings, control characters."""
    chest.series().write(folder)
    odd = [b"two\nlines", b"caf\xe9", b"-rf", b"\x1b[31m", b"a'b\"c$(id)", b"\xff\xfe", b" ", "\u202egpj.exe".encode()]
    for number, name in enumerate(odd):
        os.rename(folder / f"{number:04d}.dcm", os.fsencode(folder) + b"/" + name)
    return folder


@kind("files", refused="different slices|misses|fewer|cut off|can't be read")
def error_names_odd_bytes(chest: Chest, folder: Path) -> Path:
    """A damaged file whose name has line breaks and other encodings, in the error that names it."""
    chest.series().write(folder)
    odd = os.fsencode(folder) + b"/two\nlines\r\xe9\x1b[2J.dcm"
    os.rename(folder / "0020.dcm", odd)
    os.truncate(odd, 3000)
    return folder


@kind("files")
def volume_name_of_any_bytes(chest: Chest, folder: Path) -> Path:
    """A volume whose name has a line break and another encoding."""
    path = nifti(chest, folder)
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/ct\n\xe9.nii.gz"))
    path.rename(odd)
    return odd


def zipped(chest: Chest, folder: Path, name: str = "{}") -> Path:
    """The series as an archive, its entries named by a pattern."""
    chest.series().write(folder / "series")
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for file in sorted((folder / "series").iterdir()):
            archive.writestr(name.format(file.name), file.read_bytes())
    return folder / "a.zip"


@kind("files")
def zip_climbing_out(chest: Chest, folder: Path) -> Path:
    """An archive whose names lead upwards."""
    return zipped(chest, folder, "../../../../../../../../tmp/escaped/{}")


@kind("files")
def zip_with_absolute_names(chest: Chest, folder: Path) -> Path:
    """An archive with absolute names."""
    return zipped(chest, folder, "/tmp/escaped/{}")


@kind("files")
def zip_with_one_name(chest: Chest, folder: Path) -> Path:
    """An archive whose entries all have the same name."""
    return zipped(chest, folder, "same")


@kind("files")
def zip_with_links(chest: Chest, folder: Path) -> Path:
    """An archive with a symbolic link to /etc beside the series."""
    path = zipped(chest, folder)
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("etc.dcm")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc")
    return path


@kind("files", refused="more than 8 GiB")
def zip_bomb(chest: Chest, folder: Path) -> Path:
    """An archive of 10 MB that unpacks to 9 GB."""
    import zlib

    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    megabyte = bytes(2**20)
    stream = b"".join([*(packer.compress(megabyte) for _ in range(90)), packer.flush()])
    return overlapping(folder / "a.zip", stream, 90 * 2**20, 100)


def overlapping(path: Path, stream: bytes, size: int, count: int) -> Path:
    """An archive of `count` entries with one stream each, made without packing it again and again."""
    body, directory = b"", b""
    for n in range(count):
        name = f"{n}".encode()
        sizes = struct.pack("<3I2H", 0, len(stream), size, len(name), 0)
        directory += (
            b"PK\1\2" + struct.pack("<6H", 20, 20, 0, 8, 0, 33) + sizes
            + struct.pack("<3H2I", 0, 0, 0, 0, len(body)) + name
        )  # fmt: skip
        body += b"PK\3\4" + struct.pack("<5H", 20, 0, 8, 0, 33) + sizes + name + stream
    end = b"PK\5\6" + struct.pack("<4H2IH", 0, 0, count, count, len(directory), len(body), 0)
    path.write_bytes(body + directory + end)
    return path


@kind("files", refused="can't be unpacked")
def zip_cut(chest: Chest, folder: Path) -> Path:
    """An archive that ends early."""
    path = zipped(chest, folder)
    os.truncate(path, path.stat().st_size // 2)
    return path


@kind("files", refused="can't be unpacked")
def zip_damaged(chest: Chest, folder: Path) -> Path:
    """An archive with other bytes in its middle."""
    path = zipped(chest, folder)
    content = bytearray(path.read_bytes())
    content[50_000:50_100] = b"\xaa" * 100
    path.write_bytes(content)
    return path


@kind("files", refused="can't be unpacked")
def zip_encrypted(chest: Chest, folder: Path) -> Path:
    """An archive whose entries say that they are encrypted."""
    path = zipped(chest, folder)
    content = bytearray(path.read_bytes())
    at = 0
    while (at := content.find(b"PK\3\4", at)) >= 0:
        content[at + 6] |= 1
        at += 4
    at = 0
    while (at := content.find(b"PK\1\2", at)) >= 0:
        content[at + 8] |= 1
        at += 4
    path.write_bytes(content)
    return path


@kind("files", refused="no DICOM series")
def zip_in_zip(chest: Chest, folder: Path) -> Path:
    """An archive that holds an archive: only the outer one is unpacked."""
    path = zipped(chest, folder)
    with zipfile.ZipFile(folder / "outer.zip", "w") as archive:
        archive.write(path, "a.zip")
    return folder / "outer.zip"


@kind("files")
def zip_of_thousands(chest: Chest, folder: Path) -> Path:
    """An archive with 3,000 empty files beside the series."""
    path = zipped(chest, folder)
    with zipfile.ZipFile(path, "a") as archive:
        for n in range(3000):
            archive.writestr(f"{'d/' * (n % 40)}{n}.dcm", b"")
    return path


@kind("files", refused="no DICOM series")
def zip_of_nothing(chest: Chest, folder: Path) -> Path:
    """An empty archive."""
    with zipfile.ZipFile(folder / "a.zip", "w"):
        pass
    return folder / "a.zip"


@kind("files", refused="no DICOM series|not a DICOM|no series")
def dicomdir_alone(chest: Chest, folder: Path) -> Path:
    """A DICOMDIR whose files aren't there."""
    from pydicom import dcmread
    from pydicom.fileset import FileSet

    chest.series().write(folder / "series")
    files = FileSet()
    for file in sorted((folder / "series").iterdir()):
        data = dcmread(file)
        data.StudyTime, data.StudyID, data.SeriesNumber = "120000", "1", 1
        files.add(data)
    (folder / "set").mkdir()
    files.write(folder / "set")
    for file in (folder / "set").rglob("*"):
        if file.is_file() and file.name != "DICOMDIR":
            file.unlink()
    return folder / "set" / "DICOMDIR"


@kind("files")
def deep_folders(chest: Chest, folder: Path) -> Path:
    """The series 200 folders deep."""
    deep = folder
    here = os.getcwd()
    for n in range(200):
        deep = deep / str(n % 10)
    chest.series().write(deep)
    os.chdir(here)
    return folder
