from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from monai.data.utils import compute_importance_map
from torch import nn

from monai_lung.inference.windows import NOTHING, LungWindowInferer, gaussian, lung_windows
from monai_lung.transforms.lung_grid import dilated


def two_lungs(shape: tuple[int, int, int]) -> torch.Tensor:
    inside = torch.zeros(shape, dtype=torch.bool)
    x, y, z = shape
    inside[x // 10 : x * 4 // 10, y // 5 : y * 4 // 5, z // 8 :] = True
    inside[x * 6 // 10 : x * 9 // 10, y // 4 : y * 3 // 4, : z * 7 // 8] = True
    return inside


@pytest.mark.parametrize("shape", [(64, 64, 32), (65, 64, 33), (200, 131, 90), (90, 300, 47)])
@pytest.mark.parametrize("overlap", [0.0, 0.125, 0.5])
def test_windows_lie_in_the_image_and_cover_the_lungs(shape: tuple[int, int, int], overlap: float) -> None:
    inside = two_lungs(shape)
    covered = torch.zeros_like(inside)
    for box in lung_windows(inside, (64, 64, 32), overlap):
        assert all(s.start >= 0 and s.stop <= n for s, n in zip(box, shape, strict=True))
        assert tuple(s.stop - s.start for s in box) == (64, 64, 32)
        assert inside[box].any()
        covered[box] = True
    assert covered[inside].all()


def test_random_masks_are_covered() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        shape = tuple(int(n) for n in torch.randint(16, 60, (3,), generator=generator))
        inside = torch.rand(shape, generator=generator) > 0.999
        covered = torch.zeros_like(inside)
        for box in lung_windows(inside, (16, 16, 16), 0.25):
            covered[box] = True
        assert covered[inside].all()


def test_far_fewer_windows_than_a_grid_over_everything() -> None:
    inside = two_lungs((300, 220, 150))
    grid = 7 * 5 * 7  # windows of 64 x 64 x 32 with steps of 48 x 48 x 24 over 300 x 220 x 150
    assert len(lung_windows(inside, (64, 64, 32), 0.25)) < 0.6 * grid


def test_no_lung_no_window() -> None:
    inferer = LungWindowInferer(torch.zeros((32, 32, 32), dtype=torch.bool), (32, 32, 32), 0.25)
    assert (inferer(torch.ones(1, 1, 32, 32, 32), nn.Identity()) == NOTHING).all()


def test_blending_keeps_what_every_window_says() -> None:
    """A network that answers voxel by voxel gives itself, wherever its windows meet."""
    image = torch.rand(1, 1, 100, 80, 50, generator=torch.Generator().manual_seed(1))
    inside = two_lungs((100, 80, 50))
    done: list[float] = []
    logits = LungWindowInferer(inside, (32, 32, 16), 0.25, batch=3, progress=done.append)(image, nn.Identity())
    torch.testing.assert_close(logits[0, 0][inside], image[0, 0][inside], atol=1e-5, rtol=1e-5)
    assert done == sorted(done)
    assert done[-1] == 1


@pytest.mark.parametrize("window", [(64, 64, 32), (48, 48, 24), (16, 5, 1)])
def test_weights_are_those_of_monai(window: tuple[int, int, int]) -> None:
    assert torch.equal(gaussian(window), compute_importance_map(window, mode="gaussian").clamp(min=1e-3))


@pytest.mark.parametrize("shape", [(20, 13, 9), (1, 5, 2), (1, 1, 1)])
def test_a_wider_mask_is_that_of_max_pooling(shape: tuple[int, int, int]) -> None:
    share = torch.rand(shape, generator=torch.Generator().manual_seed(2)) ** 20
    pooled = nn.functional.max_pool3d(share[None, None], 3, 1, 1)[0, 0] > 0.25
    assert torch.equal(dilated(share > 0.25), pooled)


def test_an_analysis_doesnt_wait_for_the_import_of_monai() -> None:
    """It took more than half of a command's start; neither does torch's compiler belong there."""
    code = (
        "import sys, monai_lung.pipeline, monai_lung.inference, monai_lung.report.html.page, monai_lung.io;"
        "from monai_lung.lungs.segment import segment_lungs;"
        "print(sorted({'monai', 'ignite', 'matplotlib', 'pandas', 'torch._dynamo'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
