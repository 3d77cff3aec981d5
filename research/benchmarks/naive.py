"""The finding network as one would first run it: float32, plain memory layout, over the whole volume."""

from __future__ import annotations

from typing import Any

import torch

from research.benchmarks.child import Job, Run, synchronize


def find_stage(job: Job) -> Run:
    """This package's finding stage on a CT and lungs in memory: windows where lungs are, and the coarse look."""
    from monai_lung.inference import find, load_networks
    from monai_lung.io import read_ct
    from monai_lung.lungs import segment_lungs

    ct, networks = read_ct(job.path), load_networks(job.device)
    lungs = segment_lungs(ct.hu, ct.affine_lps)

    def run() -> None:
        find(ct, lungs, networks)

    return run


def whole_volume(job: Job) -> Run:
    """The whole resampled CT through the network at once."""
    network, image, _ = _prepared(job)

    def run() -> None:
        with torch.inference_mode():
            network(image)
            synchronize(job.device)

    return run


def window_grid(job: Job) -> Run:
    """MONAI's sliding window over the whole resampled CT, with this package's window and overlap."""
    from monai.inferers import SlidingWindowInferer

    network, image, settings = _prepared(job)
    inferer = SlidingWindowInferer(settings.window, sw_batch_size=4, overlap=settings.overlap, mode="gaussian")

    def run() -> None:
        with torch.inference_mode():
            inferer(image, network)
            synchronize(job.device)

    return run


def _prepared(job: Job) -> tuple[Any, torch.Tensor, Any]:
    """The network in plain layout and the whole CT on its grid; making both isn't timed."""
    from monai_lung.grid import resample
    from monai_lung.inference import load_networks
    from monai_lung.io import read_ct
    from monai_lung.transforms.window import windowed

    networks = load_networks(job.device)
    ct = read_ct(job.path)
    settings = networks.find_settings
    grid = ct.grid.covering(settings.spacing_mm)
    image = windowed(torch.from_numpy(resample(ct.hu, ct.grid, grid)))[None, None].to(job.device)
    plain: Any = networks.find
    return plain.to(memory_format=torch.contiguous_format), image, settings
