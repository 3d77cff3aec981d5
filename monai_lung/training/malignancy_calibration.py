"""The networks of the malignancy: joined, calibrated, put into the bundle, and judged on a fold that none has seen.

Each network is calibrated on the nodules of the fold that it has not seen, with the readers' masks: those of the
segmentation network are better there, on nodules that it was trained on, than a user's will be. What ships is the mean
of all, calibrated as each is.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from monai_lung.bundle.cases import ct_of
from monai_lung.data.crops import Crop, CropRow, read_crop, read_table
from monai_lung.data.splits import patient_folds
from monai_lung.definitions import build_network, read_config, settings
from monai_lung.errors import UsageError
from monai_lung.inference.delineate import delineate_each
from monai_lung.inference.networks import Networks, load_networks
from monai_lung.inference.rate import calibrate, malignancy_logits, mirrored_logits, rate_logits
from monai_lung.inference.slices import nodule_slices
from monai_lung.io.json_text import json_text
from monai_lung.io.output import replacing
from monai_lung.labels import center_seed, outlines_of
from monai_lung.metrics.figures import auc_of, ece_of, figure, mean_of
from monai_lung.networks import Ensemble, SliceResNet
from monai_lung.stages import CLASSIFICATION, SEGMENTATION, SLICE_TARGETS, STAGES, TARGETS, RateSettings
from monai_lung.training.calibration import DIGITS, fit_platt, fit_readers
from monai_lung.training.checkpoints import patient_hash, patients_of
from monai_lung.weights import bundle_dir, resume, save_weights

log = logging.getLogger(__name__)

STAGE = STAGES["malignancy"]
DEFINITION, ENSEMBLE = STAGE.definition, "monai_lung.networks.Ensemble"
UNSEEN = ("LIDC-IDRI-0001", "LIDC-IDRI-0003")
MALIGNANCY, NODULE = TARGETS.index("malignancy"), TARGETS.index("nodule")


@dataclass(frozen=True)
class Rated:
    """A nodule of the fold that nothing was fitted on, with its probability and the rating network's logits."""

    row: CropRow
    probability: float
    logits: NDArray[np.float64]


@dataclass(frozen=True)
class Calibrated:
    """The values of `rate_settings` that were stored, and figures on the fold that judges, by their names."""

    values: dict[str, float]
    figures: dict[str, str]


def calibrate_malignancy(
    folder: Path,
    fold: int,
    checkpoints: Mapping[int, Path],
    classification: Path | None = None,
    segmentation: Path | None = None,
    trust_bundle: bool = False,
) -> Calibrated:
    """Calibrate on the other folds, store weights and calibration in the bundle, and judge on the fold's nodules.

    Args:
        folder: of crops.
        fold: that judges.
        checkpoints: one for each other fold K, trained with neither `fold` nor K.
        classification, segmentation: other bundles than the installed.
        trust_bundle: let their networks be of any class: their code runs.

    Returns:
        What was stored, and the figures.

    Raises:
        UsageError: a checkpoint is missing, or learned from nodules that calibrate or judge it; the table lacks values.
        MonaiLungError: files can't be read or written, or weights don't fit.
    """
    bundle, segmentation = classification or bundle_dir(CLASSIFICATION), segmentation or bundle_dir(SEGMENTATION)
    folds = patient_folds(segmentation / "configs" / "folds.json")
    others = sorted(set(folds.values()) - {fold})
    if fold not in folds.values() or sorted(checkpoints) != others:
        raise UsageError(
            f"checkpoints without the folds {sorted(checkpoints)}: FOLD {fold} needs one for each of {others}"
        )
    rows = read_table(folder)
    strange = [r.id for r in rows if r.patient not in folds or not r.ratings.get("malignancy")]
    if strange:
        raise UsageError(f"{folder}: {strange[0]} has no malignancy, or its patient is in no fold; fix the table")
    for k, path in sorted(checkpoints.items()):
        refuse_leaks(path, {patient_hash(patient) for patient, f in folds.items() if f in (fold, k)}, fold, k)
    members = {k: trained(bundle, path, trust_bundle) for k, path in sorted(checkpoints.items())}
    rates = settings(RateSettings, read_config(bundle)["rate_settings"], bundle)
    calibration = fitted(folder, [r for r in rows if folds[r.patient] != fold], folds, members, rates)
    store(joined(list(members.values())), calibration, bundle, trust_bundle)
    networks = load_networks(segmentation_dir=segmentation, classification_dir=bundle, trust_bundle=trust_bundle)
    rated = (rate_crop(read_crop(folder, row), networks) for row in rows if folds[row.patient] == fold)
    return Calibrated(calibration, figures_of([r for r in rated if r], networks))


def refuse_leaks(checkpoint: Path, unseen: set[str], fold: int, own: int) -> None:
    """Raise where the checkpoint knows one of the patients (hashes) `unseen`, say so where it doesn't tell.

    Raises:
        UsageError: it learned from some of them.
    """
    known = patients_of(checkpoint)
    if known is None:
        log.warning(
            "%s: doesn't say whose nodules it learned from: make sure that it has seen neither fold %d nor fold %d",
            checkpoint,
            fold,
            own,
        )
    elif known & unseen:
        raise UsageError(
            f"{checkpoint}: learned from {len(known & unseen)} patients of the folds {fold} and {own}, which calibrate "
            f"and judge it: train it with the folds of the segmentation bundle, --fold {own} --without {fold}, and "
            "from no --start that knows them"
        )


def fitted(
    folder: Path, rows: list[CropRow], folds: Mapping[str, int], members: Mapping[int, nn.Module], rates: RateSettings
) -> dict[str, float]:
    """The calibration, by name in `rate_settings`: each nodule is rated by the network that hasn't seen its fold."""
    scores, median, mean = [], [], []
    for row in rows:
        crop = read_crop(folder, row)
        if row.patient not in UNSEEN and (crop.share >= 0.5).any():
            scores.append(logit_of(crop, members[folds[row.patient]], rates))
            median.append(np.median(row.ratings["malignancy"]))
            mean.append(np.mean(row.ratings["malignancy"]))
    logits, label = np.array(scores), np.array(median)
    if (label <= 3).all() or (label >= 3).all():
        raise UsageError(f"{folder}: the folds {sorted(members)} hold no benign or no malignant nodule to calibrate on")
    slope, offset = (round(v, DIGITS) for v in fit_platt(logits[label != 3], label[label != 3] > 3))
    reader_slope, reader_offset, spread = fit_readers(logits, np.array(mean))
    line = {"reader_slope": reader_slope, "reader_offset": reader_offset}
    return {"slope": slope, "offset": offset, "spread": spread} | line


def trained(bundle: Path, checkpoint: Path, trust_bundle: bool) -> nn.Module:
    """The network of a checkpoint, as wide as the bundle's."""
    config = read_config(bundle)
    config[DEFINITION] = ensemble_def(config.get(DEFINITION, {}), 1)
    return resume(alone(build_network(config, DEFINITION, bundle, trust_bundle=trust_bundle)), checkpoint).eval()


def ensemble_def(definition: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The definition of an ensemble of `count` networks, from that of one or of another ensemble."""
    if definition.get("_target_") == "monai_lung.networks.SliceResNet":
        return {**definition, "members": count}
    member = definition["member"] if definition.get("_target_") == ENSEMBLE else definition
    return {"_target_": ENSEMBLE, "member": member, "count": count}


def alone(network: nn.Module) -> nn.Module:
    """The one network of an ensemble of any class; a `SliceResNet` is what a training saves of it."""
    return network.members[0] if isinstance(network, Ensemble) else network


def joined(networks: list[nn.Module]) -> nn.Module:
    """One ensemble of these networks."""
    if not isinstance(networks[0], SliceResNet):
        ensemble: nn.Module = Ensemble(networks[0], len(networks))
        ensemble.members = nn.ModuleList(networks)
        return ensemble
    ensemble = copy.deepcopy(networks[0])
    ensemble.members = nn.ModuleList(member for network in networks for member in network.members)  # type: ignore[union-attr]
    return ensemble


def logit_of(crop: Crop, network: nn.Module, rates: RateSettings) -> float:
    """The malignancy's logit, with what half of the readers marked as the mask."""
    ct = ct_of(torch.from_numpy(crop.hu), torch.from_numpy(crop.affine_ras))
    outline = outlines_of((crop.share >= 0.5).astype(np.int64), ct)[1]
    (logits,) = mirrored_logits(nodule_slices(ct, outline, rates)[None], network)
    return float(logits[SLICE_TARGETS.index("malignancy")])


def rate_crop(crop: Crop, networks: Networks) -> Rated | None:
    """The crop's nodule as the network outlines it at the crop's centre; None where it outlines nothing."""
    ct = ct_of(torch.from_numpy(crop.hu), torch.from_numpy(crop.affine_ras))
    (outline,) = delineate_each(ct, [center_seed(ct)], networks)
    if outline is None:
        log.warning("%s: nothing outlined, left out", crop.row.id)
        return None
    (logits,) = rate_logits(ct, [outline], networks)
    (malignancy,) = malignancy_logits(ct, [outline], networks)
    return Rated(crop.row, calibrate(logits, malignancy, networks.rate_settings).malignancy_probability, logits)


def store(ensemble: nn.Module, values: dict[str, float], bundle: Path, trust_bundle: bool) -> None:
    """Weights, digest and size of the ensemble, and `values` of the `rate_settings`, into the bundle."""
    path = bundle / "configs" / "inference.json"
    before = path.read_text(encoding="utf-8")
    config = json.loads(before)
    config[DEFINITION] = ensemble_def(config[DEFINITION], len(ensemble.members))  # type: ignore[arg-type]
    config["rate_settings"] |= values
    write(path, json_text(config))
    try:
        # refused where they aren't of the config's network
        save_weights(ensemble, bundle, STAGE.weights, trust_bundle=trust_bundle)
    except BaseException:
        write(path, before)  # no weights with the calibration of others
        raise


def write(path: Path, text: str) -> None:
    """Whole, or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def figures_of(held: list[Rated], networks: Networks) -> dict[str, str]:
    """Figures with intervals, and what share of the nodules reaches which probability of being one."""
    nodule = 1 / (1 + np.exp(-np.array([r.logits[NODULE] for r in held])))
    percentiles = " ".join(f"{p:.3f}" for p in np.percentile(nodule, [1, 5, 50]))
    figures = {
        "nodule probability of the nodules, 1st 5th 50th percentile": percentiles,
        "kept above min_nodule": f"{(nodule >= networks.rate_settings.min_nodule).mean():.3f}",
    }
    clear = [r for r in held if np.median(r.row.ratings["malignancy"]) != 3]
    positive = np.array([np.median(r.row.ratings["malignancy"]) > 3 for r in clear])
    probability = np.array([r.probability for r in clear])
    for name, statistic in (
        ("AUC, median label", auc_of(probability, positive)),
        ("AUC of the network alone", auc_of(np.array([r.logits[MALIGNANCY] for r in clear]), positive)),
        ("AUC of the diameter alone", auc_of(np.array([float(r.row.diameter_mm or 0) for r in clear]), positive)),
        ("accuracy", mean_of(((probability >= 0.5) == positive).astype(float))),
        ("ECE", ece_of(probability, positive)),
    ):
        found = figure(statistic, [r.row.patient for r in clear])
        interval = "" if found["low"] is None else f" ({found['low']:.3f}-{found['high']:.3f})"
        value = "not defined" if found["value"] is None else f"{found['value']:.3f}{interval}"
        figures[name] = f"{value} of {found['n']} nodules, {found['patients']} patients"
    return figures
