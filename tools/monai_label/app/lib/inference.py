"""The infer tasks: the whole analysis, and the segmentation bundle alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.transform.writer import Writer
from monailabel.utils.others.generic import device_list, name_to_device

from monai_lung.analysis import Analyzer, Options
from monai_lung.inference import delineate, find, within_lungs
from monai_lung.inference.networks import Delineator, Finder, choose_device, load_delineator, load_finder
from monai_lung.io import read_ct
from monai_lung.labels import label_map
from monai_lung.model import LEFT_LUNG, RIGHT_LUNG, Report
from monai_lung.report.findings import to_dict
from monai_lung.transforms.lungs import segment_lungs
from monai_lung.weights import sha256
from monai_lung.workflow.cases import image_of

LABELS = {"right lung": RIGHT_LUNG, "left lung": LEFT_LUNG, "nodule": 3}
"""Of the analysis. The lungs come first: MONAI Label names the segments of a DICOM SEG by their order, and a CT
without a nodule must not shift the names."""


class Analysis(InferTask):  # type: ignore[misc]
    """The whole analysis, as `monai-lung analyze` does it: lungs, and the nodules that the rating network lets pass.

    The result is a label map on the CT's own grid with the values of `LABELS` (a nodule's voxels are nodule, wherever
    they lie), and the findings as parameters.

    Args:
        segmentation_dir: the bundle that finds and delineates; read anew when a training has replaced its weights.
    """

    def __init__(self, segmentation_dir: Path) -> None:
        super().__init__(
            type=InferType.SEGMENTATION,
            labels=LABELS,
            dimension=3,
            description="Lungs and nodules, the same as monai-lung analyze",
            config={"device": device_list()},
        )
        self.segmentation_dir = segmentation_dir
        self._loaded: tuple[str, str, Analyzer] | None = None

    def is_valid(self) -> bool:
        """True: the weights were checked before the server started."""
        return True

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Path of the label map, and `label_names` and `findings`.

        Raises:
            MonaiLungError: as `monai_lung.analyze`.
        """
        report = self.report(Path(request["image"]), name_to_device(request.get("device")))
        labels = report.lungs.labels.copy()
        labels[report.nodule_labels() > 0] = LABELS["nodule"]
        image = MetaTensor(torch.from_numpy(labels), affine=image_of(report.ct).affine)
        file, _ = Writer(label="pred")({**request, "image_path": request["image"], "pred": image})
        return file, {"label_names": LABELS, "findings": to_dict(report)}

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


class Segmentation(InferTask):  # type: ignore[misc]
    """What the bundle `lung_nodule_segmentation` finds and delineates, unrated: the functions that its chain calls.

    The result is a label map on the CT's own grid, 1 where a nodule is.

    Args:
        bundle: its folder; read anew when a training has replaced its weights.
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
        outlines = within_lungs(delineate(ct, find(ct, lungs, finder), delineator), ct, lungs)
        labels = (label_map(outlines, ct.hu.shape) > 0).astype("uint8")
        image = MetaTensor(torch.from_numpy(labels), affine=image_of(ct).affine)
        file, _ = Writer(label="pred")({**request, "image_path": request["image"], "pred": image})
        return file, {"label_names": self.labels}

    def _networks(self, device: str) -> tuple[Finder, Delineator]:
        key = sha256(self.bundle / "models" / "model.pt") + device
        if self._loaded is None or self._loaded[0] != key:
            where = choose_device(device)
            self._loaded = key, load_finder(where, self.bundle), load_delineator(where, self.bundle)
        return self._loaded[1:]
