from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from monai_lung.networks import NoduleResNet50, ResUNet3d, SliceResNet

CASES = [
    (ResUNet3d(width=4, levels=2), (1, 1, 20, 16, 9)),
    (ResUNet3d(width=4, levels=2, stem=(2, 2, 1)), (1, 1, 20, 16, 9)),
    (NoduleResNet50(in_channels=3, out_channels=9, width=4), (1, 3, 16, 16, 8)),
    (NoduleResNet50(in_channels=3, out_channels=9, width=4, mask_channel=2), (1, 3, 16, 16, 8)),
    (SliceResNet(width=4, members=2), (1, 3, 16, 16, 5)),
]


@pytest.mark.parametrize(("network", "shape"), CASES)
def test_torchscript_equals_eager_also_at_other_sizes(network: nn.Module, shape: tuple[int, ...]) -> None:
    network.eval()
    scripted = torch.jit.script(network)
    for size in (shape, (2, shape[1], 24, 17, 12)):
        image = torch.rand(size)
        with torch.inference_mode():
            torch.testing.assert_close(scripted(image), network(image))


@pytest.mark.parametrize(("network", "shape"), CASES)
def test_onnx_equals_eager(network: nn.Module, shape: tuple[int, ...], tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    network.eval()
    image = torch.rand(shape)
    path = tmp_path / "network.onnx"
    torch.onnx.export(network, (image,), path, dynamo=False, input_names=["image"], output_names=["pred"])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"image": image.numpy()})
    with torch.inference_mode():
        np.testing.assert_allclose(result, network(image).numpy(), atol=1e-4)
