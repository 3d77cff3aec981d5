"""Judges the paper's networks and those they are compared with, keeps what they say, and stores the weights.

The predictions, one row per nodule and network, go to `docs/study`; `research.paper.page` draws `docs/paper.md` from
them alone.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import torch
from torch import nn

from monai_lung.advice import split
from monai_lung.data.backgrounds import read_background
from monai_lung.data.splits import patient_folds
from monai_lung.definitions import read_config
from monai_lung.errors import MonaiLungError, UsageError
from monai_lung.inference.networks import choose_device, ready_on
from monai_lung.inference.rate import malignancy_logits
from monai_lung.io.json_text import json_text
from monai_lung.io.output import replacing
from monai_lung.pipeline import Analyzer, Options
from monai_lung.stages import PAPER
from monai_lung.training.calibration import DIGITS, fit_platt, fit_readers
from monai_lung.training.paper import CLASSIFIERS, SEGMENTERS, classifier, donors_of, segmenter
from monai_lung.weights import bundle_dir, read_checkpoint, resume, save_weights
from research import DOCS
from research.paper.files import LEFT_OUT, LOSSES, NODULES, PRODUCT, RATINGS, UNSEEN
from research.paper.scenes import (
    Answer,
    Scene,
    answer,
    masks_of,
    nodule_columns,
    rating_rows,
    scene,
    scenes,
    segmentation_rows,
)

log = logging.getLogger(__name__)

FOLD = 0


def final(folder: Path) -> Path | None:
    """The checkpoint of a training's end, None where it hasn't ended."""
    found = sorted(folder.glob("model_final*.pt"), key=lambda path: path.stat().st_mtime)
    return found[-1] if found else None


def width_of(checkpoint: Path) -> int:
    """Channels of the first convolution of the network in a checkpoint."""
    state = read_checkpoint(checkpoint)
    return next(int(value.shape[0]) for value in state.get("model", state).values() if value.ndim == 5)


def trained(out: Path, names: Sequence[str]) -> dict[str, nn.Module]:
    """The networks among `names` whose training has ended, on the CPU."""
    networks = {}
    for name in names:
        checkpoint = final(out / name)
        if checkpoint is not None:
            build = segmenter if name in SEGMENTERS else classifier
            networks[name] = resume(build(name, width_of(checkpoint)), checkpoint)
    return networks


def judge(data: Path, backgrounds: Path, out: Path, docs: Path, copies: int, device: str, *, product: bool) -> None:
    """Judge what is trained in `out` on fold 0's nodules in the lungs left out, and write the tables to `docs`.

    What is judged already isn't judged again.

    Raises:
        UsageError: nothing is trained, or a scan is missing.
    """
    target = choose_device(device)
    networks = {name: ready_on(net, target) for name, net in trained(out, (*SEGMENTERS, *CLASSIFIERS)).items()}
    if not networks:
        raise UsageError(f"{out}: no training has ended there; run tools/research paper.train")
    folds = patient_folds(bundle_dir("lung_nodule_segmentation") / "configs" / "folds.json")
    missing = [name for name in LEFT_OUT if not (backgrounds / f"{name}.npz").is_file()]
    if missing:
        raise UsageError(
            f"{backgrounds}: no {missing[0]}.npz; give the folder that `monai-lung train backgrounds` wrote"
        )
    lungs = [read_background(backgrounds / f"{name}.npz") for name in LEFT_OUT]
    donors = donors_of(str(data / "lidc_crops"), [p for p, f in folds.items() if f == FOLD], UNSEEN)
    analyzer = Analyzer(Options(device)) if product else None
    kept = out / f"judged-{_digest(out, networks)}{'-product' if product else ''}"
    kept.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict[str, Any]]] = {NODULES: [], RATINGS: []}
    plan = scenes(lungs, donors, copies)
    for n, (name, background, own, seed) in enumerate(plan, start=1):
        path = kept / f"{name}.json"
        if not path.is_file():
            log.info("%d of %d: %s, %d nodules", n, len(plan), name, len(own))
            made = _judged(scene(name, background, own, seed), networks, target, analyzer)
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(made), encoding="utf-8")
        for table, more in json.loads(path.read_text(encoding="utf-8")).items():
            rows[table] += more
    for table, content in rows.items():
        if content:
            write_table(docs / table, content)
    write_table(docs / LOSSES, loss_rows(out, networks))


def _digest(out: Path, networks: Mapping[str, nn.Module]) -> str:
    digest = hashlib.sha256()
    for name in sorted(networks):
        digest.update(Path(str(final(out / name))).read_bytes())
    return digest.hexdigest()[:10]


def _judged(
    scene: Scene, networks: Mapping[str, nn.Module], device: torch.device, analyzer: Analyzer | None
) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {NODULES: [], RATINGS: []}
    answers = {name: answer(scene, networks[name], device) for name in SEGMENTERS if name in networks}
    for name, said in answers.items():
        rows[NODULES] += segmentation_rows(name, scene, said)
    masks = masks_of(scene, answers.get("res-unet", Answer((), ())))
    if "res-unet" not in answers:
        del masks["predicted"]
    raters = {name: networks[name] for name in CLASSIFIERS if name in networks}
    rows[RATINGS] += rating_rows(scene, masks, raters, device)
    if analyzer is not None:
        said = _product(scene, analyzer)
        rows[NODULES] += segmentation_rows(PRODUCT, scene, said)
        for kind, outlines in masks_of(scene, said).items():
            logits = malignancy_logits(scene.ct, outlines, analyzer.networks)
            rows[RATINGS] += [
                {"network": PRODUCT, "mask": kind, "scan": scene.ct.name, "logit": float(x)} | nodule_columns(one)
                for one, x in zip(scene.nodules, logits, strict=True)
            ]
    return rows


def _product(scene: Scene, analyzer: Analyzer) -> Answer:
    """The findings of this software's own networks in a scene at their standard operating point."""
    found, _ = split(analyzer.find(scene.ct, lungs=scene.lungs), analyzer.operating_point)
    return Answer(found.outlines, [rating.nodule_probability for rating in found.ratings])


def loss_rows(out: Path, networks: Mapping[str, nn.Module]) -> list[dict[str, Any]]:
    """The loss of each epoch of each training that has ended, with the width and the number of weights."""
    rows = []
    for name, network in networks.items():
        facts = {"network": name, "width": width_of(Path(str(final(out / name))))}
        facts["parameters"] = sum(p.numel() for p in network.parameters())
        with (out / name / "loss.csv").open(newline="") as file:
            rows += [facts | {"epoch": int(row["epoch"]), "loss": float(row["loss"])} for row in csv.DictReader(file)]
    return rows


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as gzipped CSV with four decimals; the same rows give the same bytes.

    Raises:
        OutputError: the file can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = pd.DataFrame(list(rows)).to_csv(index=False, float_format="%.4f")
    with replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(text.encode(), mtime=0))


def store(out: Path, docs: Path, bundle: Path) -> None:
    """Put the two networks into the bundle in half precision, and the calibration that the judged nodules give.

    The nodules are fold 0's, which no weight has seen; the page's own figures calibrate each half on the other.

    Raises:
        UsageError: a training hasn't ended, or wasn't judged.
    """
    checkpoints = {name: final(out / name) for name in ("res-unet", "nodule-resnet")}
    if None in checkpoints.values() or not (docs / RATINGS).is_file():
        raise UsageError(f"{out}: res-unet and nodule-resnet have to be trained and judged first")
    ratings = pd.read_csv(docs / RATINGS)
    path = bundle / "configs" / "inference.json"
    config = read_config(bundle)
    config["network_def"]["width"] = width_of(Path(str(checkpoints["res-unet"])))
    config["classify_def"]["width"] = width_of(Path(str(checkpoints["nodule-resnet"])))
    config["classify_settings"] |= calibration(ratings)
    with replacing(path) as temporary:
        temporary.write_text(json_text(config), encoding="utf-8")
    for name, file in (("res-unet", "model.pt"), ("nodule-resnet", "classify.pt")):
        log.info("%s: %s", file, save_weights(Path(str(checkpoints[name])), bundle, file))


def calibration(ratings: pd.DataFrame) -> dict[str, float]:
    """`slope`, `offset`, `spread`, `reader_slope`, `reader_offset` of the 3D ResNet50 on predicted masks.

    Raises:
        UsageError: it wasn't judged on benign and malignant nodules.
    """
    own = ratings[(ratings.network == "nodule-resnet") & (ratings["mask"] == "predicted")]
    said = [np.array(str(text).split(), float) for text in own.ratings]
    logits, median = own.logit.to_numpy(float), np.array([np.median(r) for r in said])
    if not ((median > 3).any() and (median < 3).any()):
        raise UsageError("no benign or no malignant nodule was judged, so nothing can be calibrated")
    clear = median != 3
    slope, offset = (round(v, DIGITS) for v in fit_platt(logits[clear], median[clear] > 3))
    reader_slope, reader_offset, spread = fit_readers(logits, np.array([r.mean() for r in said]))
    line = {"reader_slope": reader_slope, "reader_offset": reader_offset}
    return {"slope": slope, "offset": offset, "spread": spread} | line


@click.command(help=__doc__)
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.argument("backgrounds", type=click.Path(path_type=Path, exists=True))
@click.argument("out", type=click.Path(path_type=Path, exists=True))
@click.option("--docs", type=click.Path(path_type=Path), default=DOCS, help="Gets study/. Default: the checkout's.")
@click.option("--copies", default=2, show_default=True, help="How often each nodule is set into another place.")
@click.option("--product", is_flag=True, help="Judge this software's own networks on the same scenes, too.")
@click.option("--store", "stores", is_flag=True, help="Then put weights and calibration into the bundle.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda.")
def main(
    data: Path, backgrounds: Path, out: Path, docs: Path, copies: int, product: bool, stores: bool, device: str
) -> None:
    """Judge, and store if it's wanted; errors on one line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        judge(data, backgrounds, out, docs, copies, device, product=product)
        if stores:
            store(out, docs, bundle_dir(PAPER))
    except MonaiLungError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
