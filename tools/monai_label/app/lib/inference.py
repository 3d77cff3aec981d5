"""The infer tasks: the whole analysis, the segmentation bundle alone, and a nodule at a click, and its correction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cc3d
import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.transform.writer import Writer
from monailabel.utils.others.generic import device_list, name_to_device
from numpy.typing import NDArray

from lib.analyses import Analyses
from lib.clicks import Points, corrected
from monai_lung.errors import InputError
from monai_lung.inference import delineate, find
from monai_lung.inference.delineate import without_doubles
from monai_lung.inference.networks import (
    Delineator,
    Finder,
    Networks,
    choose_device,
    load_corrector,
    load_delineator,
    load_finder,
    load_networks,
)
from monai_lung.io import read_ct
from monai_lung.labels import label_map
from monai_lung.lungs import segment_lungs
from monai_lung.model import CT, LEFT_LUNG, LPS_RAS, RIGHT_LUNG, Outline, Point, Report
from monai_lung.pipeline import Analyzer, Options
from monai_lung.pointed import outline_at
from monai_lung.report.findings import to_dict
from monai_lung.weights import sha256

LABELS = {"right lung": RIGHT_LUNG, "left lung": LEFT_LUNG, "nodule": 3}
"""Of the analysis. The lungs come first: MONAI Label names the segments of a DICOM SEG by their order, and a CT
without a nodule must not shift the names."""

KEPT = "monai_lung_kept"
"""Of a request: the name of its analysis, and the label map and findings that were kept of it; the app sets it."""
BACKGROUND = "background"


class Analysis(InferTask):  # type: ignore[misc]
    """The whole analysis, as `monai-lung analyze` does it: lungs, and the nodules that the rating network lets pass.

    The result is a label map on the CT's own grid with the values of `LABELS` (a nodule's voxels are nodule, wherever
    they lie), and the findings as parameters.

    Args:
        segmentation_dir: the bundle that finds and delineates; read again when a training has replaced its weights.
        analyses: where what is found in the server's scans is kept.
    """

    def __init__(self, segmentation_dir: Path, analyses: Analyses) -> None:
        super().__init__(
            type=InferType.SEGMENTATION,
            labels=LABELS,
            dimension=3,
            description="Lungs and nodules, the same as monai-lung analyze",
            config={"device": device_list()},
        )
        self.segmentation_dir, self.analyses = segmentation_dir, analyses
        self._loaded: tuple[str, str, Analyzer] | None = None

    def is_valid(self) -> bool:
        """True: the weights were checked before the server started."""
        return True

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Path of the label map, and `label_names` and `findings`.

        Raises:
            MonaiLungError: as `monai_lung.analyze`.
        """
        scan, kept = request.get(KEPT) or (None, None)
        if kept:
            path, findings = kept
            stored: Any = nibabel.load(path)
            labels, affine_lps = np.asarray(stored.dataobj), LPS_RAS @ stored.affine
        else:
            report = self.report(Path(request["image"]), name_to_device(request.get("device")))
            labels, affine_lps, findings = label_map_of(report), report.ct.affine_lps, to_dict(report)
            if scan:
                self.analyses.write(scan, findings, labels, affine_lps)
        return _written(request, labels, affine_lps), {"label_names": LABELS, "findings": findings}

    def report(self, path: Path, device: str = "auto") -> Report:
        """The analysis of one CT.

        Raises:
            MonaiLungError: as `monai_lung.analyze`.
        """
        digest = sha256(self.segmentation_dir / "models" / "model.pt")
        if self._loaded is None or self._loaded[:2] != (digest, device):
            analyzer = Analyzer(Options(device=device, segmentation_dir=self.segmentation_dir))
            self._loaded = digest, device, analyzer
        return self._loaded[2].analyze(path)


def label_map_of(report: Report) -> NDArray[np.uint8]:
    """(x, y, z) with the values of `LABELS`."""
    labels = report.lungs.labels.copy()
    labels[report.nodule_labels() > 0] = LABELS["nodule"]
    return labels


def _written(request: Mapping[str, Any], labels: NDArray[np.uint8], affine_lps: NDArray[np.float64]) -> str:
    """Path of a label map in the format that the request asks for."""
    image = MetaTensor(torch.from_numpy(np.ascontiguousarray(labels)), affine=LPS_RAS @ affine_lps)
    file, _ = Writer(label="pred")({**request, "image_path": request["image"], "pred": image})
    return str(file)


class Click(InferTask):  # type: ignore[misc]
    """The nodules at points, as `monai-lung measure --points` outlines them; panels drive it as they drive DeepEdit.

    A request holds points as voxel indices: under `background` those that aren't in a nodule; under `nodule`,
    `foreground` or whichever label the reader has chosen (`label`) those that are, since a nodule is all that this
    outlines. A point anywhere in a nodule means all of it. A nodule with a background point in it is left out: the
    network can't be told where to cut.

    The result is a label map on the CT's own grid, 1 where a nodule is, and `warnings`, a sentence on each point
    without a nodule. Panels put it in the place of the segment `nodule`, so it begins with the nodules of the analysis,
    where one was kept: otherwise the first click would erase them.

    Args:
        bundle: the bundle that delineates; read again when a training has replaced its weights.
    """

    def __init__(self, bundle: Path) -> None:
        super().__init__(
            type=InferType.DEEPEDIT,
            labels={"nodule": 1, BACKGROUND: 0},  # 3D Slicer takes points for a background only if it is listed
            dimension=3,
            description="The nodules of the analysis, and the nodule at each point",
            config={"device": device_list()},
        )
        self.bundle = bundle
        self._networks: tuple[str, Networks] | None = None
        self._ct: tuple[tuple[str, int, int], CT] | None = None

    def is_valid(self) -> bool:
        """True: the weights were checked before the server started."""
        return True

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Path of the label map, `label_names`, and `warnings`.

        Raises:
            InputError: no points, or they aren't three numbers each.
            MonaiLungError: the CT can't be read.
        """
        points = _clicked(request)
        inside, outside = points.inside, points.outside
        ct = self._read(Path(request["image"]))
        labels = _nodules_kept(request, ct)
        for point in outside:
            _remove(labels, point)
        outlines, warnings = [], []
        if inside:
            outlines, warnings = outline_at(ct, [_world(ct, point) for point in inside], self._loaded(request))
        for outline in outlines:
            labels[outline.box][outline.mask] = not any(_holds(outline, point) for point in outside)
        return _written(request, labels, ct.affine_lps), {"label_names": {"nodule": 1}, "warnings": warnings}

    def _read(self, path: Path) -> CT:
        """The CT, kept for the next click on it."""
        state = path.stat()
        key = str(path), state.st_size, state.st_mtime_ns
        if self._ct is None or self._ct[0] != key:
            self._ct = key, read_ct(path)
        return self._ct[1]

    def _loaded(self, request: Mapping[str, Any]) -> Networks:
        device = name_to_device(request.get("device"))
        key = sha256(self.bundle / "models" / "model.pt") + device
        if self._networks is None or self._networks[0] != key:
            self._networks = key, load_networks(device, segmentation_dir=self.bundle)
        return self._networks[1]


def _clicked(request: Mapping[str, Any]) -> Points:
    """The points of a request: in nodules under any label but the background's; InputError without any."""
    names = {"foreground", *LABELS, str(request.get("label") or "nodule")} - {BACKGROUND}
    inside = [point for name in sorted(names) for point in _points(request, name)]
    points = Points(inside, _points(request, BACKGROUND))
    if not points.inside and not points.outside:
        raise InputError("no points: choose the label nodule, then click on one")
    return points


def _points(request: Mapping[str, Any], name: str) -> list[tuple[float, float, float]]:
    """Voxel indices of a request; InputError for what isn't points."""
    try:
        return [(float(i), float(j), float(k)) for i, j, k in request.get(name) or ()]
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: must be a list of points [i, j, k] (voxel indices)") from error


def _world(ct: CT, index: tuple[float, float, float]) -> Point:
    x, y, z = (float(v) for v in ct.to_world(np.array(index)))
    return x, y, z


def _nodules_kept(request: Mapping[str, Any], ct: CT) -> NDArray[np.uint8]:
    """(x, y, z), 1 where the kept analysis has a nodule; all 0 where none was kept."""
    _, kept = request.get(KEPT) or (None, None)
    if not kept:
        return np.zeros(ct.hu.shape, np.uint8)
    stored: Any = nibabel.load(kept[0])
    return (np.asarray(stored.dataobj) == LABELS["nodule"]).astype(np.uint8)


def _remove(labels: NDArray[np.uint8], index: tuple[float, float, float]) -> None:
    """Set the connected part of `labels` that holds a voxel to 0."""
    at = tuple(round(i) for i in index)
    if all(0 <= i < n for i, n in zip(at, labels.shape, strict=True)) and labels[at]:
        parts = cc3d.connected_components(labels, connectivity=26)
        labels[parts == parts[at]] = 0


def _holds(outline: Outline, index: tuple[float, float, float]) -> bool:
    own = tuple(round(i) - start for i, start in zip(index, outline.offset, strict=True))
    inside = all(0 <= i < n for i, n in zip(own, outline.mask.shape, strict=True))
    return bool(inside and outline.mask[own])


class Correct(Click):
    """One nodule: the first point means it, further ones add to its outline, those of the background cut from it.

    Points stand as in a request of `Click`, all of them again after each click. The result is as there: the nodules of
    the analysis, where one was kept, with this nodule as it has been corrected.

    Args:
        bundle: the bundle that delineates and may correct.
    """

    def __init__(self, bundle: Path) -> None:
        super().__init__(bundle)
        self.description = "One nodule: a point in it, then points to add and to cut"

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Path of the label map, `label_names`, and `warnings`.

        Raises:
            InputError: no points, or they aren't three numbers each.
            MonaiLungError: the CT can't be read.
        """
        points = _clicked(request)
        ct = self._read(Path(request["image"]))
        networks = self._loaded(request)
        labels, warnings = corrected(ct, points, networks, load_corrector(networks.device, self.bundle))
        kept = _nodules_kept(request, ct)
        for point in points.inside[:1]:
            _remove(kept, point)
        result = np.maximum(labels, kept)
        return _written(request, result, ct.affine_lps), {"label_names": {"nodule": 1}, "warnings": warnings}


class Segmentation(InferTask):  # type: ignore[misc]
    """The outlines of the bundle `lung_nodule_segmentation`, unrated: the functions that its chain calls.

    The result is a label map on the CT's own grid, 1 where a nodule is.

    Args:
        bundle: its folder; read again when a training has replaced its weights.
    """

    def __init__(self, bundle: Path) -> None:
        super().__init__(
            type=InferType.SEGMENTATION,
            labels={"nodule": 1},
            dimension=3,
            description="Nodules, before any is rated",
            config={"device": device_list()},
        )
        self.bundle = bundle
        self._loaded: tuple[str, Finder, Delineator] | None = None

    def is_valid(self) -> bool:
        """True: the weights were checked before the server started."""
        return True

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Path of the label map, and `label_names`.

        Raises:
            MonaiLungError: the CT can't be read, or has no lungs.
        """
        ct = read_ct(Path(request["image"]))
        finder, delineator = self._networks(name_to_device(request.get("device")))
        lungs = segment_lungs(ct.hu, ct.affine_lps)
        outlines = without_doubles(delineate(ct, find(ct, lungs, finder), delineator, lungs), ct)
        labels = (label_map(outlines, ct.hu.shape) > 0).astype("uint8")
        return _written(request, labels, ct.affine_lps), {"label_names": self.labels}

    def _networks(self, device: str) -> tuple[Finder, Delineator]:
        key = sha256(self.bundle / "models" / "model.pt") + device
        if self._loaded is None or self._loaded[0] != key:
            where = choose_device(device)
            self._loaded = key, load_finder(where, self.bundle), load_delineator(where, self.bundle)
        return self._loaded[1:]
