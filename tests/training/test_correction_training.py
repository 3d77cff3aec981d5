"""The simulated person who corrects, and what the correcting network learns from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from crop_builder import ball_crop

from monai_lung.errors import UsageError
from monai_lung.inference.networks import Delineator
from monai_lung.networks import ResUNet3d
from monai_lung.stages import DelineateSettings
from monai_lung.training.corrections import (
    ClickOnErrors,
    OutlineToCorrectd,
    SimulatedClicksd,
    WantedOutlined,
    with_clicks,
)
from monai_lung.training.datasets import ContinueInZd
from monai_lung.training.simulated_clicks import next_click

SPACING = (0.625, 0.625, 1.25)
ONES = np.ones(3)


def block(*bounds: tuple[int, int], shape: tuple[int, int, int] = (20, 20, 20)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*b) for b in bounds)] = True
    return mask


def test_the_person_clicks_the_middle_of_the_largest_error() -> None:
    truth = block((2, 13), (2, 9), (2, 9))
    mask = block((2, 8), (2, 9), (2, 9)) | block((15, 18), (15, 18), (15, 18))
    missed = next_click(mask, truth, ONES)
    assert missed is not None
    assert (missed.adds, missed.index) == (True, (10, 5, 5))
    many = next_click(truth | block((15, 18), (15, 18), (15, 18)), truth, ONES)
    assert many is not None
    assert (many.adds, many.index) == (False, (16, 16, 16))
    assert next_click(truth, truth, ONES) is None
    assert next_click(mask, truth, ONES, known=block((0, 8), (0, 20), (0, 20))) is None, "errors where no one knows"


def test_missed_and_too_many_that_touch_are_two_errors() -> None:
    truth, mask = block((4, 8), (4, 8), (4, 8)), block((8, 14), (4, 8), (4, 8))
    click = next_click(mask, truth, ONES)
    assert click is not None
    assert click.adds is False
    assert 8 <= click.index[0] < 14


def test_a_person_who_does_not_measure_still_clicks_inside_the_error() -> None:
    truth = block((2, 12), (2, 9), (2, 9))
    clicks = {next_click(np.zeros_like(truth), truth, ONES, rng=np.random.default_rng(n)) for n in range(20)}
    assert len(clicks) > 3
    assert all(click is not None and click.adds and truth[click.index] for click in clicks)


def test_without_clicks_it_starts_as_the_network_that_delineates() -> None:
    small = {"width": 4, "levels": 2, "stem": (2, 2, 1)}
    torch.manual_seed(0)
    delineator = ResUNet3d(**small).eval()
    network = with_clicks(ResUNet3d(in_channels=4, **small).eval(), delineator)
    image = torch.rand(2, 4, 16, 16, 8)
    with torch.inference_mode():
        torch.testing.assert_close(network(image), delineator(image[:, :1]))
    with pytest.raises(UsageError, match="network that delineates"):
        with_clicks(ResUNet3d(in_channels=4, width=8, levels=2, stem=(2, 2, 1)), delineator)


def test_what_is_wanted_is_the_majority_or_one_reader() -> None:
    crop = ball_crop()
    step = ContinueInZd(8.0)

    def wanted(one_reader: float, seed: int) -> int:
        item = step({"crop": crop, "rng": np.random.default_rng(seed)})
        return int(WantedOutlined(one_reader)(item)["long"].channels[1].sum())

    sizes = [int(((crop.readers >> k) & 1).sum()) for k in range(4)]
    assert {wanted(0.0, seed) for seed in range(3)} == {int((crop.share >= 0.5).sum())}
    assert {wanted(1.0, seed) for seed in range(12)} == set(sizes)


class Ball(torch.nn.Module):
    """A delineating network that sees dense voxels."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 8 * (image - 0.4)


DELINEATOR = Delineator(Ball(), DelineateSettings(SPACING, (32, 32, 16), 0.5), torch.device("cpu"))


def an_item(seed: int = 0) -> dict[str, Any]:
    index = np.moveaxis(np.indices((32, 32, 16)), 0, -1)
    away = np.linalg.norm((index - [15.5, 15.5, 7.5]) * SPACING, axis=-1)
    truth = away <= 5
    image = np.clip(1 - away / 8, 0, 1)[None].astype(np.float32)
    label = np.stack([truth, np.ones_like(truth)]).astype(np.float32)
    rng = np.random.default_rng(seed)
    return {"image": torch.from_numpy(image), "label": torch.from_numpy(label), "rng": rng}


def test_outlines_are_the_networks_or_disturbed() -> None:
    plain = OutlineToCorrectd(DELINEATOR, SPACING)(an_item())["outline"]
    np.testing.assert_array_equal(plain[0] > 0, an_item()["image"][0] >= 0.4)
    disturbed = [OutlineToCorrectd(DELINEATOR, SPACING, 1.0)(an_item(seed))["outline"] for seed in range(12)]
    sizes = [float(one.sum()) / float(plain.sum()) for one in disturbed]
    assert min(sizes) < 0.95
    assert max(sizes) > 1.05
    again = OutlineToCorrectd(DELINEATOR, SPACING, 1.0)(an_item(3))["outline"]
    assert torch.equal(again, disturbed[3]), "an item draws the same whenever it's drawn"


def test_clicks_add_in_what_is_missed_and_cut_in_what_is_too_much() -> None:
    item = an_item()
    item["outline"] = torch.roll(item["label"][:1], 6, 1)
    add, cut = SimulatedClicksd(SPACING, 1.25, most=6, mean=None)(item)["clicks"]
    truth, outline = item["label"][0] > 0, item["outline"][0] > 0
    assert (add == 1).any()
    assert (cut == 1).any()
    assert (truth & ~outline)[add == 1].all()
    assert (outline & ~truth)[cut == 1].all()
    none = SimulatedClicksd(SPACING, 1.25, most=0)(item)["clicks"]
    assert not none.any()
    item["outline"] = item["label"][:1]
    assert not SimulatedClicksd(SPACING, 1.25, most=6, mean=None)(item)["clicks"].any(), "nothing is wrong"


def test_the_person_clicks_on_the_networks_own_errors_too() -> None:
    """The same clicks in the same step of a resumed training; the batch that was drawn stays as it is."""
    item = an_item()
    image = torch.cat([item["image"], item["label"][:1], torch.zeros(2, 32, 32, 16)])
    batch = {"image": image[None], "label": item["label"][None]}
    seen = []
    engine = SimpleNamespace(
        network=lambda image: image[:, :1] - 0.7,
        state=SimpleNamespace(iteration=0, device=torch.device("cpu")),
        _iteration=lambda engine, batch: seen.append(batch["image"]),
    )
    for iteration in (*range(1, 12), 1):
        engine.state.iteration = iteration
        ClickOnErrors(SPACING, 1.25, most=2)(engine, batch)
    counts = [float((one[0, 2] == 1).sum()) for one in seen]
    assert set(counts) == {0, 1, 2}
    assert not any(one[0, 3].any() for one in seen), "its outline is too small: there is nothing to cut"
    assert torch.equal(seen[0], seen[-1])
    assert not batch["image"][0, 2].any()
