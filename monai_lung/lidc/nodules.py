"""Nodules of LIDC-IDRI: clustered marks with their table row, as `nodules.csv` of a crop folder has it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from monai_lung.lidc.clusters import cluster_annotations
from monai_lung.lidc.index import Annotation, Ratings, Scan
from monai_lung.lidc.votes import ReaderMasks, draw_masks, sphere_diameter_mm


@dataclass(frozen=True, eq=False)
class MarkedNodule:
    """A nodule of one scan as its readers marked it.

    Attributes:
        cluster: position in `cluster_annotations(scan)`.
        annotations: one for each reader, by annotation id.
    """

    scan: Scan
    cluster: int
    annotations: tuple[Annotation, ...]

    @property
    def id(self) -> str:
        """Name of the nodule, also its files' stem: patient, scan and cluster."""
        return f"{self.scan.patient}_s{self.scan.id}_n{self.cluster}"

    @property
    def malignancy(self) -> tuple[int, ...]:
        """Rating of each reader."""
        return tuple(annotation.ratings.malignancy for annotation in self.annotations)

    def masks(self) -> ReaderMasks:
        """The readers' masks on the scan's own grid, slices ascending."""
        return draw_masks(self.annotations, self.scan.slice_of)

    def row(self) -> dict[str, object]:
        """Columns of `nodules.csv` that need no image; of ratings a value for each reader, joined by spaces."""
        ratings = zip(*(annotation.ratings for annotation in self.annotations), strict=True)
        return {
            "id": self.id,
            "patient": self.scan.patient,
            "scan_id": self.scan.id,
            "series_uid": self.scan.series_uid,
            "cluster": self.cluster,
            "n_readers": len(self.annotations),
            "annotation_ids": " ".join(str(annotation.id) for annotation in self.annotations),
            **{name: " ".join(map(str, values)) for name, values in zip(Ratings._fields, ratings, strict=True)},
            "malignancy_median": float(statistics.median(self.malignancy)),
            "malignancy_mean": statistics.fmean(self.malignancy),
        }


def marked_nodules(scan: Scan) -> list[MarkedNodule]:
    """The nodules of a scan, in the order of `cluster_annotations`."""
    return [MarkedNodule(scan, i, marks) for i, marks in enumerate(cluster_annotations(scan))]


def agreed_diameter_mm(masks: ReaderMasks, voxel_mm3: float) -> float:
    """Diameter of the sphere of the volume that half of the readers or more marked, to 0.01 mm."""
    return round(sphere_diameter_mm(float(masks.consensus(share=0.5).sum()) * voxel_mm3), 2)


def index_rows(scans: Iterable[Scan]) -> list[dict[str, object]]:
    """A row for each nodule of the scans: the columns of `nodules.csv` with size, spacing and place, without images.

    `diameter_mm` takes the distance of the slices from the index; `x`, `y` (column and row) and `z_mm` (LPS) are the
    middle of the box that the outlines span.
    """
    rows = []
    for nodule in (nodule for scan in scans for nodule in marked_nodules(scan)):
        scan, masks = nodule.scan, nodule.masks()
        diameter_mm = agreed_diameter_mm(masks, scan.pixel_spacing_mm**2 * scan.slice_spacing_mm)
        x, y, k = (start + (size - 1) / 2 for start, size in zip(masks.offset, masks.bits.shape, strict=True))
        z_mm = float(np.interp(k, np.arange(len(scan.slice_z_mm)), scan.slice_z_mm))
        spacing = {"sx": scan.pixel_spacing_mm, "sy": scan.pixel_spacing_mm, "sz": round(scan.slice_spacing_mm, 4)}
        rows.append({**nodule.row(), "diameter_mm": diameter_mm, **spacing, "x": x, "y": y, "z_mm": round(z_mm, 3)})
    return rows
