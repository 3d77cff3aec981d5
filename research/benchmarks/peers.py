"""Peers with networks, with random weights: their time doesn't depend on them. Runs in the peers' environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from research.benchmarks.child import Job, Run, synchronize

SPACING_MM, PATCH, OVERLAP = 1.5, (128, 128, 128), 0.5
FEATURES = (32, 64, 128, 256, 320, 320)


def lungmask(job: Job) -> Run:
    """lungmask's R231 on a CT in memory, without its clean-up of the volume."""
    import torch
    from lungmask import LMInferer
    from lungmask.resunet import UNet

    torch.manual_seed(0)
    network = UNet(n_classes=3, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False)
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "random.pth")
        torch.save(network.state_dict(), path)
        cpu = job.device == "cpu"
        inferer = LMInferer(modelpath=path, force_cpu=cpu, volume_postprocessing=False, tqdm_disable=True)
    image = read(job)

    def run() -> None:
        inferer.apply(image)

    return run


def nnunet_like(job: Job) -> Run:
    """A PlainConvUNet over the CT at 1.5 mm in half-overlapping windows; on a GPU in float16, as nnU-Net does."""
    import SimpleITK as sitk
    import torch
    from monai.inferers import SlidingWindowInferer

    network = _plain_conv_unet().eval().to(job.device)
    array = sitk.GetArrayFromImage(resampled(read(job), (SPACING_MM,) * 3)).astype(np.float32)
    image = torch.from_numpy((array - array.mean()) / array.std())[None, None]
    inferer = SlidingWindowInferer(PATCH, 1, OVERLAP, mode="gaussian", sw_device=job.device, device="cpu")
    seen = [0]
    network.register_forward_hook(lambda *_: seen.__setitem__(0, seen[0] + 1))

    def run() -> Mapping[str, float]:
        seen[0] = 0
        enabled = job.device != "cpu"
        with torch.inference_mode(), torch.autocast(job.device.split(":")[0], torch.float16, enabled=enabled):
            logits: Any = inferer(image, network)
            logits.argmax(1)
            synchronize(job.device)
        return {"windows": seen[0]}

    return run


def _plain_conv_unet() -> Any:
    from dynamic_network_architectures.architectures.unet import PlainConvUNet
    from torch import manual_seed, nn

    manual_seed(0)
    return PlainConvUNet(
        input_channels=1,
        n_stages=len(FEATURES),
        features_per_stage=FEATURES,
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=[1] + [2] * (len(FEATURES) - 1),
        n_conv_per_stage=2,
        num_classes=2,
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    )


def read(job: Job) -> Any:
    """The CT as SimpleITK's image."""
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(job.path)))
    return reader.Execute()


def resampled(image: Any, spacing_mm: tuple[float, float, float]) -> Any:
    """The image on another grid, linearly."""
    import SimpleITK as sitk

    lengths = zip(image.GetSize(), image.GetSpacing(), spacing_mm, strict=True)
    size = [max(1, round(n * old / new)) for n, old, new in lengths]
    grid = (image.GetOrigin(), spacing_mm, image.GetDirection())
    return sitk.Resample(image, size, sitk.Transform(), sitk.sitkLinear, *grid, -1024.0)
