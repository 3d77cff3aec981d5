"""Volume files: NIfTI through nibabel, NRRD and MHA through SimpleITK."""

from __future__ import annotations

import gzip
import math
import tempfile
from collections.abc import Iterable
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monai_lung.errors import DecodeError, GeometryError, NotCTError
from monai_lung.io.detached import check_data_file
from monai_lung.io.geometry import grid_warnings
from monai_lung.io.paths import shown
from monai_lung.io.plane import MIN_SLICES
from monai_lung.io.reduction import Planes, factors_of, reduced_affine

_RAS_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MAX_NAN_SHARE = 0.01
_MAX_STORED_BYTES = 3 * 1024**3
_MM = (0.05, 20.0)
_AFFINE_MM = 0.5
"""sform and qform that put no corner further apart than this say the same, but for rounding."""
_NO_ORIENTATION = "The file does not state the patient's orientation: left and right may be swapped."


class Volume(NamedTuple):
    """The content of a volume file or an array.

    Attributes:
        hu: int16 (X, Y, Z), HU, clipped at -1024.
        affine_lps: float64 (4, 4).
        warnings: about it.
        resampled: whether it has half of the stored resolution within the slices.
    """

    hu: NDArray[np.int16]
    affine_lps: NDArray[np.float64]
    warnings: tuple[str, ...]
    resampled: bool


def read_volume(path: Path, *, whole: bool = False) -> Volume:
    """A volume file as HU.

    Its axes are put in the order in which the third is nearest to the patient's long axis; none is flipped. Values
    that are NaN or infinite become -1024 HU, with a warning, where they are at most 1 %. What has too many voxels is
    read at half of the resolution within the slices, with a warning, unless it must be `whole` (labels).

    Raises:
        DecodeError: the file is damaged or truncated.
        GeometryError: not three-dimensional, too few slices, too large, or an affine that is singular or sheared.
        NotCTError: more than 1 % of the values are NaN or infinite.
    """
    read = _read_nifti if path.name.lower().endswith((".nii", ".nii.gz")) else _read_itk
    try:
        volume = read(path)
    except (DecodeError, GeometryError, NotCTError, MemoryError):
        raise
    except Exception as error:
        reason = shown(" ".join(str(error).split()))[-160:]
        raise DecodeError(f"{shown(path)} can't be read, it may be damaged or cut off ({reason})") from error
    if whole and volume.resampled:
        raise GeometryError(f"{shown(path)} has more voxels than can be read whole: cut it to the chest")
    return _checked(path, volume)


def volume_of(values: NDArray[Any], affine_lps: NDArray[np.float64], name: Path) -> Volume:
    """An array (X, Y, Z) in memory as `read_volume` gives one of a file; `name` stands in the messages.

    Raises:
        GeometryError, NotCTError: as `read_volume`.
    """
    shape = _check_shape(name, values.shape)
    values = values.reshape(shape)
    return _checked(name, _taken(name, shape, affine_lps, (values[..., k] for k in range(shape[2]))))


def _taken(
    path: Path, shape: tuple[int, int, int], affine: NDArray[np.float64], planes: Iterable[NDArray[Any]]
) -> Volume:
    """The volume of planes (x, y) along the third stored axis, as they come."""
    affine = np.asarray(affine, float)
    factors, warnings = factors_of(path, shape, affine)
    taken = Planes(shape, factors)
    for plane in planes:
        taken.put(plane)
    warnings += _nan_warning(path, taken.nan, math.prod(shape))
    return Volume(taken.hu, reduced_affine(affine, factors), warnings, factors != (1, 1, 1))


def _checked(path: Path, volume: Volume) -> Volume:
    """The volume in axial order, once its geometry is found to be sound."""
    hu, affine, warnings, resampled = volume
    _check_affine(path, affine)
    hu, affine, turned = _axial(hu, affine)
    if hu.shape[2] < MIN_SLICES:
        raise GeometryError(f"{shown(path)} has {hu.shape[2]} slices where at least {MIN_SLICES} are needed")
    return Volume(hu, affine, warnings + turned + grid_warnings(affine), resampled)


def _read_nifti(path: Path) -> Volume:
    import nibabel

    with nibabel.imageglobals.LoggingOutputSuppressor():  # the error says it
        image: Any = nibabel.load(path, keep_file_open=True)
    shape = _check_shape(path, image.shape)
    warnings = _header_warnings(path, image.header, shape)
    affine = _RAS_LPS @ np.asarray(image.affine, float)
    with gzip.open(path) if path.name.lower().endswith(".gz") else nullcontext() as packed:
        if packed is not None:
            image = type(image).from_file_map({"image": nibabel.FileHolder(fileobj=packed)})
        data = image.dataobj if len(image.shape) == 3 else image.dataobj.reshape(shape)
        # a slice at a time: nibabel scales to float64
        volume = _taken(path, shape, affine, (np.asarray(data[..., k]) for k in range(shape[2])))
        while packed is not None and packed.read(1 << 20):  # to its end and checksum: nibabel stops before it
            pass
    return volume._replace(warnings=warnings + volume.warnings)


def _header_warnings(path: Path, header: Any, shape: tuple[int, int, int]) -> tuple[str, ...]:
    """Warnings about facts that a NIfTI header leaves open; GeometryError where its lengths aren't in mm."""
    unit = header.get_xyzt_units()[0]
    if unit not in ("mm", "unknown"):
        raise GeometryError(f"{shown(path)} gives its lengths in {unit}s, not in mm: export it in mm")
    sform, qform = header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]
    if sform is None and qform is None:
        return (_NO_ORIENTATION,)
    if sform is None or qform is None:
        return ()
    corners = np.array(list(product(*((0, n - 1) for n in shape), (1,))))
    apart = float(np.linalg.norm(corners @ (sform - qform).T, axis=1).max())
    if apart <= _AFFINE_MM:
        return ()
    return (f"The file's sform and qform contradict each other by up to {apart:.1f} mm: the sform was taken.",)


def _read_itk(path: Path) -> Volume:
    try:
        str(path).encode()
    except UnicodeEncodeError:  # SimpleITK ends the whole process at such a name
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder, "volume" + path.suffix)
            link.symlink_to(path.absolute())
            return _read_itk(link)
    import SimpleITK as sitk

    voxels = check_data_file(path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NrrdImageIO" if voxels.nrrd else "MetaImageIO")  # else it takes whatever knows the content
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    if reader.GetNumberOfComponents() != 1:
        raise GeometryError(f"{shown(path)} has {reader.GetNumberOfComponents()} values per voxel: it is not a CT")
    size = reader.GetSize()
    shape = _check_shape(path, size)
    stored = math.prod(shape) * sitk.Image([1, 1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
    if stored > _MAX_STORED_BYTES:  # it's read as it's stored, in one piece; 1024 x 1024 x 1200 is 2.4 GiB
        raise GeometryError(f"{shown(path)} holds {stored >> 20} MiB: store it as 16-bit integers, or as NIfTI")
    if not voxels.compressed and voxels.path.stat().st_size < stored:  # the reader would say so on stderr
        raise DecodeError(f"{shown(path)} is cut off, its voxels end early: fetch the file again")
    if len(size) > 3:
        reader.SetExtractSize([*shape, *[0] * (len(size) - 3)])
    image = reader.Execute()
    array = sitk.GetArrayViewFromImage(image)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    volume = _taken(path, shape, affine, (plane.T for plane in array))
    return volume if voxels.oriented else volume._replace(warnings=(_NO_ORIENTATION, *volume.warnings))


def _nan_warning(path: Path, count: int, of: int) -> tuple[str, ...]:
    if count > _MAX_NAN_SHARE * of:
        raise NotCTError(f"{100 * count / of:.0f} % of the values of {shown(path)} are NaN or infinite: export again")
    return (f"{count} voxels that were NaN or infinite were taken as -1024 HU.",) if count else ()


def _check_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The first three sizes, where the others are 1."""
    if len(shape) < 3 or any(n != 1 for n in shape[3:]) or min(shape) < 1:
        sizes = " x ".join(map(str, shape))
        raise GeometryError(f"{shown(path)} is not one three-dimensional image ({sizes}): give one volume")
    three = int(shape[0]), int(shape[1]), int(shape[2])
    factors_of(path, three, np.eye(4))  # before anything is read
    return three


def _check_affine(path: Path, affine: NDArray[np.float64]) -> None:
    if not np.isfinite(affine).all():
        raise GeometryError(f"the affine of {shown(path)} holds NaN or infinite values: export it again")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not ((lengths >= _MM[0]) & (lengths <= _MM[1])).all():
        sizes = " x ".join(f"{n:.3g}" for n in lengths)
        raise GeometryError(f"{shown(path)} has voxels of {sizes} mm, which no chest CT has (is its unit mm?)")
    unit = affine[:3, :3] / lengths
    if not np.allclose(unit.T @ unit, np.eye(3), atol=0.01):
        raise GeometryError(
            f"the axes of {shown(path)} are not at right angles: resample it to a grid with right angles"
        )


def _axial(
    hu: NDArray[np.int16], affine: NDArray[np.float64]
) -> tuple[NDArray[np.int16], NDArray[np.float64], tuple[str, ...]]:
    """Axes in the order in which they follow the patient's; a view, nothing is flipped or resampled."""
    from nibabel.orientations import io_orientation

    order = np.argsort(io_orientation(affine)[:, 0])
    if (order == range(3)).all():
        return hu, affine, ()
    turned = affine[:, [*order, 3]]
    return hu.transpose(order), turned, ("The file's slices are not axial: its axes were put in axial order.",)
