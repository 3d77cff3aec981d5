"""Window, spacing, lung mask, sub-cases and nodule ROI as MONAI transforms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose
from torso import Torso, dice, grid, scan

from monai_lung import transforms
from monai_lung.errors import InputError, LungsNotFoundError, MaskError
from monai_lung.transforms import (
    CropToLungs,
    CropToLungsd,
    LungMask,
    LungMaskd,
    LungParenchymad,
    LungSpacingd,
    LungWindow,
    LungWindowd,
    NoduleRoi,
    NoduleRoid,
    SubCases,
    SubCasesd,
)

AFFINE = torch.diag(torch.tensor([-1.5, -1.5, 3.0, 1.0], dtype=torch.float64))
AFFINE[:3, 3] = torch.tensor([120.0, 90.0, -300.0])


def image_of(shape: tuple[int, int, int], dtype: torch.dtype = torch.float32) -> MetaTensor:
    values = np.random.default_rng(0).integers(-1000, 400, (1, *shape))
    return MetaTensor(torch.as_tensor(values, dtype=dtype), affine=AFFINE)


def mask_of(shape: tuple[int, int, int], *box: slice) -> MetaTensor:
    mask = torch.zeros((1, *shape), dtype=torch.uint8)
    mask[(0, *box)] = 1
    return MetaTensor(mask, affine=AFFINE)


def world(image: MetaTensor, index: tuple[int, int, int]) -> np.ndarray:
    return (image.affine.numpy() @ [*index, 1])[:3]


def test_every_name_can_be_imported():
    for name in transforms.__all__:
        assert getattr(transforms, name) is not None
    with pytest.raises(AttributeError, match="NoSuchTransform"):
        transforms.NoSuchTransform  # noqa: B018


def test_window():
    hu = torch.tensor([[[[-2000.0, -1000.0, -300.0, 400.0, 3000.0]]]])
    expected = torch.tensor([[[[0.0, 0.0, 0.5, 1.0, 1.0]]]])
    assert torch.allclose(torch.as_tensor(LungWindow()(hu)), expected)
    whole_numbers = LungWindowd("image")({"image": hu.to(torch.int16)})["image"]
    assert whole_numbers.dtype == torch.float32
    assert torch.allclose(torch.as_tensor(whole_numbers), expected)


def test_spacing_of_metatensor_and_back():
    image = image_of((41, 45, 31)).as_tensor()
    to_grid = LungSpacingd("image")
    fine = MetaTensor(image, affine=torch.diag(torch.tensor([-0.75, -0.75, 1.5, 1.0], dtype=torch.float64)))
    small = to_grid({"image": fine})
    assert small["image"].shape == (1, 21, 23, 16)
    assert np.allclose(small["image"].pixdim, (1.5, 1.5, 3.0))
    assert to_grid.inverse(small)["image"].shape == image.shape


def test_spacing_of_a_plain_array_takes_the_affine_beside_it():
    image = image_of((40, 44, 30)).as_tensor()
    affine = np.diag([-0.75, -0.75, 1.5, 1.0])
    plain = {"image": image.numpy(), "image_meta_dict": {"affine": affine}}
    expected = LungSpacingd("image")({"image": MetaTensor(image, affine=torch.as_tensor(affine))})["image"]
    assert torch.equal(torch.as_tensor(LungSpacingd("image")(plain)["image"]), torch.as_tensor(expected))


@pytest.mark.parametrize("beside", [{}, {"image_meta_dict": {}}, {"image_meta_dict": None}])
def test_spacing_never_guesses_an_affine(beside):
    with pytest.raises(InputError, match="no affine"):
        LungSpacingd("image")({"image": image_of((8, 8, 8)).numpy(), **beside})


def test_lung_mask_of_a_metatensor():
    sample = scan(Torso(), *grid(spacing_mm=(3.0, 3.0, 4.0), flips=(-1, 1, 1)))
    affine_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ sample.affine_lps
    image = MetaTensor(torch.as_tensor(sample.hu[None], dtype=torch.float32), affine=torch.as_tensor(affine_ras))
    items = Compose([LungMaskd("image"), LungParenchymad("image")])({"image": image})
    lungs = items["lungs"]
    assert isinstance(lungs, MetaTensor)
    assert lungs.dtype == torch.uint8
    assert torch.equal(lungs.affine, image.affine)
    for side in (1, 2):
        assert dice(lungs[0].numpy() == side, sample.truth == side) > 0.98
    inside = lungs > 0
    assert (items["image"][~inside] == -1024).all()
    assert torch.equal(torch.as_tensor(items["image"][inside]), torch.as_tensor(image[inside]))


def test_lung_mask_refuses_what_has_no_side_or_no_lungs():
    with pytest.raises(InputError, match="affine"):
        LungMask()(torch.zeros(1, 8, 8, 8))
    with pytest.raises(InputError, match=r"\(1, X, Y, Z\)"):
        LungMask()(MetaTensor(torch.zeros(2, 8, 8, 8), affine=AFFINE))
    with pytest.raises(LungsNotFoundError):
        LungMask()(MetaTensor(torch.zeros(1, 32, 32, 32), affine=AFFINE))
    with pytest.raises(ValueError, match="one key"):
        LungMaskd(["a", "b"])
    with pytest.raises(MaskError, match="don't fit"):
        LungParenchymad("image")({"image": torch.zeros(1, 8, 8, 8), "lungs": torch.zeros(1, 8, 8, 9)})


def test_crop_to_lungs_and_back():
    image, lungs = image_of((60, 50, 40)), mask_of((60, 50, 40), slice(20, 40), slice(0, 30), slice(5, 20))
    crop = CropToLungsd(["image", "lungs"], margin_mm=6.0)
    items = crop({"image": image, "lungs": lungs})
    assert items["image"].shape == (1, 28, 34, 19)
    assert np.allclose(world(items["image"], (0, 0, 0)), world(image, (16, 0, 3)))
    back = crop.inverse(items)
    assert torch.equal(torch.as_tensor(back["lungs"]), torch.as_tensor(lungs))
    assert torch.equal(
        torch.as_tensor(back["image"][..., 16:44, :34, 3:22]), torch.as_tensor(image[..., 16:44, :34, 3:22])
    )


def test_empty_mask_is_refused():
    image, empty = image_of((20, 20, 20)), mask_of((20, 20, 20), slice(0, 0), slice(0, 0), slice(0, 0))
    for cut in (CropToLungs(), SubCases(), NoduleRoi()):
        with pytest.raises(MaskError, match="empty"):
            cut(image, empty)


@pytest.mark.parametrize(
    ("slices", "number"), [(slice(10, 20), 2), (slice(4, 100), 2), (slice(4, 101), 3), (slice(0, 150), 4)]
)
def test_subcases_cover_the_lungs(slices, number):
    shape = (200, 180, 150)
    image, lungs = image_of(shape), mask_of(shape, slice(30, 170), slice(20, 160), slices)
    cut = SubCases()
    parts, starts = cut(image, lungs), cut.starts(lungs)
    assert len(parts) == len(starts) == number
    for part, start in zip(parts, starts, strict=True):
        assert part.shape == (1, 192, 192, 48)
        assert np.allclose(world(part, (0, 0, 0)), world(image, start))
    merged = cut.merge(parts, starts, shape)
    assert torch.allclose(merged[lungs > 0], torch.as_tensor(image[lungs > 0]), atol=1e-3)


def test_two_subcases_lie_centred_on_the_lungs():
    starts = SubCases().starts(mask_of((200, 200, 120), slice(40, 160), slice(50, 150), slice(30, 90)))
    assert starts == [(4, 4, 12), (4, 4, 60)]


def test_lungs_wider_than_a_subcase_lose_nothing():
    shape = (240, 100, 60)
    image, lungs = image_of(shape), mask_of(shape, slice(5, 235), slice(10, 90), slice(5, 50))
    cut = SubCases()
    starts = cut.starts(lungs)
    assert len(starts) == 4
    merged = cut.merge(cut(image, lungs), starts, shape)
    assert torch.allclose(merged[lungs > 0], torch.as_tensor(image[lungs > 0]), atol=1e-3)


def test_merge_averages_overlaps():
    cut = SubCases(size=(4, 4, 4), fewest=(1, 1, 1))
    parts = [torch.zeros(2, 4, 4, 4), torch.ones(2, 4, 4, 4)]
    merged = cut.merge(parts, [(0, 0, 0), (0, 0, 2)], (4, 4, 8))
    assert merged.shape == (2, 4, 4, 8)
    assert merged[0, 0, 0].tolist() == [0, 0, 0.5, 0.5, 1, 1, 0, 0]


def test_subcases_of_a_dictionary():
    shape = (100, 90, 80)
    image, lungs = image_of(shape), mask_of(shape, slice(10, 90), slice(10, 80), slice(10, 70))
    chain = Compose([SubCasesd(["image", "lungs"], fill=(-1024.0, 0.0)), LungWindowd("image")])
    subcases = chain({"image": image, "lungs": lungs, "name": "case"})
    assert [subcase["image"].shape for subcase in subcases] == [(1, 192, 192, 48)] * 2
    assert {subcase["name"] for subcase in subcases} == {"case"}
    assert float(subcases[0]["image"][0, 0, 0, 0]) == 0  # beyond the image is air
    merged = SubCasesd("image").merge(subcases, "lungs")
    assert torch.equal(merged > 0, torch.as_tensor(lungs) > 0)


@pytest.mark.parametrize("corner", [(50, 40, 30), (0, 0, 0), (90, 70, 55)])
def test_nodule_roi_is_centred_and_padded(corner):
    shape = (100, 80, 60)
    box = tuple(slice(c, c + 5) for c in corner)
    image, nodule = image_of(shape), mask_of(shape, *box)
    roi = NoduleRoid(["image", "nodule"], fill=(-1024.0, 0.0))
    items = roi({"image": image, "nodule": nodule})
    assert items["image"].shape == items["nodule"].shape == (1, 48, 48, 16)
    assert items["nodule"].sum() == 125
    middle = [float(np.mean(n)) for n in np.nonzero(items["nodule"][0].numpy())]
    assert np.allclose(middle, (24, 24, 8), atol=0.5)
    first = [int(np.min(n)) for n in np.nonzero(items["nodule"][0].numpy())]
    assert np.allclose(world(items["image"], first), world(image, corner))
    assert torch.equal(torch.as_tensor(roi.inverse(items)["nodule"]), torch.as_tensor(nodule))


def test_nodule_roi_keeps_the_type():
    image, nodule = image_of((30, 30, 30), torch.int16), mask_of((30, 30, 30), *[slice(2, 5)] * 3)
    roi = NoduleRoi()(image, nodule)
    assert roi.dtype == torch.int16
    assert int(roi.min()) == -1024


def test_transforms_compose_in_a_bundle_config():
    names = ["LungSpacingd", "LungMaskd", "CropToLungsd", "LungParenchymad", "LungWindowd"]
    keys: dict[str, object] = {"CropToLungsd": ["image", "lungs"]}
    config = {
        "chain": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": f"monai_lung.transforms.{name}", "keys": keys.get(name, "image")} for name in names
            ],
        }
    }
    chain = ConfigParser(config).get_parsed_content("chain")
    sample = scan(Torso(), *grid(spacing_mm=(3.0, 3.0, 3.0)))
    affine_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ sample.affine_lps
    items = chain(
        {"image": MetaTensor(torch.as_tensor(sample.hu[None], dtype=torch.float32), affine=torch.as_tensor(affine_ras))}
    )
    assert items["image"].shape == items["lungs"].shape
    assert np.allclose(items["image"].pixdim, (1.5, 1.5, 3.0))
    assert float(items["image"].min()) == 0
    assert 0.1 < float((items["lungs"] > 0).float().mean()) < 0.9
