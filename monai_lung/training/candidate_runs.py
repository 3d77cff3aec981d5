"""Candidates for the rating network's training: scans with nodules set in, run through finding and delineating.

Each background gets nodules of the patients outside of fold 0 set in, in several copies, and once nodules of the
patients in fold 0, to judge with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from monai_lung.data.backgrounds import Background, background_files, read_background
from monai_lung.data.slices import read_slices
from monai_lung.data.splits import patient_folds
from monai_lung.inference.networks import Networks, load_networks
from monai_lung.stages import SEGMENTATION
from monai_lung.training.candidates import NEAR_MM, TRUE, WIDE_MM, propose, save
from monai_lung.training.datasets import load_crops
from monai_lung.training.scenes import Scene, plant
from monai_lung.training.synthesis import Donor, donor_of, grown, rounded
from monai_lung.weights import bundle_dir, resume

FOLD, COPIES, NODULES, SLICES, MASSES = 0, 3, 14, 4, 3
"""The fold held out, copies of each scan, how many nodules are set into each: of crops, of slices, grown to masses."""
GROWN_MM, LARGE_RADIUS_MM = (15.0, 46.0), 5.0
"""Diameters that masses are grown to, and the radius above which a nodule looks like a small one."""
UNSEEN = ("LIDC-IDRI-0001", "LIDC-IDRI-0003")
"""Their nodules lie in backgrounds, which what ships is judged on."""
LOW = {"train": (0.1, 0.15), "held": (0.2, 0.35)}
"""Threshold and least score of the finding network: low, so that there is much to tell apart."""
NOISE_HU = 25.0
"""At most added to a copy, so that copies of a scan don't propose the very same."""


@dataclass(frozen=True)
class Pool:
    """Nodules to set in: of crops, some of them grown to masses, and rounded from slices, small ones only."""

    crops: Sequence[Donor]
    slices: Sequence[Donor]

    @classmethod
    def of(cls, data: Path, patients: Sequence[str]) -> Pool:
        """The nodules of some patients."""
        crops = [donor_of(crop) for crop in load_crops(data / "lidc_crops", patients, UNSEEN)]
        known = {donor.crop.row.id for donor in crops}
        flat = (n for n in read_slices(data / "lidc_slices", set(patients) - set(UNSEEN)) if n.row.id not in known)
        solids = (donor_of(solid, alone=True) for solid in map(rounded, flat) if solid is not None)
        return cls(crops, [donor for donor in solids if donor.radius_mm <= LARGE_RADIUS_MM])

    def draw(self, turn: int, rng: np.random.Generator, slices: int) -> list[Donor]:
        """Those of a scan, large ones first: every crop comes once before any comes twice."""
        large = [donor for donor in self.crops if donor.radius_mm > LARGE_RADIUS_MM]
        masses = [large[int(n)] for n in rng.integers(len(large), size=MASSES)]
        masses = [grown(donor, max(1.0, rng.uniform(*GROWN_MM) / 2 / donor.radius_mm)) for donor in masses]
        order = np.roll(np.random.default_rng(0).permutation(len(self.crops)), -turn * NODULES)
        chosen = [self.crops[int(n)] for n in np.resize(order, NODULES)]
        return masses + chosen + [self.slices[int(n)] for n in rng.integers(len(self.slices), size=slices)]


def jobs(folder: Path, out: Path) -> Iterator[tuple[str, int, Path, Path]]:
    """Side of the split, number, background and file of each run."""
    scans = background_files(folder)
    for copy in range(COPIES):
        for n, scan in enumerate(scans):
            yield "train", copy * len(scans) + n, scan, out / "train" / f"{copy}-{scan.name}"
    for n, scan in enumerate(scans):
        yield "held", n, scan, out / "held" / scan.name


def noisy(scene: Scene, rng: np.random.Generator) -> Scene:
    """`scene` with noise."""
    noise = rng.standard_normal(scene.ct.hu.shape, np.float32) * rng.uniform(0, NOISE_HU)
    hu = np.asfortranarray(np.clip(np.rint(scene.ct.hu + noise), -1024, 3071).astype(np.int16))
    return replace(scene, ct=replace(scene.ct, hu=hu))


def run(side: str, number: int, background: Background, pool: Pool, networks: Networks, path: Path) -> str:
    """Set in, propose, save, and say what was found."""
    rng = np.random.default_rng((number, len(side)))
    donors = pool.draw(number, rng, SLICES if side == "train" else 0)
    if side == "held":  # a piece of wall that comes along would count as a false finding
        donors = [replace(donor, alone=True) for donor in donors]
    scene = plant(background, donors, rng)
    threshold, least = LOW[side]
    low = replace(networks, find_settings=replace(networks.find_settings, threshold=threshold, min_score=least))
    proposed = propose(noisy(scene, rng) if side == "train" else scene, background, low, NEAR_MM, WIDE_MM)
    save(proposed, path)
    found = ((proposed.kind == TRUE) & (proposed.score > 0)).sum()
    return f"{path}: {found} of {len(scene.planted)} nodules found, {len(proposed)} candidates"


def make_candidates(
    data: Path,
    backgrounds: Path,
    out: Path,
    checkpoint: Path | None = None,
    *,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Iterator[str]:
    """Make the candidates of all copies of all backgrounds that aren't there yet, and say of each what was found.

    Args:
        data: holds lidc_crops/ and lidc_slices/.
        backgrounds: folder of backgrounds.
        out: gets train/COPY-NAME.npz, with nodules of the patients outside of fold 0, and held/NAME.npz, with those of
            fold 0, to judge with.
        checkpoint: finds instead of the installed network.
        progress: is called with the files that are done and those in all.

    Raises:
        MonaiLungError: files can't be read or written, or the checkpoint is of another network.
    """
    folds = patient_folds(bundle_dir(SEGMENTATION) / "configs" / "folds.json")
    pools = {
        side: Pool.of(data, [p for p, fold in folds.items() if (fold == FOLD) == (side == "held")])
        for side in ("train", "held")
    }
    networks = load_networks()
    if checkpoint is not None:
        resume(networks.find, checkpoint)
    wanted = list(jobs(backgrounds, out))
    for done, (side, number, scan, path) in enumerate(wanted):
        progress(done, len(wanted))
        if not path.is_file():
            yield run(side, number, read_background(scan), pools[side], networks, path)
    progress(len(wanted), len(wanted))
