"""Coverage-guided fuzzing of the reading path: `tools/fuzz`, which installs atheris, runs this file.

The first byte of an input chooses what the rest is read as: DICOM, NIfTI (packed or not), NRRD, MetaImage or a zip
archive. Whatever it is, reading must end in a result or in one of the package's errors. A find ends the process and is
kept as a file; `python tests/hostile/fuzz_reading.py FILE` repeats it.
"""

from __future__ import annotations

import gzip
import io
import logging
import sys
import tempfile
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import atheris

_WATCHED = ["monai_lung.io", "nibabel.analyze", "nibabel.arrayproxy", "nibabel.nifti1", "nibabel.volumeutils"]
_WATCHED += ["pydicom.dataset", "pydicom.encaps", "pydicom.filereader", "pydicom.filebase", "pydicom.pixels"]
with atheris.instrument_imports(include=_WATCHED, exclude=["pydicom._dicom_dict", "pydicom._private_dict"]):
    import nibabel
    import pydicom.pixels  # noqa: F401

    from monai_lung.errors import MonaiLungError
    from monai_lung.io import geometry, header, paths, pixels, volumes

import numpy as np  # noqa: E402

KINDS = (".dcm", ".nii", ".nii.gz", ".nrrd", ".mha", ".zip")
SLICES = 8


def read(content: bytes, folder: Path) -> None:
    """Read one input in every way that its kind allows; MonaiLungError is an answer, all else is a find."""
    if not content:
        return
    suffix = KINDS[content[0] % len(KINDS)]
    body = content[1:]
    path = folder / f"input{suffix}"
    path.write_bytes(gzip.compress(body, 1) if suffix == ".nii.gz" else body)
    try:
        if suffix == ".dcm":
            _read_dicom(path)
        elif suffix == ".zip":
            unpacked = paths.unzip(path)
            for file in paths.list_files(unpacked):
                file.unlink()
            paths.forget_unzipped(path)
        else:
            volumes.read_volume(path)
    except MonaiLungError as error:
        if "\n" in str(error):
            raise RuntimeError("an error of several lines") from error


def _read_dicom(path: Path) -> None:
    for one in header.read_headers(path)[:64]:
        stack = [one]
        if one.position is not None and one.frame is None:
            x, y, z = one.position
            stack = [replace(one, position=(x, y, z + 2.0 * k), sop_uid=str(k)) for k in range(SLICES)]
        layout = None
        if one.rows * one.columns < 2**20:
            pixels.read_pixels([one])
            layout = geometry.lay_out(stack)
        if layout is not None and not np.isfinite(layout.affine_lps).all():
            raise RuntimeError("an affine with values that are not numbers")


def seeds(folder: Path) -> None:
    """A sound input of each kind to start from."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "io"))
    import SimpleITK as sitk
    from dicom_series import SeriesBuilder, body_hu
    from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless
    from test_multiframe import enhanced

    folder.mkdir(parents=True, exist_ok=True)
    hu = body_hu(32, 32, 9)

    def keep(name: str, suffix: str, content: bytes) -> None:
        (folder / name).write_bytes(bytes([KINDS.index(suffix)]) + content)

    for name in ("plain", "implicit", "rle", "jpeg2000", "jpegls", "deflated", "enhanced"):
        builder = SeriesBuilder(hu)
        data = enhanced(builder, range(9)) if name == "enhanced" else builder.datasets[0]
        syntaxes = {"rle": RLELossless, "jpeg2000": JPEG2000Lossless, "jpegls": JPEGLSLossless}
        if name in syntaxes:
            data.compress(syntaxes[name], generate_instance_uid=False)
        if name == "deflated":
            data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        if name == "implicit":
            data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
        data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        file = io.BytesIO()
        data.save_as(file, enforce_file_format=True)
        keep(name, ".dcm", file.getvalue())
    image = nibabel.Nifti1Image(hu, np.diag([-2.0, -2, 5, 1]))
    keep("nifti", ".nii", image.to_bytes())
    keep("nifti-packed", ".nii.gz", image.to_bytes())
    with tempfile.TemporaryDirectory() as temporary:
        for suffix in (".nrrd", ".mha"):
            file = Path(temporary, f"a{suffix}")
            sitk.WriteImage(sitk.GetImageFromArray(np.ascontiguousarray(hu.T)), str(file))
            keep(suffix[1:], suffix, file.read_bytes())
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.dcm", (folder / "plain").read_bytes()[1:])
        archive.writestr("../c.nii.gz", gzip.compress(image.to_bytes(), 1))
    keep("zip", ".zip", packed.getvalue())


def main() -> None:
    """Fuzz, or repeat one input."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    if sys.argv[1:2] == ["--seeds"]:
        seeds(Path(sys.argv[2]))
        return
    holder = tempfile.TemporaryDirectory(prefix="monai-lung-fuzz-")
    folder = Path(holder.name)
    atheris.Setup(sys.argv, lambda content: read(content, folder))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
