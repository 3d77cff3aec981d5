"""Who says malignant: networks on the region of a nodule, and simple rules on what can be measured of it."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from monai_lung.bundle.rating import ball
from monai_lung.data.crops import Crop
from monai_lung.data.slices import NoduleSlice
from monai_lung.inference.networks import RateSettings
from monai_lung.inference.rate import mirrored_logits, region
from monai_lung.inference.slices import nodule_slices
from monai_lung.io.output import replacing
from monai_lung.labels import outlines_of
from monai_lung.model import CT, Outline
from monai_lung.networks import NoduleResNet50, SliceResNet
from monai_lung.networks.plain import resnet50
from monai_lung.training.losses import WeightedBce
from monai_lung.training.slice_dataset import SliceDataset, flat_crop, flat_slice
from monai_lung.transforms.rating import SLICE_TARGETS, TARGETS
from monai_lung.weights import resume
from research.study.budget import Task
from research.study.features import FEATURES, nodule_features
from research.study.fit import Loss, Schedule, fit
from research.study.regions import RegionDataset
from research.study.segmentation import OURS, load_masks
from research.study.store import Predictions, Study, crop_ct, trained_key

log = logging.getLogger(__name__)
MaskKind = Literal["readers", "predicted"]
_BATCH = 16
RIDGE = 1.0
"""Penalty of the kernel regression: about one example's worth, as the kernel is 1 at distance 0."""


class MalignancyNll(nn.Module):
    """The paper's loss of a rating: negative log-likelihood of benign or malignant, nothing else.

    Malignant is a target above 0.5 (the readers' mean rating above 3); 0.5, and what isn't rated, is left out.
    """

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Logits (N, T), label (N, 2, T) of target and weight, malignancy second of T -> a scalar."""
        logit, target, weight = logits[:, 1].float(), label[:, 0, 1], label[:, 1, 1]
        known = (weight > 0) & ((target - 0.5).abs() > 1e-6)
        nll = functional.binary_cross_entropy_with_logits(logit, (target > 0.5).float(), reduction="none")
        return (nll * known).sum() / known.sum().clamp(min=1)


@dataclass(frozen=True)
class Rater:
    """A network that rates.

    Attributes:
        width: its name in the budget's widths.
        loss: what it learns from.
        sees: a region in 3D, or slices; "crop slices" learns from the crops' slices alone, "slices" from all there are.
        balanced: benign, malignant and doubtful nodules are drawn equally often.
    """

    label: str
    build: Callable[[int], nn.Module]
    width: str
    loss: Loss
    sees: Literal["region", "slices", "crop slices"] = "region"
    rate: float = 1e-3
    balanced: bool = False

    def task(self, study: Study) -> Task:
        """How long it's trained, on what grid."""
        return study.budget.rating if self.sees == "region" else study.budget.slices


def _ours(width: int) -> nn.Module:
    strides = (2, 1, 2, 2, 1)
    return NoduleResNet50(3, len(TARGETS), width, strides=strides, dropout=0.2, mask_channel=2)


def _slices(width: int) -> nn.Module:
    return SliceResNet(3, len(SLICE_TARGETS), width, dropout=0.3)


def _plain(width: int) -> nn.Module:
    return resnet50(3, 2, width)


def _malignancy_alone(logits: Tensor, label: Tensor) -> Tensor:
    """`WeightedBce` of the malignancy, without the other ratings."""
    at = [SLICE_TARGETS.index("malignancy")]
    return WeightedBce()(logits[:, at], label[:, :, at])


RATERS = {
    "slices": Rater("small ResNet on slices (of which four ship)", _slices, "slices", WeightedBce(), "slices", 2e-3),
    "crop-slices": Rater(
        "small ResNet on slices, those of the crops alone", _slices, "slices", WeightedBce(), "crop slices", 2e-3
    ),
    "nodule-resnet": Rater("3D ResNet50 after the paper, all ratings (ours)", _ours, "nodule-resnet", WeightedBce()),
    "nodule-resnet-nll": Rater(
        "3D ResNet50 after the paper, benign or malignant", _ours, "nodule-resnet", MalignancyNll()
    ),
    "resnet50": Rater("plain 3D ResNet50", _plain, "resnet50", MalignancyNll()),
}
CHANGED = {
    "slices-balanced": replace(
        RATERS["slices"],
        label="benign, malignant, doubtful nodules drawn equally often, with replacement",
        balanced=True,
    ),
    "slices-alone": replace(RATERS["slices"], label="malignancy alone, no other rating", loss=_malignancy_alone),
}
"""The network on slices with one thing changed."""
ALL = RATERS | CHANGED
SIMPLE = {
    "diameter": "diameter alone, logistic",
    "regression": "18 measured features, logistic",
    "boosting": "18 measured features, gradient boosting",
    "kernel": "18 measured features, kernel regression",
}


def run(study: Study, name: str, fold: int) -> None:
    """Train the rater `name` on the other folds and rate the nodules of `fold` with both kinds of mask.

    The trained network is kept too: where masks weren't predicted for the fold yet, their scores are NaN, and a later
    call adds them without training, as it does where the masks are others now. Done already, nothing happens.
    """
    path = study.path("malignancy", name, fold)
    masks = load_masks(study, OURS, fold)
    rater = ALL[name]
    before = Predictions.current(path, trained_facts(study, rater))
    facts = masks_fact(study, fold)
    if before and facts.items() <= before.facts.items():
        return
    log.info("malignancy: %s, fold %d", name, fold)
    train, held = study.split(fold)
    weights = path.with_suffix(".pt")
    if before and not weights.is_file():
        before = None  # its network is lost: all scores have to be of one
    if before:
        network = resume(rater.build(study.budget.widths[rater.width]), weights).to(study.device).eval()
        losses, trained, known = before.loss, before.facts, before.values["readers"]
    else:
        flat = [s for s in study.slices if study.folds[s.row.patient] != fold] if rater.sees == "slices" else ()
        network, losses, trained = train_rater(study, rater, train, fold, flat)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(weights) as temporary:
            torch.save(network.state_dict(), temporary)
        known = rate(study, rater, network, held, [marked(c) for c in held])
    scores = {"readers": known}
    scores["predicted"] = np.full(len(held), np.nan)
    if masks is not None:
        scores["predicted"] = rate(study, rater, network, held, [masks[c.row.id] for c in held])
    Predictions([c.row.id for c in held], scores, losses, {**trained, **facts}).save(path)


def masks_fact(study: Study, fold: int) -> dict[str, float]:
    """Which predicted masks of a fold there are, as a fact of what was made with them; none without any."""
    path = study.path("segmentation", OURS, fold)
    return {"masks": float(zlib.crc32(path.read_bytes()))} if path.is_file() else {}


def train_rater(
    study: Study, rater: Rater, crops: Sequence[Crop], seed: int, slices: Sequence[NoduleSlice] = ()
) -> tuple[nn.Module, tuple[float, ...], dict[str, float]]:
    """A network trained on `crops`, what sees slices also on `slices`; its losses and facts."""
    task, facts = rater.task(study), trained_facts(study, rater)
    torch.manual_seed(study.seed)
    network = rater.build(study.budget.widths[rater.width]).to(study.device)
    dataset: RegionDataset | SliceDataset
    shares = None
    if rater.sees == "region":
        dataset = RegionDataset(crops, task.spacing_mm, task.patch, seed=seed)
    else:
        nodules = [flat_crop(crop) for crop in crops] + [flat_slice(s) for s in slices]
        dataset = SliceDataset(nodules, task.spacing_mm[0], task.patch[0], seed=seed)
        shares = _balance(dataset) if rater.balanced else None
    schedule = Schedule(task.steps, task.batch, rater.rate, rater.loss)
    history = fit(network, dataset, schedule, study.device, study.seed, shares)
    weights = sum(p.numel() for p in network.parameters())
    return network, history.loss, facts | {"seconds": history.seconds, "parameters": weights}


def _balance(dataset: SliceDataset) -> list[float]:
    """How often each nodule is drawn, so that benign, malignant and doubtful ones are equally often."""
    sides = [float(np.sign(np.mean(nodule.row.ratings["malignancy"]) - 3)) for nodule in dataset.nodules]
    return [1 / sides.count(side) for side in sides]


def trained_facts(study: Study, rater: Rater) -> dict[str, float]:
    """The facts that tell a network's training from one by another budget."""
    return trained_key(rater.task(study), study.budget.widths[rater.width])


def load(study: Study, name: str, fold: int) -> Predictions | None:
    """A rater's scores of a fold, None where it, as this budget trains it, wasn't run on today's masks."""
    facts = trained_facts(study, ALL[name]) | masks_fact(study, fold)
    return Predictions.current(study.path("malignancy", name, fold), facts)


def rate(
    study: Study, rater: Rater, network: nn.Module, crops: Sequence[Crop], masks: Sequence[NDArray[np.bool_]]
) -> NDArray[np.float64]:
    """Malignancy logit (n,) of each crop's mask, averaged over mirrors."""
    region_task, slice_task = study.budget.rating, study.budget.slices
    settings = RateSettings(
        region_task.spacing_mm, region_task.patch, 1.0, 0.0, 0.0, 0.0,
        slice_mm=slice_task.spacing_mm[0], slice_pixels=slice_task.patch[0],
    )  # fmt: skip
    image, targets = (region, TARGETS) if rater.sees == "region" else (nodule_slices, SLICE_TARGETS)
    logits = []
    for start in range(0, len(crops), _BATCH):
        pairs = zip(crops[start : start + _BATCH], masks[start : start + _BATCH], strict=True)
        images = torch.stack([image(crop_ct(c), outline_of(crop_ct(c), m), settings) for c, m in pairs])
        logits.append(mirrored_logits(images.to(study.device), network)[:, targets.index("malignancy")].cpu().numpy())
    return np.concatenate(logits).astype(np.float64)


def marked(crop: Crop) -> NDArray[np.bool_]:
    """Voxels that half of the readers marked; where there's none, those that any did."""
    half = crop.share >= 0.5
    return half if half.any() else crop.votes > 0


def outline_of(ct: CT, mask: NDArray[np.bool_]) -> Outline:
    """The mask as an outline; a small ball in the middle where it's empty, as in the bundle's evaluation."""
    return outlines_of(mask.astype(np.int64), ct)[1] if mask.any() else ball(ct)


def features(study: Study, kind: MaskKind, fold: int) -> Predictions | None:
    """Measured features of a fold's nodules, kept as long as its masks are; None without masks predicted for it."""
    path = study.path("features", kind, fold)
    facts = masks_fact(study, fold) if kind == "predicted" else {}
    if before := Predictions.current(path, facts):
        return before
    held = study.split(fold)[1]
    masks = {c.row.id: marked(c) for c in held} if kind == "readers" else load_masks(study, OURS, fold)
    if masks is None:
        return None
    cts = [crop_ct(c) for c in held]
    values = [nodule_features(ct, outline_of(ct, masks[c.row.id])) for ct, c in zip(cts, held, strict=True)]
    result = Predictions([c.row.id for c in held], {"features": np.array(values)}, (), facts)
    result.save(path)
    return result


def simple_scores(
    name: str, train: NDArray[np.float64], malignant: NDArray[np.bool_], test: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Scores (m,), logits where a model was fitted.

    Args:
        name: of `SIMPLE`; the diameter is its own score.
        train: features (n, f).
        malignant: labels (n,).
        test: features (m, f).
    """
    if name == "diameter":
        return test[:, FEATURES.index("ln_diameter")]
    mean, scale = train.mean(0), np.maximum(train.std(0), 1e-9)
    x, y = (train - mean) / scale, (test - mean) / scale
    if name == "kernel":
        from sklearn.kernel_ridge import KernelRidge

        fitted = KernelRidge(alpha=RIDGE, kernel="precomputed").fit(_kernel(x, x), np.where(malignant, 1.0, -1.0))
        scores: NDArray[np.float64] = fitted.predict(_kernel(y, x))
        return scores
    return _model(name).fit(x, malignant).decision_function(y)


def _kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """A Gaussian kernel and a linear one (Saunders, Gammerman and Vovk, ICML 1998), of standardised features.

    The Gaussian's width is the root of the number of features, their mean distance; the linear kernel lets what is
    larger or denser than every example continue as the examples end.
    """
    from sklearn.metrics.pairwise import linear_kernel, rbf_kernel

    n = a.shape[1]
    kernel: NDArray[np.float64] = rbf_kernel(a, b, gamma=1 / (2 * n)) + (1 + linear_kernel(a, b)) / n
    return kernel


def _model(name: str) -> Any:
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    if name == "regression":
        return LogisticRegression(C=0.1, max_iter=5000)
    # small trees, slowly: the usual settings for some hundred rows
    return GradientBoostingClassifier(n_estimators=200, learning_rate=0.05, max_depth=3, subsample=0.5, random_state=0)


def cross_fitted(
    name: str, labels: Mapping[str, Sequence[bool | None]], by_fold: Mapping[int, tuple[Predictions, Predictions]]
) -> dict[str, float]:
    """Score of each nodule by a simple model fitted on the other folds.

    Args:
        name: of `SIMPLE`.
        labels: of each nodule, one or one a reader; None is left out of the fit.
        by_fold: fold to features by the readers' masks, to fit with, and by the masks to be judged.
    """
    result: dict[str, float] = {}
    for fold, (_, judged) in by_fold.items():
        rows = []
        for k, (known, _) in by_fold.items():
            for values, i in zip(known.values["features"], known.ids, strict=True):
                rows += [(values, label) for label in labels[i] if label is not None and k != fold]
        x, y = np.array([r[0] for r in rows]), np.array([r[1] for r in rows], bool)
        scores = simple_scores(name, x, y, judged.values["features"])
        result |= dict(zip(judged.ids, scores.tolist(), strict=True))
    return result
