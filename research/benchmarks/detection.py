"""MONAI's nodule detector (bundle `lung_nodule_ct_detection`) with random weights. Runs in the peers' environment.

Network, anchors, windows and box selection are those of the bundle's `inference.json` (model-zoo, version 0.6.8). Its
time hardly depends on the weights: with random ones the selection of boxes has its full number of candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from research.benchmarks.child import Job, Run, synchronize
from research.benchmarks.peers import read, resampled

SPACING_MM = (0.703125, 0.703125, 1.25)
WINDOW, OVERLAP, DIVISIBLE = (512, 512, 192), 0.25, (16, 16, 8)
ANCHORS = ((6, 8, 4), (8, 6, 5), (10, 10, 6))
LOW_HU, HIGH_HU = -1024.0, 300.0


def retinanet(job: Job) -> Run:
    """The detector over a CT that is on the bundle's grid already; on a GPU in float16, as the bundle does."""
    import SimpleITK as sitk
    import torch

    detector = make_detector(WINDOW, job.device)
    array = sitk.GetArrayFromImage(resampled(read(job), SPACING_MM)).astype(np.float32)
    scaled = np.clip((array.T - LOW_HU) / (HIGH_HU - LOW_HU), 0, 1)
    image = torch.from_numpy(np.ascontiguousarray(scaled))[None].to(job.device)

    def run() -> Mapping[str, float]:
        enabled = job.device != "cpu"
        with torch.inference_mode(), torch.autocast(job.device.split(":")[0], torch.float16, enabled=enabled):
            (found,) = detector([image], use_inferer=True)
            synchronize(job.device)
        return {"boxes": len(found["box"])}

    return run


def make_detector(window: Sequence[int], device: str) -> Any:
    """The bundle's detector, with another window where one is given."""
    import torch

    _declare_missing_operators()
    from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
    from monai.apps.detection.networks.retinanet_network import RetinaNet, resnet_fpn_feature_extractor
    from monai.apps.detection.utils.anchor_utils import AnchorGeneratorWithAnchorShape
    from monai.networks.nets import resnet50

    torch.manual_seed(0)
    backbone = resnet50(spatial_dims=3, n_input_channels=1, conv1_t_stride=[2, 2, 1], conv1_t_size=[7, 7, 7])
    features = resnet_fpn_feature_extractor(backbone, 3, False, [1, 2], None)
    network = RetinaNet(
        3, num_classes=1, num_anchors=len(ANCHORS), feature_extractor=features, size_divisible=DIVISIBLE
    )
    anchors = AnchorGeneratorWithAnchorShape(feature_map_scales=(1, 2, 4), base_anchor_shapes=ANCHORS)
    detector = RetinaNetDetector(network.to(device), anchors, debug=False).eval()
    detector.set_target_keys(box_key="box", label_key="label")
    detector.set_box_selector_parameters(
        score_thresh=0.02, topk_candidates_per_level=1000, nms_thresh=0.22, detections_per_img=300
    )
    detector.set_sliding_window_inferer(
        roi_size=list(window), overlap=OVERLAP, sw_batch_size=1, mode="constant", device="cpu"
    )
    return detector


def _declare_missing_operators() -> None:
    """torchvision's wheel expects two operators of its compiled part, which a CPU build of torch doesn't load.

    MONAI selects boxes with code of its own: they are never called.
    """
    import torch

    try:
        import torchvision
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)
        import torchvision  # noqa: F401


_KEPT: list[Any] = []
"""A library's operators go with it."""
