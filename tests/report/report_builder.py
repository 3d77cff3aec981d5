"""`make_report`: a small chest phantom as a real DICOM series with the `Report` that an analysis of it would hand on.

The phantom is a function of LPS millimetres, so that every way a patient can lie and every way slices can be cut shows
the same anatomy: body, two lungs, ellipsoid nodules with long axis 2r (x), short axis 1.6r (y) and height 1.8r (z).
"""

from __future__ import annotations

import datetime
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from monai_lung.model import (
    CT,
    LEFT_LUNG,
    RIGHT_LUNG,
    Advice,
    Growth,
    Lungs,
    Measurements,
    Nodule,
    Outline,
    Person,
    Prior,
    Rating,
    Report,
    Seed,
    Series,
    SourceSlice,
)

CENTER_MM = np.array([12.0, -25.0, -160.0])
LUNG_CENTER_MM = {RIGHT_LUNG: np.array([-60.0, 0.0, 0.0]), LEFT_LUNG: np.array([60.0, 0.0, 0.0])}
LUNG_RADII_MM = np.array([42.0, 62.0, 92.0])
BODY_RADII_MM = np.array([135.0, 105.0])
NODULE_SHAPE = np.array([1.0, 0.8, 0.9])
TEXTURES = ("solid", "part-solid", "ground-glass")
LAYOUTS = ("plain", "feet-first", "flipped", "prone", "oblique", "non-square", "tilted", "gaps")


@dataclass(frozen=True)
class Blob:
    """An ellipsoid nodule: centre in LPS mm, largest radius in mm."""

    center_mm: NDArray[np.float64]
    radius_mm: float
    lung: int
    texture: str

    def distance(self, world: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rough signed distance to the surface in mm, positive inside, of points (..., 3)."""
        return self.radius_mm * (1 - np.linalg.norm((world - self.center_mm) / NODULE_SHAPE, axis=-1) / self.radius_mm)


def rotation(axis: int, degrees: float) -> NDArray[np.float64]:
    """Rotation (3, 3) about the x, y or z axis."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    turn = np.eye(3)
    turn[i, i] = turn[j, j] = c
    turn[i, j], turn[j, i] = -s, s
    return turn


def slice_affines(layout: str, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> list[NDArray]:
    """Affine of each stored slice: (column, row, 0, 1) to LPS mm, in the order of the slices."""
    axes = {
        "feet-first": np.diag([-1.0, 1.0, -1.0]),
        "prone": np.diag([-1.0, -1.0, 1.0]),
        "oblique": rotation(0, 12) @ rotation(1, -8) @ rotation(2, 15),
        "tilted": rotation(0, 14),
    }.get(layout, np.eye(3))
    if layout == "non-square":
        spacing = (spacing[0] * 0.9, spacing[1] * 1.15, spacing[2])
    step = np.array([0.0, 0.0, spacing[2]]) if layout == "tilted" else axes[:, 2] * spacing[2]
    start = CENTER_MM - axes[:, 0] * spacing[0] * (shape[0] - 1) / 2 - axes[:, 1] * spacing[1] * (shape[1] - 1) / 2
    affines = []
    for k in range(shape[2]):
        affine = np.eye(4)
        affine[:3, :3] = axes * [spacing[0], spacing[1], 1.0]
        affine[:3, 3] = start + (k - (shape[2] - 1) / 2) * step
        affines.append(affine)
    if layout == "flipped":
        affines.reverse()
    if layout == "gaps":
        del affines[shape[2] // 2]
    return affines


def analysed_grid(
    layout: str, affines: list[NDArray], shape: tuple[int, int, int]
) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Affine and shape of the grid that is analysed: the stored one, or a regular one for tilt and gaps."""
    affine = affines[0].copy()
    if layout == "tilted":
        spacing = np.linalg.norm(affine[:3, :3], axis=0)[:2].tolist()
        spacing.append(float(np.linalg.norm(affines[1][:3, 3] - affines[0][:3, 3])))
        corners = [
            a @ [c, r, 0, 1] for a in (affines[0], affines[-1]) for c in (0, shape[0] - 1) for r in (0, shape[1] - 1)
        ]
        low, high = np.min(corners, 0)[:3], np.max(corners, 0)[:3]
        count = tuple(int(n) for n in np.ceil((high - low) / spacing) + 1)
        affine = np.diag([*spacing, 1.0])
        affine[:3, 3] = low
        return affine, (count[0], count[1], count[2])
    affine[:3, 2] = affines[1][:3, 3] - affines[0][:3, 3]
    return affine, shape


def world_of(affine: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """LPS mm (X, Y, Z, 3) of each voxel."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def lung_labels(world: NDArray[np.float64]) -> NDArray[np.uint8]:
    """1 in the right, 2 in the left lung (patient's; x runs to the left)."""
    labels = np.zeros(world.shape[:-1], np.uint8)
    for label, center in LUNG_CENTER_MM.items():
        labels[np.linalg.norm((world - CENTER_MM - center) / LUNG_RADII_MM, axis=-1) < 1] = label
    return labels


def phantom_hu(world: NDArray[np.float64], blobs: list[Blob]) -> NDArray[np.int16]:
    """HU of points (X, Y, Z, 3): air -1000, body 40, lungs -850, nodules by their texture."""
    hu = np.full(world.shape[:-1], -1000.0)
    hu[np.linalg.norm(((world - CENTER_MM) / [*BODY_RADII_MM, 1e9])[..., :2], axis=-1) < 1] = 40
    hu[np.linalg.norm((world - CENTER_MM - [0, 75, 0])[..., :2], axis=-1) < 15] = 400
    hu[lung_labels(world) > 0] = -850
    low, high = world.min((0, 1, 2)), world.max((0, 1, 2))
    for blob in blobs:
        if np.any(blob.center_mm + blob.radius_mm < low) or np.any(blob.center_mm - blob.radius_mm > high):
            continue
        inside = blob.distance(world)
        hu[inside > 0] = 30 if blob.texture == "solid" else -600
        if blob.texture == "part-solid":
            hu[inside > blob.radius_mm / 2] = 20
    return hu.astype(np.int16)


def place_blobs(n: int, rng: np.random.Generator) -> list[Blob]:
    """Nodules in the lungs that don't touch one another, the largest first; many are small ones."""
    blobs: list[Blob] = []
    radii = sorted(rng.uniform(4, 14, n) if n <= 30 else rng.uniform(3, 4.5, n), reverse=True)
    for number, radius in enumerate(radii):
        while True:
            lung = int(rng.choice([RIGHT_LUNG, LEFT_LUNG]))
            offset = rng.uniform(-1, 1, 3) * (LUNG_RADII_MM - radius)
            if np.linalg.norm(offset / (LUNG_RADII_MM - radius)) > 0.95:
                continue
            center = CENTER_MM + LUNG_CENTER_MM[lung] + offset
            if all(np.linalg.norm(center - b.center_mm) > radius + b.radius_mm + 1 for b in blobs):
                break
        blobs.append(Blob(center, float(radius), lung, TEXTURES[number % 3]))
    return blobs


def outline_of(blob: Blob, ct: CT, one_voxel: bool) -> Outline:
    """The blob's voxels in a box with a margin of one voxel; at least the voxel nearest to its centre."""
    nearest = np.clip(np.rint(ct.to_index(blob.center_mm)).astype(int), 0, np.array(ct.hu.shape) - 1)
    corners = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T * blob.radius_mm + blob.center_mm
    index = ct.to_index(corners)
    low = np.clip(np.floor(index.min(0)).astype(int) - 1, 0, None)
    high = np.clip(np.ceil(index.max(0)).astype(int) + 2, None, ct.hu.shape)
    world = ct.to_world(np.stack(np.meshgrid(*[np.arange(*b) for b in zip(low, high, strict=True)], indexing="ij"), -1))
    probability = (1 / (1 + np.exp(-blob.distance(world)))).astype(np.float32)
    mask = np.zeros(probability.shape, bool) if one_voxel else probability >= 0.5
    mask[tuple(nearest - low)] = True
    seed = Seed(
        (float(blob.center_mm[0]), float(blob.center_mm[1]), float(blob.center_mm[2])), 0.97, 2 * blob.radius_mm
    )
    return Outline(mask, probability, (int(low[0]), int(low[1]), int(low[2])), seed)


def measurements_of(blob: Blob, outline: Outline, ct: CT) -> Measurements:
    """The blob's true axes beside what its mask holds (volume, HU, box)."""
    voxels = np.argwhere(outline.mask) + outline.offset
    values = ct.hu[outline.box][outline.mask]
    radii = blob.radius_mm * NODULE_SHAPE
    volume = float(outline.mask.sum()) * ct.voxel_mm3
    solid = {"solid": 1.0, "part-solid": 0.5, "ground-glass": 0.0}[blob.texture]
    percentiles = [float(p) for p in np.percentile(values, [5, 25, 50, 75, 95])]
    ends = [blob.center_mm + np.eye(3)[axis] * sign * radii[axis] for axis in (0, 1) for sign in (-1, 1)]
    middle = voxels.mean(0)
    center = ct.to_world(middle)
    height = center[2] - CENTER_MM[2]
    return Measurements(
        center_mm=(float(center[0]), float(center[1]), float(center[2])),
        center_index=tuple(int(v) for v in np.rint(middle)),  # type: ignore[arg-type]
        bbox_index=(tuple(int(v) for v in voxels.min(0)), tuple(int(v) + 1 for v in voxels.max(0))),  # type: ignore[arg-type]
        volume_mm3=volume,
        long_axis_mm=float(2 * radii[0]),
        short_axis_mm=float(2 * radii[1]),
        mean_diameter_mm=float(radii[0] + radii[1]),
        max_diameter_3d_mm=float(2 * radii[0]),
        equivalent_diameter_mm=float((6 * volume / np.pi) ** (1 / 3)),
        mean_hu=float(values.mean()),
        hu_percentiles=(percentiles[0], percentiles[1], percentiles[2], percentiles[3], percentiles[4]),
        texture=blob.texture,  # type: ignore[arg-type]
        solid_volume_mm3=volume * solid**3,
        solid_diameter_mm=float(2 * radii[0] * solid),
        solid_mean_diameter_mm=float((radii[0] + radii[1]) * solid),
        side="right" if blob.lung == RIGHT_LUNG else "left",
        third="upper" if height > 30 else "lower" if height < -30 else "middle",
        pleura_distance_mm=float(max(0.0, 20 - blob.radius_mm)),
        axes_mm=tuple((float(e[0]), float(e[1]), float(e[2])) for e in ends),  # type: ignore[arg-type]
    )


def advice_of(m: Measurements, person: Person) -> dict[str, Advice]:
    """Advice as the guidelines word it, one with each of the optional fields in use."""
    category = "2" if m.mean_diameter_mm < 6 else "3" if m.mean_diameter_mm < 8 else "4A"
    category = "4B" if m.mean_diameter_mm >= 15 else category
    size = {"texture": m.texture, "mean_diameter_mm": round(m.mean_diameter_mm, 1)}
    return {
        "lung_rads_2022": Advice("Lung-RADS v2022", category, "LDCT in 6 months", "solid, baseline", size),
        "fleischner_2017": Advice(
            "Fleischner 2017",
            None,
            "depends on the risk of lung cancer",
            "solid, single, 6-8 mm",
            size,
            missing=("risk",),
            by_risk={"low": "F2", "high": "F3"},
        ),
        "brock": Advice(
            "Brock",
            None,
            "probability of cancer",
            "model 2a",
            {"age": person.age, "sex": person.sex, **size},
            missing=("lobe",),
            probability=None,
            probability_range=(0.021, 0.043),
        ),
    }


def growth_of(number: int, m: Measurements) -> Growth:
    """Each status in turn."""
    status = ("growing", "stable", "new", "shrinking", "slow-growing")[number % 5]
    if status == "new":
        return Growth("new", prior_date=datetime.date(2019, 5, 6), interval_days=362)
    change = {"growing": 60.0, "stable": 4.0, "shrinking": -40.0, "slow-growing": 20.0}[status]
    return Growth(
        status,  # type: ignore[arg-type]
        prior_center_mm=(m.center_mm[0] + 1.5, m.center_mm[1] - 0.5, m.center_mm[2] + 2.0),
        prior_volume_mm3=m.volume_mm3 / (1 + change / 100),
        prior_mean_diameter_mm=m.mean_diameter_mm / (1 + change / 100) ** (1 / 3),
        volume_change_percent=change,
        doubling_days=362 * np.log(2) / np.log(1 + change / 100) if change >= 25 else None,
        prior_date=datetime.date(2019, 5, 6),
        interval_days=362,
    )


def write_series(
    folder: Path,
    affines: list[NDArray],
    images: list[NDArray[np.int16]],
    patient_name: str,
    layout: str,
    edit: Callable | None,
) -> tuple[Series, str, tuple[SourceSlice, ...]]:
    """A valid CT Image series, files named in no order; `edit` alters each dataset before it is written."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    def uid(*parts: object) -> str:
        return str(generate_uid(entropy_srcs=["phantom", str(folder), *map(str, parts)]))

    folder.mkdir(parents=True, exist_ok=True)
    slices = []
    step_mm = float(np.linalg.norm(affines[1][:3, 3] - affines[0][:3, 3]))
    for k, (affine, image) in enumerate(zip(affines, images, strict=True)):
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        d = Dataset()
        d.SpecificCharacterSet = "ISO_IR 192"
        d.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        d.SOPClassUID, d.SOPInstanceUID = CTImageStorage, uid("instance", k)
        d.StudyDate = d.SeriesDate = d.AcquisitionDate = d.ContentDate = "20200502"
        d.StudyTime = d.SeriesTime = d.AcquisitionTime = d.ContentTime = "101500"
        d.AccessionNumber, d.Modality, d.Manufacturer = "A1", "CT", "Phantom"
        d.ReferringPhysicianName = ""
        d.StudyDescription, d.SeriesDescription = "Chest", "Axial"
        d.PatientName, d.PatientID, d.PatientBirthDate, d.PatientSex = patient_name, "PID-4711", "19550102", "F"
        d.BodyPartExamined, d.SliceThickness, d.KVP = "CHEST", f"{step_mm:g}", "120"
        d.ConvolutionKernel = "STANDARD"
        d.PatientPosition = {"feet-first": "FFS", "prone": "HFP"}.get(layout, "HFS")
        d.StudyInstanceUID, d.SeriesInstanceUID = uid("study"), uid("series")
        d.StudyID, d.SeriesNumber, d.AcquisitionNumber, d.InstanceNumber = "1", 3, 1, k + 1
        d.ImageOrientationPatient = [
            f"{v:.10f}" for v in [*(affine[:3, 0] / spacing[0]), *(affine[:3, 1] / spacing[1])]
        ]
        d.ImagePositionPatient = [f"{v:.8f}" for v in affine[:3, 3]]
        d.PixelSpacing = [f"{spacing[1]:.8f}", f"{spacing[0]:.8f}"]
        d.FrameOfReferenceUID, d.PositionReferenceIndicator = uid("frame"), ""
        d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
        d.Columns, d.Rows = image.shape
        d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 12, 11, 0
        d.RescaleIntercept, d.RescaleSlope, d.RescaleType = "-1024", "1", "HU"
        d.PixelData = (image.T + 1024).astype("<u2").tobytes()
        d.file_meta = FileMetaDataset()
        d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        d.file_meta.MediaStorageSOPClassUID, d.file_meta.MediaStorageSOPInstanceUID = CTImageStorage, d.SOPInstanceUID
        if edit is not None:
            edit(d)
        path = folder / f"{(k * 7919) % 10007:06d}.dcm"
        d.save_as(path, enforce_file_format=True)
        slices.append(SourceSlice(path, uid("instance", k), affine, image.shape, image_number=k + 1))
    series = Series(
        uid("series"),
        uid("study") if "StudyInstanceUID" in d else "",
        "CT",
        "Axial",
        tuple(s.path for s in slices),
        True,
        "axial chest CT",
        "STANDARD",
        step_mm,
        (float(spacing[0]), float(spacing[1]), step_mm),
        datetime.date(2020, 5, 2),
        number=3,
    )
    return series, uid("frame"), tuple(slices)


def build_report(
    folder: Path,
    n_nodules: int = 3,
    *,
    layout: str = "plain",
    shape: tuple[int, int, int] = (96, 80, 44),
    spacing_mm: tuple[float, float, float] = (3.0, 3.0, 5.0),
    growth: bool = False,
    nifti: bool = False,
    one_voxel: bool = False,
    patient_name: str = "Phantom^Lung",
    warnings: tuple[str, ...] = (),
    person: Person | None = None,
    edit: Callable | None = None,
    seed: int = 0,
) -> Report:
    """See `make_report`."""
    person = person or Person(age=64, sex="F")
    blobs = place_blobs(n_nodules, np.random.default_rng(seed))
    affines = slice_affines(layout, shape, spacing_mm)
    affine, count = analysed_grid(layout, affines, shape)
    ct = CT(
        hu=np.concatenate([phantom_hu(w[:, :, None], blobs) for w in np.moveaxis(world_of(affine, count), 2, 0)], 2),
        affine_lps=affine,
        name="phantom",
        path=folder / "series",
        resampled=layout in ("tilted", "gaps"),
        warnings=warnings,
        study_date=datetime.date(2020, 5, 2),
    )
    if not nifti:
        images = [phantom_hu(world_of(a, (*shape[:2], 1)), blobs)[..., 0] for a in affines]
        series, frame, slices = write_series(folder / "series", affines, images, patient_name, layout, edit)
        ct = replace(
            ct,
            series=series,
            frame_of_reference_uid=frame,
            slices=slices,
            patient_key="6f1c0a2b9d3e",
            patient=(patient_name, "PID-4711"),
        )
    labels = lung_labels(world_of(affine, count))
    ml = [float((labels == label).sum()) * ct.voxel_mm3 / 1000 for label in (RIGHT_LUNG, LEFT_LUNG)]
    outlines = [outline_of(b, ct, one_voxel and b is blobs[-1]) for b in blobs]
    sizes = [measurements_of(b, o, ct) for b, o in zip(blobs, outlines, strict=True)]
    nodules = tuple(
        Nodule(
            id=n + 1,
            tracking_uid=f"2.25.{10**30 + n}",
            outline=outlines[n],
            measurements=sizes[n],
            rating=Rating(0.93, 0.4321 / (n + 1), (0.3 / (n + 1), 0.6 / (n + 1))),
            guidelines=advice_of(sizes[n], person),
            growth=growth_of(n, sizes[n]) if growth else None,
        )
        for n in range(n_nodules)
    )
    none = Advice("Lung-RADS v2022", "1", "LDCT in 12 months", "no nodules")
    return Report(
        ct=ct,
        lungs=Lungs(labels, ml[0], ml[1], low_attenuation_percent=(3.14, 7.2)),
        nodules=nodules,
        guidelines=dict(nodules[0].guidelines) if nodules else {"lung_rads_2022": none},
        person=person,
        prior=Prior(datetime.date(2019, 5, 6), "ct", gone=(((-50.0, -30.0, -150.0), 95.2),), residual_mm=1.27)
        if growth
        else None,
        weights={"delineate": "ab" * 32, "find": "cd" * 32, "rate": "ef" * 32},
        software={"monai-lung": "0.1.0", "monai": "1.6.1", "torch": "2.13.0"},
        timing_s={"read": 0.51, "lungs": 1.2, "find": 8.0, "delineate": 2.2, "rate": 1.1},
        warnings=warnings,
    )


@pytest.fixture
def assert_dicom_valid() -> Callable[[Path], None]:
    """`assert_dicom_valid(path)`: dicom3tools' dciodvfy finds no error, and nothing to warn of but private codes."""
    dciodvfy = shutil.which("dciodvfy")
    if dciodvfy is None:
        pytest.skip("dciodvfy isn't installed (Debian's package dicom3tools)")

    def check(path: Path) -> None:
        result = subprocess.run([dciodvfy, "-new", str(path)], capture_output=True, text=True, timeout=60, check=False)
        lines = [line for line in result.stderr.splitlines() if line.startswith(("Error", "Warning"))]
        allowed = ("<99MONAILUNG>", "would be needed to build DICOMDIR")
        assert [line for line in lines if not any(text in line for text in allowed)] == []
        assert result.returncode == 0

    return check


@pytest.fixture
def make_report(tmp_path: Path) -> Callable[..., Report]:
    """`make_report(n_nodules=3, *, layout=..., growth=False, nifti=False, ...) -> Report`.

    The series is written to tmp_path/series. Options:
        layout: one of LAYOUTS: plain, feet-first, flipped (slices stored from top to bottom), prone, oblique,
            non-square, tilted and gaps (both with `resampled=True` and a grid of their own).
        shape, spacing_mm: of the stored series.
        growth: every nodule has a `Growth` (each status in turn) and the report a `Prior`.
        nifti: no DICOM behind it: `ct.slices` is empty, `ct.series` None.
        one_voxel: the last nodule's mask is one voxel.
        patient_name, warnings, person, seed: what they say.
        edit: called with each DICOM dataset before it is written, to take tags away or put odd ones in.
    """
    return lambda n_nodules=3, **options: build_report(tmp_path, n_nodules, **options)
