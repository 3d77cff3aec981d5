"""Networks that segment, on the crops of nodules: training, predictions and their scores, a fold at a time."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from monai_lung.bundle.segmentation_scores import dice
from monai_lung.data.crops import Crop
from monai_lung.inference.delineate import LOOKS, Patch, delineate_each, probabilities
from monai_lung.inference.networks import DelineateSettings, Delineator, load_delineator
from monai_lung.labels import center_seed
from monai_lung.networks import ResUNet3d
from monai_lung.networks.plain import PlainResUNet3d
from monai_lung.training.datasets import DelineateDataset
from monai_lung.training.losses import TrustedBceDice
from research.study import baselines
from research.study.fit import Schedule, fit
from research.study.store import Predictions, Study, crop_ct, installed_key, trained_key

log = logging.getLogger(__name__)
STEM = (2, 2, 1)
BCE_SHARE = 3 / 64
"""Share of the training with cross-entropy alone: three of the paper's 64 epochs."""
_RATE = 2e-3
THRESHOLDS = tuple(round(0.05 * n, 2) for n in range(3, 13))
_TUNED_ON = 60
"""Training nodules that the threshold is chosen on."""
SHIPPED = "shipped"
SHIPPED_FOLD = 0
"""The fold that the shipped weights never saw."""


@dataclass(frozen=True)
class Segmenter:
    """A network of the comparison.

    Attributes:
        label: in tables.
        build: from a width.
        width: the name whose width of the budget it has.
        loss: "both" is cross-entropy and Dice; "bce-dice" the one, then the other.
        data: options of `DelineateDataset` that differ from the others'.
        table: in the comparison; False for the ablation alone.
    """

    label: str
    build: Callable[[int], nn.Module]
    width: str
    loss: Literal["both", "dice", "bce-dice"] = "both"
    data: Mapping[str, Any] = field(default_factory=dict)
    table: bool = True


def _ours(width: int) -> nn.Module:
    return ResUNet3d(width=width, levels=3, stem=STEM)


def _plain(width: int) -> nn.Module:
    return PlainResUNet3d(width=width, levels=3, stem=STEM)


def _paper(width: int) -> nn.Module:
    return ResUNet3d(width=width, levels=4)


SEGMENTERS = {
    "res-unet": Segmenter("Res U-Net, folded 2 x 2 (ours)", _ours, "res-unet"),
    "unet": Segmenter("3D U-Net, Dice only", baselines.unet, "unet", "dice"),
    "dyn-unet": Segmenter("DynUNet, deep supervision", baselines.dyn_unet, "dyn-unet"),
    "paper": Segmenter("Res U-Net of the paper, BCE then Dice", _paper, "paper", "bce-dice"),
    "fcn": Segmenter("FCN", baselines.Fcn3d, "fcn"),
    "pspnet": Segmenter("PSPNet", baselines.PspNet3d, "pspnet"),
    "mss-unet": Segmenter("MSS U-Net", baselines.MssUNet3d, "mss-unet"),
    "v-net": Segmenter("V-Net", baselines.VNet3d, "v-net"),
    "residual-bce-dice": Segmenter("residual units, BCE then Dice", _ours, "res-unet", "bce-dice", table=False),
    "plain-bce-dice": Segmenter("no residual units, BCE then Dice", _plain, "res-unet", "bce-dice", table=False),
    "residual-dice": Segmenter("residual units, Dice from the start", _ours, "res-unet", "dice", table=False),
    "plain-dice": Segmenter("no residual units, Dice from the start", _plain, "res-unet", "dice", table=False),
    "plain": Segmenter("no residual units", _plain, "res-unet", table=False),
    "half-targets": Segmenter(
        "targets: what half of the readers marked", _ours, "res-unet", data={"target": "half"}, table=False
    ),
    "plain-crops": Segmenter("no augmentation", _ours, "res-unet", data={"augment": False}, table=False),
}
OURS = "res-unet"
"""The ablations' changes, and whose masks are rated."""


def run(study: Study, name: str, fold: int) -> None:
    """Train `name` on the other folds and delineate the nodules of `fold`, unless that's done already.

    `SHIPPED` isn't trained: the installed bundle delineates the nodules of its own held-out fold.
    """
    path = study.path("segmentation", name, fold)
    shipped = name == SHIPPED
    if shipped and fold != SHIPPED_FOLD:
        return
    if load(study, name, fold):
        return
    facts = facts_of(study, name)
    log.info("segmentation: %s, fold %d", name, fold)
    train, held = study.split(fold)
    losses: Sequence[float] = ()
    if shipped:
        delineator = load_delineator(study.device)
    else:
        task = study.budget.segmentation
        segmenter = SEGMENTERS[name]
        torch.manual_seed(study.seed)
        network = segmenter.build(study.budget.widths[segmenter.width]).to(study.device)
        dataset = DelineateDataset(train, task.spacing_mm, task.patch, seed=fold, **segmenter.data)
        history = fit(network, dataset, schedule_of(study, name), study.device, study.seed)
        losses = history.loss
        weights = sum(p.numel() for p in network.parameters())
        facts |= {"seconds": history.seconds, "parameters": weights}
        delineator = Delineator(network, DelineateSettings(task.spacing_mm, task.patch, 0.5), study.device)
        few = np.random.default_rng(study.seed).choice(len(train), min(_TUNED_ON, len(train)), replace=False)
        facts["threshold"] = threshold = best_threshold([train[n] for n in few], delineator)
        delineator = replace(delineator, delineate_settings=DelineateSettings(task.spacing_mm, task.patch, threshold))
    masks = {c.row.id: np.packbits(delineated(c, delineator)) for c in held}
    Predictions(list(masks), masks, losses, facts).save(path)


def facts_of(study: Study, name: str) -> dict[str, float]:
    """The facts that the predictions of a network depend on."""
    if name == SHIPPED:
        return {"installed": installed_key(), "looks": LOOKS}
    return trained_key(study.budget.segmentation, study.budget.widths[SEGMENTERS[name].width]) | {"looks": LOOKS}


def load(study: Study, name: str, fold: int) -> Predictions | None:
    """Predictions of a fold, None where the network, as this budget trains it, wasn't run on it."""
    return Predictions.current(study.path("segmentation", name, fold), facts_of(study, name))


def schedule_of(study: Study, name: str) -> Schedule:
    """Steps and losses of a network."""
    segmenter, task = SEGMENTERS[name], study.budget.segmentation
    steps = task.steps
    bce, dice = TrustedBceDice(dice_weight=0.0), TrustedBceDice(0.0)
    if segmenter.loss == "bce-dice":
        first = max(1, round(BCE_SHARE * steps))
        return Schedule(steps, task.batch, _RATE, dice, bce, first)
    loss = dice if segmenter.loss == "dice" else TrustedBceDice()
    return Schedule(steps, task.batch, _RATE, loss)


def best_threshold(crops: Sequence[Crop], delineator: Delineator) -> float:
    """The probability in 0.15 ... 0.6 that makes the best mean Dice on `crops`, which should be of training patients.

    Args:
        crops: some nodules.
        delineator: with a threshold of 0.5, so that its probabilities aren't shifted.
    """
    scores = np.zeros((len(crops), len(THRESHOLDS)))
    for n, crop in enumerate(crops):
        ct = crop_ct(crop)
        seed = center_seed(ct)
        patch = Patch(ct, seed, 1.0, delineator.delineate_settings, np.array(seed.center_mm))
        logit = torch.logit(probabilities([patch], delineator)[0], 1e-6)
        for k, threshold in enumerate(THRESHOLDS):
            outline, _ = patch.outline(torch.sigmoid(logit - math.log(threshold / (1 - threshold))))
            mask = np.zeros(crop.hu.shape, bool)
            if outline is not None:
                mask[outline.box] = outline.mask
            scores[n, k] = dice(mask, crop.share >= 0.5)
    return float(THRESHOLDS[int(scores.mean(0).argmax())])


def delineated(crop: Crop, delineator: Delineator) -> NDArray[np.bool_]:
    """Mask (X, Y, Z) on the crop's grid of the nodule at its centre; empty where the network sees none."""
    ct = crop_ct(crop)
    mask = np.zeros(crop.hu.shape, bool)
    outline = delineate_each(ct, [center_seed(ct)], delineator)[0]
    if outline is not None:
        mask[outline.box] = outline.mask
    return mask


def load_masks(study: Study, name: str, fold: int) -> dict[str, NDArray[np.bool_]] | None:
    """Predicted masks of a fold by nodule, None where the network wasn't run on it."""
    found = load(study, name, fold)
    if found is None:
        return None
    stored = found.values
    shapes = {c.row.id: c.hu.shape for c in study.split(fold)[1]}
    return {i: np.unpackbits(stored[i], count=int(np.prod(s))).reshape(s).astype(bool) for i, s in shapes.items()}
