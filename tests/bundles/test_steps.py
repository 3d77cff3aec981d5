"""The steps of the bundles' chains, each alone: their examples, and that they do what the functions below them do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from monai.transforms import Compose, CopyItemsd, Lambdad, Orientationd, Spacingd

from monai_lung.bundle.cases import image_of
from monai_lung.bundle.finding import LungSlidingWindowInferer
from monai_lung.bundle.rating import SplitNodulesd
from monai_lung.definitions import read_config
from monai_lung.errors import InputError, LungsNotFoundError, MaskError
from monai_lung.grid import Grid, resample
from monai_lung.inference.find import find_image
from monai_lung.model import CT, LPS_RAS, Lungs, Outline, Seed
from monai_lung.stages import FindSettings
from monai_lung.transforms import AveragedSpacingd, LungWindowd, NearLungsd
from monai_lung.weights import bundle_dir

LABELS = (("L", "R"), ("P", "A"), ("I", "S"))


def stored(flips: tuple[int, ...], order: tuple[int, int, int]) -> tuple[CT, Lungs]:
    """A CT of noise with two lungs, stored one way or another; slices thinner than the network's."""
    rng = np.random.default_rng(0)
    hu = rng.normal(-800, 200, (44, 40, 36)).round().clip(-1024, 1000).astype(np.int16)
    lungs = np.zeros(hu.shape, np.uint8)
    lungs[6:18, 8:30, 5:30], lungs[24:38, 8:30, 5:30] = 1, 2
    grid = Grid.around((10.0, -20.0, 30.0), (0.7, 0.7, 0.8), hu.shape)
    step = tuple(slice(None, None, -1 if axis in flips else 1) for axis in range(3))
    affine = grid.affine_lps.copy()
    for axis in flips:
        affine[:3, 3] += affine[:3, axis] * (hu.shape[axis] - 1)
        affine[:3, axis] *= -1
    affine[:, :3] = affine[:, list(order)]
    turned = np.ascontiguousarray(hu[step].transpose(order)), np.ascontiguousarray(lungs[step].transpose(order))
    return CT(turned[0], affine, "c", "c"), Lungs(turned[1], 1.0, 1.0)


@pytest.mark.parametrize("flips", [(), (0,), (1, 2)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_the_chain_shows_the_network_what_the_function_shows_it(flips, order) -> None:
    ct, lungs = stored(flips, order)
    settings = FindSettings((1.0, 1.0, 2.0), (16, 16, 8), 0.25, 0.3, 0.6)
    image, inside, grid = find_image(ct, lungs, settings)
    chain = Compose(
        [
            Orientationd(["image", "inside"], axcodes="LPS", labels=LABELS),
            Lambdad("inside", lambda labels: labels > 0),
            AveragedSpacingd(
                ["image", "inside"],
                settings.spacing_mm,
                outside=[-1024, 0],
                mask_key="inside",
                at_least=settings.window,
            ),
            NearLungsd("inside"),
            LungWindowd("image"),
        ]
    )
    labels = MetaTensor(torch.from_numpy(lungs.labels)[None], affine=image_of(ct).affine)
    seen = chain({"image": image_of(ct), "inside": labels})
    torch.testing.assert_close(seen["image"].as_tensor(), image[0], rtol=0, atol=0)
    assert torch.equal(seen["inside"].as_tensor()[0], inside)
    np.testing.assert_allclose(LPS_RAS @ seen["image"].affine.numpy(), grid.affine_lps, atol=1e-9)


def test_averaging_takes_the_noise_that_interpolation_keeps() -> None:
    noise = torch.from_numpy(np.random.default_rng(1).normal(0, 30, (1, 48, 48, 48)).astype(np.float32))
    image = MetaTensor(noise, affine=torch.diag(torch.tensor([-0.5, -0.5, 0.5, 1.0])))
    averaged = AveragedSpacingd("image", (2.0, 2.0, 2.0))({"image": image})["image"]
    interpolated = Spacingd("image", (2.0, 2.0, 2.0))({"image": image})["image"]
    assert float(averaged.std()) < 6
    assert float(interpolated.std()) > 20
    np.testing.assert_allclose(averaged.pixdim, 2)


def test_what_was_resampled_goes_back_to_its_own_grid() -> None:
    ramp = torch.arange(40.0)[None, :, None, None].expand(1, 40, 36, 32).contiguous()
    image = MetaTensor(ramp, affine=torch.diag(torch.tensor([-0.8, -0.8, 1.0, 1.0])))
    step = AveragedSpacingd("image", (1.6, 1.6, 2.0))
    back = step.inverse(step({"image": image}))["image"]
    assert back.shape == image.shape
    torch.testing.assert_close(back.affine, image.affine)
    torch.testing.assert_close(back[0, 3:-3].as_tensor(), ramp[0, 3:-3], atol=0.01, rtol=0)
    assert not back.applied_operations


def test_what_cannot_be_resampled_is_refused() -> None:
    with pytest.raises(InputError, match="no voxel size"):
        AveragedSpacingd("image", (1, 1, 1))({"image": torch.zeros(1, 4, 4, 4)})
    image = MetaTensor(torch.zeros(1, 4, 4, 4), affine=torch.eye(4))
    with pytest.raises(LungsNotFoundError):
        AveragedSpacingd("image", (1, 1, 1), mask_key="lungs")({"image": image, "lungs": image})
    with pytest.raises(MaskError, match="don't fit"):
        SplitNodulesd()({"ct": image, "mask": np.zeros((1, 5, 4, 4), int)})


def test_without_lungs_the_inferer_is_monais_own() -> None:
    network = torch.nn.Conv3d(1, 1, 3, padding=1)
    image = torch.rand(1, 1, 24, 20, 20)
    own, monais = (kind((16, 16, 16), 4, 0.5, "gaussian") for kind in (LungSlidingWindowInferer, SlidingWindowInferer))
    assert isinstance(own, SlidingWindowInferer)
    with torch.no_grad():
        torch.testing.assert_close(own(image, network), monais(image, network))
        everywhere = own(image, network, inside=torch.ones_like(image, dtype=torch.bool))
        torch.testing.assert_close(everywhere, monais(image, network), atol=0.05, rtol=0.05)  # bfloat16 where it's fast


def test_a_copy_of_the_items_stays_as_it_was() -> None:
    ct, lungs = stored((), (0, 1, 2))
    labels = MetaTensor(torch.from_numpy(lungs.labels)[None], affine=image_of(ct).affine)
    items = CopyItemsd(["image"], names=["own"])({"image": image_of(ct), "lungs": labels})
    out = AveragedSpacingd("image", (2, 2, 2), mask_key="lungs", margin_mm=1)(items)
    assert torch.equal(out["own"].as_tensor()[0], torch.from_numpy(ct.hu))
    wide = resample(ct.hu, ct.grid, ct.grid.covering((2, 2, 2)))
    assert out["image"].shape[1] < wide.shape[0]


def block(size: int, offset: tuple[int, int, int]) -> Outline:
    mask = np.ones((size, size, size), bool)
    return Outline(mask, mask.astype(np.float32), offset, Seed((0.0, 0.0, 0.0), 1.0, float(size)))


@pytest.mark.parametrize("bundle", ["lung_nodule_segmentation", "lung_nodule_analysis"])
def test_an_outline_outside_the_lungs_takes_no_nodule_with_it(bundle: str) -> None:
    """A large outline that isn't of a lung won against the nodule at its rim, and then went itself."""
    steps = read_config(bundle_dir(bundle))["postprocessing"]["transforms"]
    chosen = [step for step in steps if step["_target_"].rpartition(".")[2] in ("KeepInLungsd", "DropDoublesd")]
    ct = MetaTensor(torch.zeros(1, 40, 40, 40, dtype=torch.int16), affine=torch.eye(4))
    lungs = torch.zeros_like(ct)
    lungs[:, :8] = 1
    nodule, colon = block(4, (3, 20, 20)), block(30, (5, 5, 5))
    items = {"ct": ct, "lungs": lungs, "nodules": [colon, nodule, nodule]}
    for step in chosen:
        items = ConfigParser({"step": step}).get_parsed_content("step")(items)
    assert [outline.offset for outline in items["nodules"]] == [nodule.offset]
