"""The row of MONAI's detector: its network and its selection of boxes run, where torchvision is there."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from research.benchmarks.detection import make_detector

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None,
    reason="torchvision isn't installed: it is in the peers' environment",
)


@pytest.mark.slow
def test_the_detector_gives_boxes_of_a_small_image():
    detector = make_detector((64, 64, 32), "cpu")
    with torch.inference_mode():
        (found,) = detector([torch.rand(1, 64, 64, 48)], use_inferer=True)
    assert found["box"].shape[1] == 6
    assert len(found["box"]) <= 300
