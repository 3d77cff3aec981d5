"""`monai-lung train all`: the trainings of the weights that ship, one command after the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import rich_click as click
from click.exceptions import Exit

from monai_lung.cli.options import PATH, command
from monai_lung.errors import UsageError

UNSEEN = ("LIDC-IDRI-0001", "LIDC-IDRI-0003")
"""Their nodules are never trained on: there the networks are tried on whole scans."""
LEFT_OUT = ("LIDC-IDRI-0003", "QIN-LSC-0009", "QIN-LSC-0055", "LungCT-Diagnosis-R_168")
"""Scans whose lungs a first training leaves out, which calibrates and judges; what ships goes on with all lungs."""
ROUNDS = (2, 3, 4)
"""Further trainings of the network that finds, each on what the one before mistook for nodules."""
DELINEATE = (
    ("epochs=8", "rate=0.002"),
    ("epochs=6", "rate=0.0015"),
    ("epochs=14", "rate=0.0015"),
    ("epochs=30", "rate=0.0012"),
    ("epochs=12", "rate=0.0008", "target=half"),
    ("epochs=26", "rate=0.0012", "target=half"),
)
"""Settings of the cycles of the network that delineates, each from where the one before ended."""


@command(name="all", short_help="Train all networks as the shipped ones were, some hours on two cores.")
@click.argument("data", metavar="DATA", type=PATH)
@click.argument("out", metavar="OUT", type=PATH)
def train_all(data: Path, out: Path) -> None:
    """Train all networks as the shipped ones were trained, some hours on two cores.

    DATA holds ct/ and lungs/ with the scans that `train backgrounds` knows, lidc_crops/ and lidc_slices/; OUT takes
    the rest. Run it again with the same OUT, and it continues where it stopped. Nothing is stored in the bundles: the
    last lines that it prints say how to do that.

    The shipped weights were made a little differently: with other seeds; finding continued from the weights of version
    0.1, in two rounds; rating's near look continued from version 0.1's network and its wide look from eight epochs of
    its own, then both for seven epochs in two rounds, not six; delineating and malignancy are those of version 0.1,
    which drew other hard negatives.
    """
    for part in ("ct", "lungs", "lidc_crops", "lidc_slices"):
        if not (data / part).is_dir():
            raise UsageError(f"{data / part}: not found; DATA holds ct/, lungs/, lidc_crops/ and lidc_slices/")
    _Run(data, out).all()


class _Run:
    """The trainings of one folder OUT."""

    def __init__(self, data: Path, out: Path) -> None:
        self.data, self.out = data, out
        self.crops = data / "lidc_crops"

    def all(self) -> None:
        """Train all, and say what comes next."""
        self.find()
        self.rate()
        self.delineate()
        members = self.malignancy()
        program, scans = "monai-lung", " ".join(LEFT_OUT)
        click.echo(
            "Put them into the bundles, then calibrate:\n"
            f"{program} store-weights find {self.last('find-all')}\n"
            f"{program} store-weights delineate {self.last(f'delineate-{len(DELINEATE)}')}\n"
            f"{program} store-weights rate {self.last('rate-all')}\n"
            f"{program} calibrate nodules --crops {self.crops} --store {self.out / 'candidates'} "
            f"{self.last('rate-left-out')} docs {scans}\n"
            f"{program} calibrate malignancy {self.crops} 0 {' '.join(members)}"
        )

    def call(self, *words: str | Path) -> None:
        """A command of this program in a process of its own, so that its memory is given back.

        Raises:
            Exit: it failed, and has said why.
        """
        code = subprocess.run([sys.executable, "-m", "monai_lung", "train", *map(str, words)], check=False).returncode
        if code:
            raise Exit(code)

    def network(self, name: str, folder: str, *words: str | Path, settings: tuple[str, ...] = ()) -> None:
        """A training by the recipe `cpu`, with other values of it."""
        changed = [word for setting in settings for word in ("--set", f"recipes#cpu#{setting}")]
        self.call(name, *words, "-o", self.out / folder, "--recipe", "cpu", "--resume", *changed)

    def last(self, folder: str) -> Path:
        """The checkpoint at the end of a training.

        Raises:
            UsageError: there is none.
        """
        found = sorted((self.out / folder).rglob("model_final*.pt"), key=lambda path: path.stat().st_mtime)
        if not found:
            raise UsageError(f"{self.out / folder}: no training has ended there")
        return found[-1]

    def start(self, folder: str) -> tuple[str | Path, ...]:
        """Words that start a training from another's end."""
        return "--start", self.last(folder)

    def find(self) -> None:
        """Find, on four lungs fewer; then on what it mistook for nodules; at the end on all lungs."""
        lungs = self.out / "backgrounds"
        self.call("backgrounds", self.data, lungs)
        without = [word for scan in LEFT_OUT for word in ("--exclude-background", scan)]
        size = ("batch=8", "samples=2000")

        def train(name: str, lungs: Path, *words: str | Path, settings: tuple[str, ...]) -> None:
            always: tuple[str | Path, ...] = (
                "--backgrounds",
                lungs,
                "--slices",
                self.data / "lidc_slices",
                *_exclude(),
            )
            self.network("find", f"find-{name}", self.crops, *always, *words, settings=(*size, *settings))

        train("1", lungs, *without, settings=("epochs=14",))
        for number in ROUNDS:
            mined = self.mined(number - 1)
            start = self.start(f"find-{number - 1}")
            train(str(number), mined, *without, *start, settings=("epochs=8", "rate=0.0015"))
        mined, start = self.mined(ROUNDS[-1]), self.start(f"find-{ROUNDS[-1]}")
        train("all", mined, *start, settings=("epochs=4", "rate=0.001"))

    def mined(self, number: int) -> Path:
        """The lungs with what a training mistook for nodules."""
        folder = self.out / f"mined-{number}"
        self.call("hard-negatives", self.last(f"find-{number}"), self.out / "backgrounds", folder)
        return folder

    def rate(self) -> None:
        """Rate, on what the network proposes that hasn't seen four lungs; then on all lungs."""
        found = self.out / "candidates"
        mined = self.out / f"mined-{ROUNDS[-1]}"
        self.call("candidates", self.data, mined, found, "--checkpoint", self.last(f"find-{ROUNDS[-1]}"))
        self.network("rate", "rate-left-out", found, *[word for scan in LEFT_OUT for word in ("--left-out", scan)])
        start = self.start("rate-left-out")
        self.network("rate", "rate-all", found, *start, settings=("epochs=6", "rate=0.001"))

    def delineate(self) -> None:
        """Delineate, in cycles."""
        for number, settings in enumerate(DELINEATE, start=1):
            start: tuple[str | Path, ...] = self.start(f"delineate-{number - 1}") if number > 1 else ()
            self.network("delineate", f"delineate-{number}", self.crops, *_exclude(), *start, settings=settings)

    def malignancy(self) -> list[str]:
        """A network for each fold but the one that judges; each as FOLD=CHECKPOINT."""
        for fold in (1, 2, 3, 4):
            words: tuple[str | Path, ...] = (
                "--slices",
                self.data / "lidc_slices",
                "--fold",
                str(fold),
                "--without",
                "0",
                *_exclude(),
            )
            self.network("malignancy", f"malignancy-{fold}", self.crops, *words)
        return [f"{fold}={self.last(f'malignancy-{fold}')}" for fold in (1, 2, 3, 4)]


def _exclude() -> list[str]:
    return [word for patient in UNSEEN for word in ("--exclude", patient)]
