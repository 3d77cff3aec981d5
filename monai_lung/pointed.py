"""Measures what somebody points at: nodules at given points, or given outlines, with the reports of an analysis."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from monai_lung.advice import MeasuredNodules
from monai_lung.clinical.axes import axial_axis
from monai_lung.clinical.measurements import measure, without_place
from monai_lung.corrected import correct_outlines
from monai_lung.errors import InputError, LungsNotFoundError
from monai_lung.model import CT, Lungs, Measurements, OperatingPoint, Outline, Point, Rating, Report, Seed
from monai_lung.pipeline import Analyzer, Options, timed

if TYPE_CHECKING:
    from monai_lung.inference import Networks
    from monai_lung.inference.networks import Corrector

log = logging.getLogger(__name__)

CLICKED_MM = 8.0
"""Diameter taken for a nodule of which only a point is known: what is larger is found to be so."""
LOOKS = 4
"""How often an outline is looked at again from its own middle."""
STILL_MM = 0.25
BESIDE_MM = 3.0
"""A point so near to an outline means that nodule."""
_AIR_HU, _BONE_HU, _LUNG_HU = -970, 250, -500


def measure_at(
    source: Any,
    points_mm: Sequence[Point],
    options: Options | None = None,
    *,
    add: Sequence[Point] = (),
    cut: Sequence[Point] = (),
) -> Report:
    """Outline, measure and rate the nodules at points.

    A point anywhere in a nodule stands for the whole nodule; two points in one nodule count as one. A point without a
    nodule is named in the report's warnings, and so is a nodule that the network wouldn't call one. Works without lungs
    too (a phantom, a crop): then side, third and distance to the pleura aren't known.

    Args:
        source: as for `monai_lung.analyze`.
        points_mm: (x, y, z) LPS mm each.
        options: as for `monai_lung.analyze`.
        add, cut: clicks that correct the outlines, (x, y, z) LPS mm each: this place belongs to the nodule, or doesn't.
            Each counts for the nearest outline (`monai_lung.corrected`).

    Raises:
        InputError: no point has a nodule (the message says what is there), or nothing is left after the cuts.
        MonaiLungError: as `monai_lung.analyze`.

    >>> import numpy as np
    >>> from monai_lung import as_ct
    >>> x, y, z = np.ogrid[-25:25, -25:25, -20:20]
    >>> inside = x**2 + y**2 + z**2 <= 5**2  # a ball of 10 mm in lung
    >>> ct = as_ct(np.where(inside, 30, -850), np.diag([1.0, 1.0, 1.0, 1.0]))
    >>> report = measure_at(ct, [(25.0, 25.0, 20.0)])  # its middle
    >>> bool(8 < report.nodules[0].measurements.mean_diameter_mm < 12)
    True
    """
    return Pointing(options).at(source, points_mm, add=add, cut=cut)


def measure_mask(
    source: Any,
    mask: Path | str | NDArray[Any],
    options: Options | None = None,
    *,
    add: Sequence[Point] = (),
    cut: Sequence[Point] = (),
) -> Report:
    """Measure and rate given outlines.

    Args:
        source: as for `monai_lung.analyze`.
        mask: as for `monai_lung.io.masks.read_outlines`: a file, or an array on the CT's grid.
        options: as for `monai_lung.analyze`.
        add, cut: as for `measure_at`.

    Raises:
        MaskError: the mask is empty, or on another grid.
        InputError: nothing is left after the cuts.
        MonaiLungError: as `monai_lung.analyze`.

    >>> import numpy as np
    >>> from monai_lung import as_ct
    >>> x, y, z = np.ogrid[-25:25, -25:25, -20:20]
    >>> inside = x**2 + y**2 + z**2 <= 5**2  # a ball of 10 mm in lung
    >>> ct = as_ct(np.where(inside, 30, -850), np.diag([1.0, 1.0, 1.0, 1.0]))
    >>> report = measure_mask(ct, inside)
    >>> bool(9 < report.nodules[0].measurements.mean_diameter_mm < 12)
    True
    """
    return Pointing(options).inside(source, mask, add=add, cut=cut)


class Pointing:
    """Measures one CT after the other with networks that are loaded once, at the first."""

    def __init__(self, options: Options | None = None) -> None:
        self.analyzer = Analyzer(options)

    def at(
        self, source: Any, points_mm: Sequence[Point], *, add: Sequence[Point] = (), cut: Sequence[Point] = ()
    ) -> Report:
        """See `measure_at`."""
        timing: dict[str, float] = {}
        with timed("read", timing):
            ct = self.analyzer.read(source)
        with timed("delineate", timing):
            outlines, warnings = outline_at(ct, points_mm, self.analyzer.networks)
        if not outlines:
            raise InputError(f"{ct.name}: no nodule at any of {len(points_mm)} points. {' '.join(warnings[:3])}")
        return self._corrected(ct, outlines, (add, cut), warnings, timing)

    def inside(
        self,
        source: Any,
        mask: Path | str | NDArray[Any],
        *,
        add: Sequence[Point] = (),
        cut: Sequence[Point] = (),
    ) -> Report:
        """See `measure_mask`."""
        from monai_lung.io.masks import read_outlines

        timing: dict[str, float] = {}
        with timed("read", timing):
            ct = self.analyzer.read(source)
            outlines = read_outlines(mask, ct)
        return self._corrected(ct, outlines, (add, cut), [], timing)

    @cached_property
    def corrector(self) -> Corrector | None:
        """The network that corrects outlines, loaded on first use; None where the bundles have none.

        Raises:
            WeightsError: weights are missing or damaged.
        """
        from monai_lung.inference.networks import load_corrector

        options = self.analyzer.options
        return load_corrector(
            self.analyzer.networks.device, options.segmentation_dir, trust_bundle=options.trust_bundle
        )

    def _corrected(
        self,
        ct: CT,
        outlines: Sequence[Outline],
        clicks: tuple[Sequence[Point], Sequence[Point]],
        warnings: Sequence[str],
        timing: dict[str, float],
    ) -> Report:
        """The report of the outlines after the clicks that add and cut."""
        if not any(clicks):
            return self._report(ct, outlines, warnings, timing)
        with timed("correct", timing):
            left, notes = correct_outlines(ct, outlines, *clicks, self.corrector)
        if not left:
            raise InputError(f"{ct.name}: {' '.join(notes)}")
        report = self._report(ct, left, [*warnings, *notes], timing)
        weights = self.corrector.weights if self.corrector is not None else {}
        return replace(report, weights={**report.weights, **weights})

    def _report(self, ct: CT, outlines: Sequence[Outline], warnings: Sequence[str], timing: dict[str, float]) -> Report:
        """Lungs, ratings and measurements of the outlines, the largest first, and the report of them."""
        from monai_lung.inference import rate

        networks = self.analyzer.networks
        with timed("lungs", timing):
            lungs = lungs_or_none(ct)
        with timed("rate", timing):
            ratings = rate(ct, outlines, networks, lungs if lungs.labels.any() else None)
        with timed("measure", timing):
            rows, failed = _rows(ct, lungs, outlines, ratings)
        found = MeasuredNodules(
            ct, lungs, tuple(o for o, _, _ in rows), tuple(m for _, m, _ in rows), tuple(r for *_, r in rows)
        )
        doubts = [
            text for n, row in enumerate(rows, start=1) for text in _doubts(n, row, ct, self.analyzer.operating_point)
        ]
        report = self.analyzer.report(found, timing=timing)
        return replace(report, warnings=(*report.warnings, *warnings, *failed, *doubts))


Row = tuple[Outline, Measurements, Rating]


def _rows(ct: CT, lungs: Lungs, outlines: Sequence[Outline], ratings: Sequence[Rating]) -> tuple[list[Row], list[str]]:
    """Each outline with its measurements and rating, the largest first; a sentence on each that can't be measured.

    Raises:
        InputError: none can be measured.
    """
    rows, failed = [], []
    for outline, rating in zip(outlines, ratings, strict=True):
        try:
            rows.append((outline, measured(outline, ct, lungs), rating))
        except InputError as error:
            x, y, z = outline.seed.center_mm
            failed.append(f"The outline around {x:.1f}, {y:.1f}, {z:.1f} can't be measured: {error}.")
    if not rows:
        raise InputError(failed[0])
    return sorted(rows, key=lambda row: (-row[1].volume_mm3, row[1].center_mm)), failed


def outline_at(ct: CT, points_mm: Sequence[Point], networks: Networks) -> tuple[list[Outline], list[str]]:
    """The nodules at points, each once, and a sentence on each point without one."""
    from monai_lung.inference import delineate

    inside = [n for n, point in enumerate(points_mm) if ct.grid.holds(point)]
    seeds = [Seed(points_mm[n], 1.0, CLICKED_MM) for n in inside]
    outlines = _settled(ct, delineate(ct, seeds, networks), networks)
    warnings = [
        f"Point {n} ({', '.join(f'{v:.1f}' for v in point)}): {_what_is_at(point, ct)}."
        for n, (point, away_mm) in enumerate(
            zip(points_mm, _distances_mm(points_mm, outlines, ct), strict=True), start=1
        )
        if away_mm > max(BESIDE_MM, *ct.spacing_mm)
    ]
    return outlines, warnings


def _settled(ct: CT, outlines: list[Outline], networks: Networks) -> list[Outline]:
    """The outlines seen from their own middles, so that it doesn't matter where in a nodule a point lies.

    The network sees a patch around a place; from another place it draws a slightly other border. So each outline is
    drawn again around its middle, until the middle stays or `LOOKS` are through.
    """
    from monai_lung.inference import delineate

    done: list[Outline] = []
    for _ in range(LOOKS):
        again = {_seed_in(outline, ct): outline for outline in outlines}
        outlines = []
        found = {outline.seed: outline for outline in delineate(ct, list(again), networks)}
        for seed, before in again.items():
            after = found.get(seed)
            if after is None or not _share_voxels(before, after):
                done.append(before)
            elif np.linalg.norm(np.subtract(_seed_in(after, ct).center_mm, seed.center_mm)) <= STILL_MM:
                done.append(after)
            else:
                outlines.append(after)
        if not outlines:
            break
    return _each_once([*done, *outlines])


def _seed_in(outline: Outline, ct: CT) -> Seed:
    """A seed of the outline's size at its centre of mass, to a quarter of a millimetre."""
    index = np.argwhere(outline.mask)
    x, y, z = (round(4 * float(v)) / 4 for v in ct.to_world(index.mean(0) + outline.offset))
    return Seed((x, y, z), 1.0, float(np.cbrt(6 * len(index) * ct.voxel_mm3 / np.pi)))


def _share_voxels(one: Outline, other: Outline) -> bool:
    """Whether two outlines have more than half of the smaller one in common."""
    return _overlap(one, other) > 0.5 * min(one.mask.sum(), other.mask.sum())


def _overlap(one: Outline, other: Outline) -> int:
    low = np.maximum(one.offset, other.offset)
    high = np.minimum(np.add(one.offset, one.mask.shape), np.add(other.offset, other.mask.shape))
    if (high <= low).any():
        return 0
    parts = [
        o.mask[tuple(slice(a - c, b - c) for a, b, c in zip(low, high, o.offset, strict=True))] for o in (one, other)
    ]
    return int((parts[0] & parts[1]).sum())


def _each_once(outlines: Sequence[Outline]) -> list[Outline]:
    kept: list[Outline] = []
    for outline in outlines:
        if not any(_share_voxels(outline, other) for other in kept):
            kept.append(outline)
    return kept


def _distances_mm(points_mm: Sequence[Point], outlines: Sequence[Outline], ct: CT) -> NDArray[np.float64]:
    """Distance (n,) of each point to the nearest voxel of an outline, infinite without outlines."""
    if not outlines or not points_mm:
        return np.full(len(points_mm), np.inf)
    voxels = [ct.to_world((np.argwhere(o.mask) + o.offset).astype(float)) for o in outlines]
    return np.asarray(cKDTree(np.concatenate(voxels)).query(np.asarray(points_mm, float))[0])


def _what_is_at(point: Point, ct: CT) -> str:
    """Why there is no nodule, as far as the HU around the point say."""
    if not ct.grid.holds(point):
        return "it lies outside the CT"
    center = np.rint(ct.to_index(point)).astype(int)
    reach = np.ceil(2.0 / np.array(ct.spacing_mm)).astype(int)
    near = ct.hu[tuple(slice(max(0, c - r), c + r + 1) for c, r in zip(center, reach, strict=True))]
    hu = float(np.median(near))
    kinds = ((_AIR_HU, "air"), (_LUNG_HU, "lung or air"), (_BONE_HU, "soft tissue"), (np.inf, "bone or metal"))
    kind = next(name for limit, name in kinds if hu <= limit)
    return f"no nodule was seen there, it lies in {kind} ({hu:.0f} HU)"


def lungs_or_none(ct: CT) -> Lungs:
    """The lungs, or none of them with a warning that says what isn't known without."""
    from monai_lung.clinical.low_attenuation import low_attenuation_percent
    from monai_lung.lungs import segment_lungs

    try:
        lungs = segment_lungs(ct.hu, ct.affine_lps)
        return replace(lungs, low_attenuation_percent=low_attenuation_percent(ct, lungs))
    except LungsNotFoundError:
        warning = "No lungs were found: side, third and distance to the pleura of a nodule aren't known."
        return Lungs(np.zeros(ct.hu.shape, np.uint8), 0.0, 0.0, (warning,))


def measured(outline: Outline, ct: CT, lungs: Lungs) -> Measurements:
    """`measure`, also where no lungs were found: then without what they tell."""
    if lungs.labels.any():
        return measure(outline, ct, lungs)
    return without_place(measure(outline, ct, replace(lungs, labels=np.ones_like(lungs.labels))))


def _doubts(number: int, row: Row, ct: CT, point: OperatingPoint) -> list[str]:
    """Doubts about this nodule's numbers that a reader must know."""
    outline, _, rating = row
    doubts, across = [], axial_axis(ct.affine_lps)
    if outline.mask.any(axis=tuple(axis for axis in range(3) if axis != across)).sum() < 2:
        doubts.append(f"Nodule {number} is outlined on a single slice: its volume and height are unreliable.")
    if rating.nodule_probability < point.min_nodule_probability:
        share = f"{100 * rating.nodule_probability:.0f} %"
        doubts.append(f"Nodule {number} would not have been reported: its probability of being a nodule is {share}.")
    return doubts
