"""The page `docs/how-to/add-a-network.md`, run from its first command to its last on a few made-up nodules."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from monai_lung.data.backgrounds import Background, save_background
from monai_lung.data.crops import RATINGS
from monai_lung.phantom import PhantomSpec, make_phantom, write_phantom
from monai_lung.stages import TARGETS
from monai_lung.training.candidates import SIZE, Candidates, save

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "add-a-network.md"
BLOCKS = re.findall(r"^```(\w*) ?([^\n]*)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
FEW_STEPS = {
    "train_find.json": {"samples": 4, "patch": [16, 16, 16]},
    "my_segmentation/train.json": {"patch": [16, 16, 16]},
    "train_rate.json": {},
}


def make_crops(folder: Path) -> None:
    """Five nodules of five patients, marked by three readers."""
    for kind in ("images", "readers"):
        (folder / kind).mkdir(parents=True)
    rng, rows = np.random.default_rng(0), []
    shape, spacing = (36, 34, 9), (0.7, 0.7, 2.0)
    grid = np.stack(np.meshgrid(*[(np.arange(s) - (s - 1) / 2) for s in shape], indexing="ij"), -1) * spacing
    distance = np.linalg.norm(grid, axis=-1)
    for n in range(5):
        hu = np.where(distance <= 2 + n, 10, -850) + rng.normal(0, 15, shape)
        bits = np.where(distance <= 2 + n, 7, 0)
        for kind, values in (("images", hu.round().astype(np.int16)), ("readers", bits.astype(np.uint8))):
            image = nibabel.Nifti1Image(values, np.diag([-0.7, -0.7, 2.0, 1.0]))
            nibabel.save(image, folder / kind / f"n{n}.nii.gz")
        ratings = {name: "3 3 4" for name in RATINGS} | {"malignancy": ("1 2 2", "4 5 5")[n % 2]}
        rows.append({"id": f"n{n}", "patient": f"P{n}", "n_readers": 3, "diameter_mm": 4 + 2 * n, **ratings})
    with (folder / "nodules.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def make_candidates(folder: Path) -> None:
    """Four candidates of each of two scans, every other one true."""
    kind = np.array([1, 0, 1, 0])
    hu = np.random.default_rng(2).normal(-850, 60, (len(kind), *SIZE)).astype(np.int16)
    hu[kind == 1, 28:36, 28:36, 14:18] = 30
    mask = np.zeros(hu.shape, np.uint8)
    mask[:, 28:36, 28:36, 14:18] = 255
    label = np.ones((len(kind), 2, len(TARGETS)), np.float32)
    label[:, 0] = kind[:, None]
    numbers, places = np.ones(len(kind)), np.zeros((len(kind), 3))
    for side, name in (("train", "0-a"), ("train", "0-b"), ("held", "a"), ("held", "b")):
        names = np.full(len(kind), name)
        rest = (kind, label, names, names, numbers, places, numbers, numbers, numbers)
        (folder / side).mkdir(parents=True, exist_ok=True)
        save(Candidates(hu, mask, hu, mask, np.full_like(mask, 255), *rest), folder / side / f"{name}.npz")


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with what the page speaks of: `prepared`, `backgrounds`, `candidates`, `folds.json` and `CT`."""
    make_crops(tmp_path / "prepared")
    hu = np.random.default_rng(1).normal(-850, 60, (60, 56, 40)).round().astype(np.int16)
    hu[20:27, 18:25, 6:20] = 30
    depth = np.zeros(hu.shape, np.uint8)
    depth[3:-3, 3:-3, 3:-3] = 9
    save_background(Background("a", hu, depth, np.zeros(hu.shape, bool), np.eye(4)), tmp_path / "backgrounds")
    make_candidates(tmp_path / "candidates")
    folds = {"schema": "monai-lung/folds/1", "seed": 0, "k": 2, "patients": {f"P{n}": int(n > 2) for n in range(5)}}
    (tmp_path / "folds.json").write_text(json.dumps(folds))
    write_phantom(make_phantom(PhantomSpec(size=144, pixel_mm=2.6)), tmp_path / "phantom")
    (tmp_path / "phantom" / "dicom").rename(tmp_path / "CT")
    return tmp_path


def shell(text: str, folder: Path) -> None:
    """Run the lines of a block, as short trainings."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line)
        if words[0] == "cd":
            folder = folder / words[1]
            continue
        program = {"python": [sys.executable], "monai-lung": [sys.executable, "-m", "monai_lung"]}[words[0]]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [*program, *words[1:], *few_steps(line, folder)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"


def few_steps(line: str, folder: Path) -> list[str]:
    """Options that make a training one of a few steps."""
    found = re.search(r"configs/(train\w*\.json)", line)
    if not found:
        return []
    settings = {"epochs": 2, "batch": 2}  # each second epoch is validated
    settings |= FEW_STEPS[found[1] if found[1] in FEW_STEPS else f"{folder.name}/{found[1]}"]
    return [word for key, value in settings.items() for word in (f"--recipes#cpu#{key}", str(value))]


@pytest.mark.slow
def test_every_command_of_the_page_runs(workplace: Path) -> None:
    for language, place, text in BLOCKS:
        if language == "json":
            bundle, key = place.split()
            path = workplace / bundle / "configs" / "inference.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {key: json.loads(text)}))
        elif language == "python":
            (workplace / place).parent.mkdir(exist_ok=True)
            (workplace / place).write_text(text)
        else:
            shell(text, workplace)
    metrics = json.loads((workplace / "out" / "mine" / "metrics.json").read_text())
    assert metrics["figures"]["dice"]["all"]["n"] == 3
    (case,) = (workplace / "out" / "analysis").iterdir()
    weights = json.loads((case / "findings.json").read_text())["weights"]
    stored = json.loads((workplace / "my_segmentation" / "configs" / "metadata.json").read_text())["weights_sha256"]
    assert weights["find"] == stored["find.pt"]
    assert weights["delineate"] == stored["model.pt"]


def test_the_page_names_each_stage_as_it_is() -> None:
    from monai_lung.stages import STAGES

    text = PAGE.read_text(encoding="utf-8")
    for stage in STAGES.values():
        assert f"| {stage.name} | `{stage.bundle}` | `{stage.definition}` | `{stage.weights}` |" in text
