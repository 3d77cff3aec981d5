"""Tables of the paper's comparison, from kept predictions alone (`judge.py`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_lung.data.ratings import SIZE_CLASSES, malignancy_labels, size_class
from monai_lung.errors import InputError
from monai_lung.metrics.figures import auc_of, figure, mean_of
from monai_lung.metrics.froc import froc
from research.paper.files import LOSSES, NODULES, PRODUCT, RATINGS
from research.study.judged import TEXTURES, Figure, calibrated
from research.study.tables import cell, counted, table

NOT_TRAINED = "not trained yet"
SYSTEMS = {"res-unet": "3D Res U-Net", "unet": "3D U-Net, Dice only", PRODUCT: "this software's own networks"}
RATERS = {"nodule-resnet": "3D ResNet50", "resnet50": "unmodified 3D ResNet50", PRODUCT: SYSTEMS[PRODUCT]}
MASKS = ("predicted", "readers")
_COLUMNS = {
    NODULES: ("system", "scan", "nodule", "patient", "diameter_mm", "texture", "found", "score", "dice", "dice_grid"),
    RATINGS: ("network", "mask", "scan", "nodule", "patient", "ratings", "texture", "logit"),
    LOSSES: ("network", "epoch", "loss", "width", "parameters"),
}


@dataclass(frozen=True)
class Kept:
    """The tables kept in a docs folder: empty tables where nothing is."""

    nodules: pd.DataFrame
    ratings: pd.DataFrame
    losses: pd.DataFrame

    @classmethod
    def read(cls, docs: Path) -> Kept:
        """The tables of a docs folder.

        Raises:
            InputError: one is damaged or lacks a column.
        """
        return cls(*(_read(docs / name, columns) for name, columns in _COLUMNS.items()))


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame(columns=list(columns))
    try:
        rows = pd.read_csv(path, keep_default_na=True, dtype={"ratings": str, "nodule": str, "patient": str})
    except Exception as error:  # gzip, Unicode and pandas' own
        raise InputError(
            f"{path}: not a table of predictions ({error}); make it again with tools/research paper.judge"
        ) from error
    lacking = set(columns) - set(rows.columns)
    if lacking:
        raise InputError(f"{path}: no column {min(lacking)}; make it again with tools/research paper.judge")
    return rows


def networks(kept: Kept) -> str:
    """Facts about the trainings: width, weights, epochs, the last loss."""
    rows = []
    for name, label in {**SYSTEMS, **RATERS}.items():
        own = kept.losses[kept.losses.network == name].sort_values("epoch")
        if name == PRODUCT:
            continue
        if own.empty:
            rows.append([label, NOT_TRAINED, "-", "-", "-"])
            continue
        last = own.iloc[-1]
        thousands = f"{last.parameters / 1e6:.2f}"
        rows.append([label, f"{last.width:.0f}", thousands, f"{last.epoch:.0f}", f"{last.loss:.4f}"])
    return table(["network", "width", "million weights", "epochs", "last loss"], rows)


def sizes(kept: Kept) -> str:
    """How many nodules were set in, by size (the paper's Table 2 has its own)."""
    own = _nodules(kept, "res-unet").drop_duplicates("nodule")
    if own.empty:
        return f"{NOT_TRAINED}\n"
    counts = own.diameter_mm.map(size_class).value_counts()
    return table(["diameter", "nodules"], [[name, str(counts.get(name, 0))] for name in SIZE_CLASSES])


def _nodules(kept: Kept, system: str) -> pd.DataFrame:
    rows = kept.nodules
    return rows[(rows.system == system) & rows.nodule.notna() & (rows.nodule != "")]


def dice(kept: Kept) -> str:
    """Each system by size: Dice on the paper's grid and on the CT's, precision and recall (Tables 3 and 4)."""
    names = ["nodules", "network", "nodules / patients", "Dice, 1.5 x 1.5 x 3 mm", "precision", "recall"]
    names += ["Dice, CT's own grid", "found", "paper"]
    rows = []
    groups: dict[str, Callable[[float], bool]] = {"> 10 mm": lambda mm: mm > 10, "<= 10 mm": lambda mm: mm <= 10}
    groups |= {size: _is(size) for size in SIZE_CLASSES}
    for group, keep in groups.items():
        for system, label in SYSTEMS.items():
            own = _nodules(kept, system)
            own = own[own.diameter_mm.map(keep).astype(bool)]
            paper = "0.81" if (group, system) == ("> 10 mm", "res-unet") else "-"
            if own.empty:
                missing = "not judged" if system == PRODUCT or not _nodules(kept, system).empty else NOT_TRAINED
                rows.append([group, label, missing, *["-"] * 5, paper])
                continue
            figures = [_mean(own, c) for c in ("dice_grid", "precision_grid", "recall_grid", "dice", "found")]
            rows.append([group, label, counted(figures[3]), *map(cell, figures), paper])
    return table(names, rows)


def _is(size: str) -> Callable[[float], bool]:
    return lambda mm: size_class(mm) == size


def _mean(rows: pd.DataFrame, column: str) -> Figure | None:
    """The mean of a column over its nodules, None where it has no value."""
    if column not in rows or rows[column].isna().all():
        return None
    known = rows[rows[column].notna()]
    return figure(mean_of(known[column].astype(float).to_numpy()), known.patient.tolist())


def dice_gain(kept: Kept) -> str:
    """3D Res U-Net less 3D U-Net, nodule by nodule in the same place."""
    keys = ["scan", "nodule"]
    pairs = _nodules(kept, "res-unet").merge(_nodules(kept, "unet"), on=keys, suffixes=("", "_other"))
    if pairs.empty:
        return f"3D Res U-Net less 3D U-Net, in pairs: {NOT_TRAINED}\n"
    rows = []
    for group, own in (("all", pairs), ("> 10 mm", pairs[pairs.diameter_mm > 10])):
        cells = []
        for column in ("dice_grid", "dice"):
            gain = own.assign(gain=own[column] - own[f"{column}_other"])
            cells.append(cell(_mean(gain, "gain")))
        rows.append([group, counted(_mean(own, "dice")), *cells])
    header = ["nodules", "nodules / patients", "Dice, 1.5 x 1.5 x 3 mm", "Dice, CT's own grid"]
    return "3D Res U-Net less 3D U-Net, in pairs:\n\n" + table(header, rows)


def whole_ct(kept: Kept) -> str:
    """Sensitivity and false findings a scan of each system, at its own operating point and over rates."""
    rows = []
    for system, label in SYSTEMS.items():
        own = kept.nodules[kept.nodules.system == system]
        nodules = _nodules(kept, system)
        if nodules.empty:
            rows.append([label, NOT_TRAINED if system != PRODUCT else "not judged", *["-"] * 4])
            continue
        scans = own.scan.nunique()
        false = (own.nodule.isna() | (own.nodule == "")).sum() / scans
        curve = froc(own.assign(nodule=own.nodule.fillna("")))
        low, high = curve.cpm_interval
        cpm = f"{curve.cpm:.3f} ({low:.3f}-{high:.3f})"
        small, large = nodules[nodules.diameter_mm <= 10], nodules[nodules.diameter_mm > 10]
        cells = [cell(_mean(part, "found")) for part in (large, small)]
        rows.append([label, f"{len(nodules)} in {scans} scans", *cells, f"{false:.1f}", cpm])
    names = ["system", "nodules", "sensitivity, > 10 mm", "sensitivity, <= 10 mm", "false findings a scan", "CPM"]
    return table(names, rows)


@dataclass(frozen=True)
class Rated:
    """One network's nodules with a label, all (n,): logit, malignant, a probability calibrated on other patients."""

    rows: pd.DataFrame
    logit: NDArray[np.float64]
    malignant: NDArray[np.bool_]
    probability: NDArray[np.float64]

    @property
    def patients(self) -> list[str]:
        """Patient of each."""
        return [str(p) for p in self.rows.patient]


def rated(kept: Kept, network: str, mask: str) -> Rated | None:
    """A network's nodules, labelled by the median of their readers, those at 3 left out.

    None where a class is missing, or one half of the patients, on which the other is calibrated, lacks one.
    """
    own = kept.ratings[(kept.ratings.network == network) & (kept.ratings["mask"] == mask)]
    labels = [malignancy_labels([int(r) for r in str(text).split()], "median")[0] for text in own.ratings]
    known = own[np.array([label is not None for label in labels], bool)].reset_index(drop=True)
    malignant = np.array([label for label in labels if label is not None], bool)
    if malignant.all() or not malignant.any():
        return None
    logit = known.logit.to_numpy(float)
    patients = [str(p) for p in known.patient]
    try:
        probability = calibrated(logit, malignant, np.zeros(len(known), int), patients)
    except ValueError:
        return None
    return Rated(known, logit, malignant, probability)


def malignancy(kept: Kept) -> str:
    """AUC, accuracy, recall and specificity of each network by kind of mask (Table 5)."""
    names = [
        "network",
        "mask",
        "nodules / patients",
        "AUC",
        "AUC less the diameter's",
        "accuracy",
        "recall",
        "specificity",
    ]
    rows = []
    for mask in MASKS:
        for name, label in RATERS.items():
            found = rated(kept, name, mask)
            if found is None:
                rows.append([label, mask, "not judged" if name == PRODUCT else NOT_TRAINED, *["-"] * 5])
                continue
            right = ((found.probability >= 0.5) == found.malignant).astype(float)
            auc = auc_of(found.logit, found.malignant)
            values = [figure(auc, found.patients), _less_diameter(kept, found, mask)]
            recall, specificity = (np.where(found.malignant == side, right, np.nan) for side in (True, False))
            values += [figure(mean_of(s), found.patients) for s in (right, recall, specificity)]
            rows.append([label, mask, counted(values[0]), *map(cell, values)])
    rows.append(["paper, 3D ResNet50", "predicted", "400 marks", "0.907", "-", "0.873", "0.804", "0.948"])
    rows.append(["paper, unmodified", "predicted", "400 marks", "-", "-", "-", "-", "0.817"])
    return table(names, rows)


def _less_diameter(kept: Kept, found: Rated, mask: str) -> Figure | None:
    """AUC of a network less that of the diameter of the 3D Res U-Net's mask (or the readers'), of the same nodules."""
    rows = kept.ratings[(kept.ratings.network == "nodule-resnet") & (kept.ratings["mask"] == mask)]
    if "mask_mm" not in rows or rows.empty:
        return None
    sizes = found.rows[["scan", "nodule"]].merge(rows[["scan", "nodule", "mask_mm"]], on=["scan", "nodule"], how="left")
    if sizes.mask_mm.isna().any():
        return None
    own, alone = auc_of(found.logit, found.malignant), auc_of(sizes.mask_mm.to_numpy(float), found.malignant)
    return figure(lambda weights: own(weights) - alone(weights), found.patients)


def malignancy_gain(kept: Kept) -> str:
    """3D ResNet50 less the unmodified one on the same nodules and masks."""
    rows = []
    for mask in MASKS:
        one, other = (rated(kept, name, mask) for name in ("nodule-resnet", "resnet50"))
        if one is None or other is None or list(one.rows.nodule) != list(other.rows.nodule):
            continue
        own, theirs = auc_of(one.logit, one.malignant), auc_of(other.logit, other.malignant)
        gain = figure(_difference(own, theirs), one.patients)
        rows.append([mask, counted(gain), cell(gain)])
    if not rows:
        return f"3D ResNet50 less the unmodified one, in pairs: {NOT_TRAINED}\n"
    return "3D ResNet50 less the unmodified one, in pairs:\n\n" + table(["mask", "nodules / patients", "AUC"], rows)


def _difference(
    own: Callable[[NDArray[np.float64]], float], other: Callable[[NDArray[np.float64]], float]
) -> Callable[[NDArray[np.float64]], float]:
    return lambda weights: own(weights) - other(weights)


def confusion(kept: Kept) -> str:
    """Counts at a calibrated probability of one half, with predicted masks (Fig. 9)."""
    names = [
        "network",
        "malignant, called so",
        "malignant, called benign",
        "benign, called so",
        "benign, called malignant",
    ]
    rows = []
    for name, label in RATERS.items():
        found = rated(kept, name, "predicted")
        if found is None:
            rows.append([label, "not judged" if name == PRODUCT else NOT_TRAINED, "-", "-", "-"])
            continue
        said, true = found.probability >= 0.5, found.malignant
        counts = [said & true, ~said & true, ~said & ~true, said & ~true]
        rows.append([label, *(str(int(c.sum())) for c in counts)])
    rows.append(["paper, derived from its percentages", "168", "41", "181", "10"])
    return table(names, rows)


def misses(kept: Kept) -> str:
    """Malignant nodules called benign, by texture, with predicted masks (Fig. 11)."""
    rows = []
    for name, label in RATERS.items():
        found = rated(kept, name, "predicted")
        if found is None:
            rows.append([label, "not judged" if name == PRODUCT else NOT_TRAINED, *["-"] * len(TEXTURES)])
            continue
        missed = found.malignant & (found.probability < 0.5)
        textures = found.rows.texture.to_numpy()
        counts = [
            f"{(missed & (textures == t)).sum()} of {(found.malignant & (textures == t)).sum()}" for t in TEXTURES
        ]
        rows.append([label, f"{missed.sum()} of {found.malignant.sum()}", *counts])
    rows.append(["paper", "41 of 209", "-", "-", "18"])
    return table(["network", "missed", *TEXTURES], rows)


def goals(kept: Kept) -> str:
    """The goals, beside the paper and the figures reached."""
    large = _nodules(kept, "res-unet")
    reached = [cell(_mean(large[large.diameter_mm > 10], "dice_grid")) if not large.empty else NOT_TRAINED]
    found = rated(kept, "nodule-resnet", "predicted")
    if found is None:
        reached += [NOT_TRAINED] * 2
    else:
        right = ((found.probability >= 0.5) == found.malignant).astype(float)
        reached += [cell(figure(s, found.patients)) for s in (auc_of(found.logit, found.malignant), mean_of(right))]
    rows = [
        ["3D Res U-Net, Dice > 10 mm, sub-cases", "0.81", ">= 0.81, better than 3D U-Net in pairs"],
        ["3D ResNet50, AUC, predicted mask", "0.907", ">= 0.93, above the diameter, above the unmodified one in pairs"],
        ["3D ResNet50, accuracy, predicted mask", "0.873", ">= 0.87"],
    ]
    names = ["figure", "paper (its own split)", "goal (by patient)", "here"]
    return table(names, [[*row, value] for row, value in zip(rows, reached, strict=True)])
