"""Training from the labels that people sent back."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import monai.bundle
import torch
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.utils.others.generic import name_to_device
from torch.utils.data import DataLoader

from lib.corrections import nodule_mask, segment_info, split, write_crops
from monai_lung.data.crops import read_table
from monai_lung.definitions import build_network, read_config
from monai_lung.errors import InputError, MonaiLungError
from monai_lung.io import read_ct
from monai_lung.io.output import replacing
from monai_lung.training.datasets import crop_dataset
from monai_lung.training.losses import TrustedBceDice
from monai_lung.weights import resume, save_weights

log = logging.getLogger(__name__)

_BATCH = 4
_RATE = 3e-4
"""Highest learning rate: a seventh of the first training's, since this one continues from its weights."""
_LOOKS = 8
"""How often each nodule held out is looked at to tell the loss before and after; also the seed of these looks."""
_AVERAGED = 0.1
"""Share of the newest weights in the running average that is kept: a short training has no time for a slow one."""


class NoduleTraining(TrainTask):  # type: ignore[misc]
    """Goes on training the network that delineates, by the bundle's train.json, on the nodules of all final labels.

    Labelled CTs become crops, some scans are held out, the bundle trains from its present weights. The new weights take
    their place where their loss on the scans held out is lower, and only there; the next inference uses them. `stats`
    says what came of it.

    Args:
        bundle: `lung_nodule_segmentation`, a copy of the server's own, whose weights may be replaced.
        work: for crops, checkpoints, losses and `stats.json` of the latest training.
    """

    def __init__(self, bundle: Path, work: Path) -> None:
        super().__init__("Go on training the delineating network on the labels that were sent back")
        self.bundle, self.work = bundle, work

    def config(self) -> dict[str, Any]:
        """The options of a client: epochs, and the share of scans that are held out."""
        return {"max_epochs": 20, "val_split": 0.2}

    def stats(self) -> dict[str, Any]:
        """Of the latest training; empty before the first.

        The panels' bars show `epoch` of `total_epochs`, and as accuracy `best_metric`: the Dice on the scans held out,
        of the weights in use.
        """
        try:
            content: dict[str, Any] = json.loads((self.work / "stats.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if "total_time" in content else {**content, "epoch": self._epochs_done()}

    def _epochs_done(self) -> int:
        """Of the training that runs: the rows of its table of losses."""
        try:
            return max(0, len((self.work / "loss.csv").read_text(encoding="utf-8").splitlines()) - 1)
        except OSError:
            return 0

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train; returns `stats`.

        Raises:
            InputError: no label has a nodule.
            MonaiLungError: training failed; the weights stay as they were.
        """
        choice, start = {**self.config(), **request}, time.monotonic()
        shutil.rmtree(self.work, ignore_errors=True)
        crops = self.work / "crops"
        nodules = write_crops(crops, self._labelled(datastore))
        if not nodules:
            raise InputError("no final label has a nodule: draw a segment named nodule, submit it, then train")
        train, held_out = split(nodules, float(choice["val_split"]))
        device, epochs = str(name_to_device(choice.get("device"))), int(choice["max_epochs"])
        self._write({"total_epochs": epochs})
        before, dice_before = self._loss(self.bundle / "models" / "model.pt", held_out, device)
        checkpoint = self._train(crops, train, held_out, epochs, device)
        after, dice_after = self._loss(checkpoint, held_out, device)
        stats = {
            "time": time.strftime("%Y-%m-%d %H:%M:%S"),
            "nodules": sum(nodules.values()),
            "scans_trained_on": len(train),
            "scans_held_out": len(set(held_out) - set(train)),
            "epoch": epochs,
            "total_epochs": epochs,
            "total_time": f"{time.monotonic() - start:.0f} s",
            "loss_before": round(before, 5),
            "loss_after": round(after, 5),
            "dice_before": round(dice_before, 4),
            "dice_after": round(dice_after, 4),
            "best_metric": round(dice_after if after < before else dice_before, 4),
            "replaced": after < before,
        }
        if stats["replaced"]:
            (self.bundle / "trained").touch()  # from now on the copy doesn't follow the installed bundle
            stats["weights"] = save_weights(checkpoint, self.bundle, "model.pt")
        self._write(stats)
        log.info("training: loss on scans held out %.4f before, %.4f after", before, after)
        return stats

    def _write(self, stats: Mapping[str, Any]) -> None:
        with replacing(self.work / "stats.json") as temporary:
            temporary.write_text(json.dumps(stats, indent=1) + "\n", encoding="utf-8")

    def _labelled(self, datastore: Datastore) -> Any:
        """Name, CT and mask of each scan with a final label; one that can't be used is logged and left out."""
        for item in datastore.datalist():
            scan = Path(item["image"]).name.split(".nii")[0].removesuffix(".nrrd")
            try:
                ct = read_ct(item["image"])
                info, label = datastore.get_label_info(scan, DefaultLabelTag.FINAL), Path(item["label"])
                if not info.get("label_info") and info.get(
                    "SeriesInstanceUID"
                ):  # a SEG that somebody sent to the archive
                    info = {**info, "label_info": segment_info(label.parent / str(info["SeriesInstanceUID"]))}
                yield scan, ct, nodule_mask(label, info, ct)
            except MonaiLungError as error:
                log.warning("left out of the training: %s", error)

    def _train(self, crops: Path, train: list[str], held_out: list[str], epochs: int, device: str) -> Path:
        """Run the bundle's train.json from the present weights; the path of the checkpoint."""
        published = read_config(self.bundle)
        batch = min(_BATCH, sum(row.patient in train for row in read_table(crops)))
        monai.bundle.run(
            run_id="run",
            config_file=str(self.bundle / "configs" / "train.json"),
            **{
                "bundle_root": str(self.bundle),
                "dataset_dir": str(crops),
                "output_dir": str(self.work),
                "train_patients": train,
                "val_patients": held_out,
                "start": str(self.bundle / "models" / "model.pt"),
                "device": device,
                "recipe": "cpu",
                "recipes#cpu#epochs": epochs,
                "recipes#cpu#batch": batch,
                "recipes#cpu#rate": _RATE,
                "val_interval": epochs,
                "network_def": published["network_def"],
                "spacing_mm": published["delineate_settings"]["spacing_mm"],
                "patch": published["delineate_settings"]["patch"],
                "train#ema#momentum": _AVERAGED,
                "num_workers": 0,  # a few crops: workers would take longer to start than to draw them
            },
        )
        (checkpoint,) = self.work.glob("model_final_iteration=*.pt")
        return checkpoint

    def _loss(self, weights: Path, scans: list[str], device: str) -> tuple[float, float]:
        """Mean loss and Dice over the nodules of `scans`, each seen `_LOOKS` times as the training would see it.

        The same looks for any weights, but not those of the training: turned, moved, and coarser where a nodule is
        larger than a patch.
        """
        published = read_config(self.bundle)
        settings = published["delineate_settings"]
        network = resume(build_network(published, "network_def", self.bundle), weights).eval().to(device)
        looks = crop_dataset(
            str(self.work / "crops"), scans, spacing_mm=settings["spacing_mm"], size=settings["patch"], seed=_LOOKS
        )
        loss, dice_loss, seen = TrustedBceDice(), TrustedBceDice(bce_weight=0), []
        with torch.inference_mode():
            for look in range(_LOOKS):
                looks.set_epoch(look)
                for item in DataLoader(looks):
                    drawn, label = network(item["image"].to(device)), item["label"].to(device)
                    seen.append((float(loss(drawn, label)), 1 - float(dice_loss(drawn, label))))
        mean, dice = (sum(values) / len(seen) for values in zip(*seen, strict=True))
        return mean, dice
