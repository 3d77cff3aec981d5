"""Nodules of LIDC-IDRI: clustered marks with their table row, as `nodules.csv` of a crop folder has it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from monai_lung.data.lidc.clusters import cluster_annotations
from monai_lung.data.lidc.index import Annotation, Ratings, Scan
from monai_lung.data.lidc.votes import ReaderMasks, draw_masks, sphere_diameter_mm


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
