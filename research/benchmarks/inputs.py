"""The scans that are measured: a real one, and phantoms for sizes. What is made once is kept in a cache."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from research import ROOT

if TYPE_CHECKING:
    from monai_lung.phantom import PhantomNodule, PhantomSpec

REAL = Path("ct/LIDC-IDRI-0001/dicom")
"""In the data folder."""
CHEST_MM = 300.0
SLICES = (100, 300, 600, 1200)
"""Over the same chest, 512 x 512 each."""
NODULES = (0, 50, 100, 200)
_SEED = 12


def real_scan() -> Path | None:
    """The real scan's folder: in `MONAI_LUNG_DATA`, else ../shared/data beside the checkout; None without one."""
    folder = Path(os.environ.get("MONAI_LUNG_DATA", ROOT.parent / "shared" / "data")) / REAL
    return folder if folder.is_dir() else None


def find_input(name: str, cache: Path, scan: Path | None) -> Path | None:
    """Where an input lies, whether or not it's made yet; None where it can't be had.

    Args:
        name: `packed` (the scan's own files), `scan` (uncompressed), `slices-N`, `thin-N`, `nodules-N`,
            or "" for a task without input.
        cache: folder of what is made.
        scan: DICOM folder of the real scan, None for a small phantom in its place.
    """
    if not name:
        return cache
    if name in ("scan", "packed") and scan is None:
        return cache / "small" / "dicom"
    if name == "packed":
        return scan
    return cache / "scan" if name == "scan" else cache / name / "dicom"


def make(name: str, target: Path, scan: Path | None) -> None:
    """Make an input at the place that `find_input` names, unless it's there.

    Raises:
        MonaiLungError: it can't be made.
    """
    if target.exists():
        return
    if name == "scan" and scan is not None:
        _unpack(scan, target)
        return
    from monai_lung.phantom import make_phantom, write_phantom

    write_phantom(make_phantom(phantom_spec(name)), target.parent)


def phantom_spec(name: str) -> PhantomSpec:
    """The specification of a phantom by its input's name."""
    from monai_lung.phantom import PhantomSpec

    kind, _, number = name.partition("-")
    n = int(number or 0)
    if kind == "slices":
        return PhantomSpec(size=512, pixel_mm=0.7, slices=n, spacing_mm=CHEST_MM / n)
    if kind == "thin":
        return PhantomSpec(size=512, pixel_mm=0.7, slices=n, spacing_mm=0.7)
    if kind == "nodules":
        return PhantomSpec(size=256, pixel_mm=1.4, slices=120, spacing_mm=2.5, nodules=scattered(n))
    return PhantomSpec(slices=30)


def scattered(count: int) -> tuple[PhantomNodule, ...]:
    """`count` solid balls of 6 to 10 mm at random places of the lungs, apart from each other and from the pleura."""
    import numpy as np

    from monai_lung.phantom import PhantomNodule
    from monai_lung.phantom.anatomy import lung_distance_at

    rng = np.random.default_rng(_SEED)
    centers = np.empty((0, 3))
    while len(centers) < count:
        center = rng.uniform((-130, -100, -110), (130, 110, 120))
        apart = np.linalg.norm(centers - center, axis=1)
        if lung_distance_at(center[None])[0] < -8 and (apart > 14).all():
            centers = np.vstack([centers, center])
    sizes = rng.uniform(6, 10, count)
    return tuple(PhantomNodule((x, y, z), d) for (x, y, z), d in zip(centers.tolist(), sizes.tolist(), strict=True))


def _unpack(scan: Path, target: Path) -> None:
    """Plain, uncompressed copies of a series' files."""
    import pydicom

    temporary = target.with_suffix(".part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for path in sorted(p for p in scan.iterdir() if p.is_file()):
        dataset = pydicom.dcmread(path)
        if dataset.file_meta.TransferSyntaxUID.is_compressed:
            dataset.decompress(generate_instance_uid=False)
        dataset.save_as(temporary / path.name)
    temporary.rename(target)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("target", type=Path)
    parser.add_argument("--scan", type=Path)
    given = parser.parse_args()
    make(given.name, given.target, given.scan)
