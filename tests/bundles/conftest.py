"""Narrow networks in copies of the bundles, a small chest and a few crops to run them on."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from monai_lung.data.backgrounds import Background, save_background
from monai_lung.data.crops import RATINGS
from monai_lung.definitions import build_network, read_config
from monai_lung.io import write_nifti
from monai_lung.networks import ResUNet3d
from monai_lung.stages import TARGETS
from monai_lung.training.candidates import FALSE, SIZE, TRUE, Candidates, save
from monai_lung.weights import save_weights

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"


@dataclass(frozen=True)
class Bundles:
    segmentation: Path
    classification: Path
    analysis: Path
    paper: Path


def chest(path: Path, seed: int = 0) -> None:
    """A body with two lungs and five balls in them, (96, 80, 40) voxels of 3.4 x 3.4 x 6 mm, with noise."""
    rng = np.random.default_rng(seed)
    i, j, k = np.meshgrid(*[np.arange(n) for n in (96, 80, 40)], indexing="ij")

    def ellipsoid(center, radii):
        return sum(((a - c) / r) ** 2 for a, c, r in zip((i, j, k), center, radii, strict=True)) <= 1

    hu = np.where(((i - 48) / 44) ** 2 + ((j - 40) / 34) ** 2 <= 1, 40.0, -1000.0)
    for x in (28, 68):
        hu[ellipsoid((x, 40, 20), (14, 24, 15))] = -860
    for center in ((28, 40, 20), (24, 30, 15), (68, 45, 22), (70, 30, 25), (66, 50, 12)):
        hu[ellipsoid(center, (2.4, 1.4, 1.0))] = 20
    hu += rng.normal(0, 20, hu.shape)
    affine = np.diag([3.4, 3.4, 6.0, 1.0])
    affine[:3, 3] = -160, -140, 30
    write_nifti(path, np.clip(hu.round(), -1024, 3000).astype(np.int16), affine)


def crops(folder: Path, patients: list[str], seed: int = 0) -> None:
    """One nodule for each patient in the crop format, three readers who disagree at the rim."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    (folder / "readers").mkdir()
    rows = []
    for n, patient in enumerate(patients):
        shape, spacing = (36, 34, 9), (0.7, 0.7, 2.0)
        grid = np.stack(np.meshgrid(*[(np.arange(s) - (s - 1) / 2) for s in shape], indexing="ij"), -1) * spacing
        distance = np.linalg.norm(grid, axis=-1)
        radius = 2.0 + 0.9 * n
        hu = np.where(distance <= radius, 10, -850) + rng.normal(0, 15, shape)
        bits = sum((distance <= radius + d).astype(np.uint8) << b for b, d in enumerate((-0.5, 0.0, 0.5)))
        affine = np.diag([-0.7, -0.7, 2.0, 1.0])
        nibabel.save(nibabel.Nifti1Image(hu.round().astype(np.int16), affine), folder / "images" / f"n{n}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(bits.astype(np.uint8), affine), folder / "readers" / f"n{n}.nii.gz")
        ratings = {name: "3 3 4" for name in RATINGS}
        ratings |= {"malignancy": ("1 2 2", "4 5 3", "3 3 3", "2 2 5")[n % 4], "texture": ("5 5 5", "1 1 2")[n % 2]}
        rows.append({"id": f"n{n}", "patient": patient, "n_readers": 3, "diameter_mm": round(2 * radius, 2), **ratings})
    with (folder / "nodules.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


@pytest.fixture(scope="session")
def ct_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cts")
    chest(folder / "one.nii.gz")
    return folder


@pytest.fixture(scope="session")
def crop_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crops") / "set"
    crops(folder, [f"P{n}" for n in (0, 1, 2, 3, 4, 4)])
    return folder


@pytest.fixture(scope="session")
def slice_dir(crop_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The middle slice of each crop, as marked by the first reader."""
    folder = tmp_path_factory.mktemp("slices")
    with (crop_dir / "nodules.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    images, readers = (
        np.stack([np.asarray(nibabel.load(crop_dir / kind / f"{row['id']}.nii.gz").dataobj)[..., 4] for row in rows])
        for kind in ("images", "readers")
    )
    np.savez(folder / "slices.npz", image_hu=images, readers=readers & 1)
    with (folder / "slices.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, [*rows[0], "row", "spacing_mm"])
        table.writeheader()
        for n, row in enumerate(rows):
            own = {name: row[name].split()[0] for name in RATINGS} | {"n_readers": 1}
            table.writerow({**row, **own, "row": n, "spacing_mm": 0.7})
    return folder


@pytest.fixture(scope="session")
def fold_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("folds") / "folds.json"
    content = {"schema": "monai-lung/folds/1", "seed": 0, "k": 2, "patients": {f"P{n}": n % 2 for n in range(5)}}
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="session")
def background_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two lungs of noise with a vessel, on each recipe's grid."""
    folder = tmp_path_factory.mktemp("backgrounds")
    rng = np.random.default_rng(0)
    for recipe, spacing in (("cpu", (1.0, 1.0, 2.0)), ("best", (1.0, 1.0, 2.0)), ("paper", (1.5, 1.5, 3.0))):
        for name in ("a", "b"):
            hu = rng.normal(-850, 60, (48, 44, 28)).round().astype(np.int16)
            hu[::6, ::5] = -100
            hu[20:27, 18:25, 6:20] = 30  # a vessel as thick as a nodule
            depth = np.zeros(hu.shape, np.uint8)
            depth[3:-3, 3:-3, 3:-3] = 9
            save_background(
                Background(name, hu, depth, np.zeros(hu.shape, bool), np.diag([*spacing, 1.0])), folder / recipe
            )
    return folder


@pytest.fixture(scope="session")
def candidate_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three true and three false candidates of each of two scans: bright balls, and noise."""
    folder = tmp_path_factory.mktemp("candidates")
    rng = np.random.default_rng(0)
    kind = np.array([TRUE, FALSE] * 3)
    near = rng.normal(-850, 60, (len(kind), *SIZE))
    near[kind == TRUE, 26:38, 26:38, 13:19] = 30
    mask = np.zeros(near.shape, np.uint8)
    mask[:, 26:38, 26:38, 13:19] = 255
    label = np.zeros((len(kind), 2, len(TARGETS)), np.float32)
    label[:, 0, 0], label[:, 1, 0] = kind == TRUE, 1
    hu, ones = near.astype(np.int16), np.ones(len(kind))
    for side, name in (("train", "0-a"), ("train", "0-b"), ("held", "a"), ("held", "b")):
        (folder / side).mkdir(exist_ok=True)
        names = np.full(len(kind), name)
        rest = (kind, label, names, names, ones, np.zeros((len(kind), 3)), 9 * ones, 9 * ones, -9 * ones)
        save(Candidates(hu, mask, hu, mask, np.full_like(mask, 255), *rest), folder / side / f"{name}.npz")
    return folder


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """Copies of the bundles with narrow networks; those that segment call dense voxels nodule."""
    root = tmp_path_factory.mktemp("bundles")
    names = ("segmentation", "classification", "analysis", "paper")
    for name in names:
        shutil.copytree(BUNDLES / f"lung_nodule_{name}", root / f"lung_nodule_{name}", ignore=_weights)
    made = Bundles(*(root / f"lung_nodule_{name}" for name in names))
    for bundle, changes in (
        (made.segmentation, {"find_def": {"width": 4}, "network_def": {"width": 4}, "correct_def": {"width": 4}}),
        (
            made.classification,
            {"network_def": {"near_width": 2, "wide_width": 2}, "malignancy_def": {"width": 4, "members": 2}},
        ),
        (made.paper, {"network_def": {"width": 4}, "classify_def": {"width": 2}}),
    ):
        path = bundle / "configs" / "inference.json"
        config = json.loads(path.read_text())
        for key, values in changes.items():
            config[key].update(values)
        if "find_settings" in config:
            config["find_settings"] |= {"spacing_mm": [2.5, 2.5, 4.0], "window": [32, 32, 16], "threshold": 0.5}
            config["delineate_settings"] |= {"threshold": 0.5}
        elif "segment_settings" in config:
            config["segment_settings"] |= {"subcase": [96, 112, 32]}
            config["classify_settings"] |= {"region": [24, 24, 8], "spread": 1.0}
        else:
            config["rate_settings"] |= {"min_nodule": 0.0, "operating_points": {}}
        path.write_text(json.dumps(config))
    _save_weights(made)
    return made


def _weights(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name.endswith(".pt")]


def calls_dense_nodule(network: ResUNet3d) -> ResUNet3d:
    """`network` of width 4, stem (2, 2, 1) or (1, 1, 1), that calls every voxel above -265 HU nodule, wherever it is.

    All residual branches are silent; the first skip connection carries the folded voxels to the head, of several
    channels the first.
    """
    voxels = network.head.out_channels
    four = torch.eye(4)[:, :voxels].reshape(4, voxels, 1, 1, 1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm2" in name or "identity" in name or "head" in name:
                parameter.zero_()
        first = network.encoder[0].identity
        if isinstance(first, torch.nn.Conv3d):
            first.weight[:, :voxels] = four
        network.decoder[-1].identity.weight[:, 4:] = torch.eye(4).reshape(4, 4, 1, 1, 1)
        network.head.weight[:] = 20 * four.transpose(0, 1)
        network.head.bias[:] = -20 * 0.525
    return network


def _save_weights(bundles: Bundles) -> None:
    torch.manual_seed(0)
    config = read_config(bundles.segmentation)
    for key, file in (("find_def", "find.pt"), ("network_def", "model.pt"), ("correct_def", "correct.pt")):
        network = calls_dense_nodule(build_network(config, key, bundles.segmentation))
        save_weights(network, bundles.segmentation, file)
    config = read_config(bundles.classification)
    for key, file in (("network_def", "model.pt"), ("malignancy_def", "malignancy.pt")):
        torch.manual_seed(0)  # what one draws doesn't depend on the other
        save_weights(build_network(config, key, bundles.classification), bundles.classification, file)
    config = read_config(bundles.paper)
    save_weights(calls_dense_nodule(build_network(config, "network_def", bundles.paper)), bundles.paper, "model.pt")
    save_weights(build_network(config, "classify_def", bundles.paper), bundles.paper, "classify.pt")
