"""Whole CTs in a bundle: what there is to run on, how it's read, where the results go."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from numpy.typing import NDArray

from monai_lung.chest import read_chest
from monai_lung.errors import MaskError, UsageError
from monai_lung.io import Case, CTReader, find_cases, replacing, write_nifti
from monai_lung.io.reader import one_case
from monai_lung.model import CT, LPS_RAS, Rating

MASK_FILE = "nodules.nii.gz"
"""Label map of one case in a folder of results: k where nodule k is, on the CT's own grid."""


def ct_items(dataset_dir: Path | str, series_uid: str | None = None) -> list[dict[str, Any]]:
    """An item for each case of `find_cases`: `ct` (what `LoadImaged` reads with `CTReader`) and `case` (its name).

    Raises:
        MonaiLungError: as `find_cases`.
    """
    return [{"ct": case, "case": case.name} for case in find_cases(dataset_dir, series_uid)]


def masked_items(dataset_dir: Path | str, mask_dir: Path | str, series_uid: str | None = None) -> list[dict[str, Any]]:
    """The items of `ct_items` that have nodules, with a `mask`, the path `mask_dir/<case>/nodules.nii.gz`.

    Raises:
        UsageError: a case has no mask.
        MaskError: a mask can't be read.
        MonaiLungError: as `find_cases`.
    """
    items = ct_items(dataset_dir, series_uid)
    for item in items:
        item["mask"] = Path(mask_dir) / item["case"] / MASK_FILE
        if not item["mask"].is_file():
            raise UsageError(f"{item['mask']}: not found; run lung_nodule_segmentation on the same CTs first")
    return [item for item in items if _labels(item["mask"])[0].any()]


def read_mask(path: Path, ct: CT) -> NDArray[np.integer[Any]]:
    """Labels (X, Y, Z) on the grid of `ct`.

    Raises:
        MaskError: the mask can't be read, or isn't on that grid.
    """
    labels, affine = _labels(path)
    if labels.shape != ct.hu.shape or not np.allclose(LPS_RAS @ affine, ct.affine_lps, atol=1e-2):
        raise MaskError(
            f"{path}: not on the voxel grid of its CT (sizes {labels.shape} and {ct.hu.shape}); make it from this CT"
        )
    return labels.astype(np.int64)


def _labels(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    try:
        image: Any = nibabel.load(path)
        return np.asarray(image.dataobj), image.affine
    except Exception as error:  # nibabel raises many kinds, zlib and OS errors among them
        raise MaskError(f"{path}: can't be read ({error}); make it again") from error


class ChestReader(CTReader):
    """`CTReader` that takes, of a study with several series, the first that holds lungs, as `analyze` does."""

    def ct_of(self, source: Path | Case) -> CT:
        """The CT of a path or a case; errors as `chest.read_chest`."""
        case = source if isinstance(source, Case) else one_case(source, self.series_uid)
        if not case.others:
            return super().ct_of(case)
        return read_chest(case, allow_gaps=self.allow_gaps)[0]


def image_of(ct: CT) -> MetaTensor:
    """HU int16 (1, X, Y, Z) with the CT's RAS affine."""
    affine = torch.from_numpy(LPS_RAS @ ct.affine_lps)
    return MetaTensor(torch.from_numpy(ct.hu[None]), affine=affine, meta={"filename_or_obj": str(ct.path)})


def ct_of(image: torch.Tensor, affine_ras: torch.Tensor) -> CT:
    """HU (X, Y, Z) as the CT that the stages take; values below -1024 are clipped."""
    hu = np.rint(image.detach().cpu().numpy()).astype(np.int16)
    affine = affine_ras.detach().cpu().numpy().astype(np.float64)
    return CT(np.maximum(hu, -1024), LPS_RAS @ affine, name="image", path=Path("image"))


class SaveLabels:
    """Ignite handler: writes each item's `pred`, a MetaTensor, as a label map, complete or not at all.

    Args:
        output_dir: where to.
        file: path below it; `{}` stands for the item's name.
        key: the item's name in the batch.
        dtype: of the stored voxels.
    """

    def __init__(self, output_dir: Path | str, file: str, key: str, dtype: str = "uint16") -> None:
        self.output_dir, self.file, self.key, self.dtype = Path(output_dir), file, key, np.dtype(dtype)

    def attach(self, engine: Engine) -> None:
        """Write after each iteration."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the items of one iteration.

        Raises:
            OutputError: a file can't be written.
        """
        for item, output in item_pairs(engine):
            path = self.output_dir / self.file.format(item[self.key])
            labels = output["pred"][0].cpu().numpy().astype(self.dtype)
            write_nifti(path, labels, LPS_RAS @ output["pred"].affine.cpu().numpy())


def item_pairs(engine: Engine) -> list[tuple[Any, Any]]:
    """The inputs and outputs of an engine's iteration, one item at a time."""
    batch: Any = engine.state.batch
    output: Any = engine.state.output
    return list(zip(batch, output, strict=True))


def write_predictions(path: Path | str, columns: Sequence[str], rows: Iterable[tuple[Sequence[str], Rating]]) -> None:
    """Write `predictions.csv`: `columns`, which identify a nodule, then `malignancy_probability, low, high`.

    Raises:
        OutputError: the file can't be written.
    """
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow([*columns, "malignancy_probability", "low", "high"])
        for key, rating in rows:
            values = (rating.malignancy_probability, *rating.malignancy_interval)
            table.writerow([*key, *(f"{v:.6f}" for v in values)])
