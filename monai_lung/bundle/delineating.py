"""From seeds to nodules, as MONAI inferers and transforms."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import MapTransform, Transform
from torch import Tensor, nn

from monai_lung.bundle.cases import ct_of
from monai_lung.definitions import settings
from monai_lung.inference.branching import without_branches
from monai_lung.inference.delineate import SHARED, delineate_each, within_lungs, without_copies, without_doubles
from monai_lung.inference.networks import Delineator
from monai_lung.labels import center_seed, label_map
from monai_lung.model import LEFT_LUNG, RIGHT_LUNG, Lungs
from monai_lung.stages import DelineateSettings


class DelineateSeedsd(MapTransform):
    """The nodule at each seed, on the CT's own grid: the network looks at a patch around each, on its own grid.

    Args:
        keys: of the seeds, lists of `monai_lung.model.Seed`; they become lists of `monai_lung.model.Outline`.
        network: delineates, on its device.
        delineate_settings: as in the bundle's config.
        image_key: of the CT, int16 HU (1, X, Y, Z), a MetaTensor.
        bundle_root: named in errors.

    >>> from monai_lung.model import Seed
    >>> hu = torch.full((1, 40, 40, 20), -800, dtype=torch.int16)
    >>> hu[0, 18:22, 18:22, 9:11] = 0
    >>> ct = MetaTensor(hu, affine=torch.diag(torch.tensor([-1.0, -1.0, 2.0, 1.0])))
    >>> dense = nn.Conv3d(1, 1, 1)  # says nodule above -300 HU
    >>> dense.load_state_dict({"weight": torch.full((1, 1, 1, 1, 1), 40.0), "bias": torch.tensor([-20.0])})
    <All keys matched successfully>
    >>> step = DelineateSeedsd("nodules", dense, {"spacing_mm": [1, 1, 2], "patch": [16, 16, 8], "threshold": 0.5})
    >>> outline, = step({"ct": ct, "nodules": [Seed((19.5, 19.5, 19.0), 1.0, 4.0)]})["nodules"]
    >>> int(outline.mask.sum())
    32
    """

    def __init__(
        self,
        keys: KeysCollection,
        network: nn.Module,
        delineate_settings: Mapping[str, Any],
        image_key: str = "ct",
        bundle_root: Path | str = "",
    ) -> None:
        super().__init__(keys)
        self.network, self.image_key = network, image_key
        self.settings = settings(DelineateSettings, delineate_settings, Path(bundle_root))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Seeds to outlines."""
        items = dict(data)
        ct = ct_of(items[self.image_key][0], items[self.image_key].affine)
        delineator = Delineator(self.network, self.settings, device_of(self.network))
        for key in self.key_iterator(items):
            items[key] = [one for one in delineate_each(ct, items[key], delineator) if one is not None]
        return items


class KeepInLungsd(MapTransform):
    """Leave out what lies outside the lungs: of outlines those of which less than 0.4 is in them or 2 mm beside.

    Args:
        keys: of lists of outlines.
        image_key, lungs_key: of the CT and its lungs, (1, X, Y, Z) on one grid, MetaTensors.

    >>> from monai_lung.model import Outline, Seed
    >>> block = np.ones((2, 2, 2), bool)
    >>> nodule = Outline(block, block.astype(np.float32), (1, 1, 1), Seed((0.0, 0.0, 0.0), 1.0, 2.0))
    >>> ct = MetaTensor(torch.zeros(1, 4, 4, 4), affine=torch.eye(4))
    >>> KeepInLungsd("nodules")({"ct": ct, "lungs": torch.zeros_like(ct), "nodules": [nodule]})["nodules"]
    []
    """

    def __init__(self, keys: KeysCollection, image_key: str = "ct", lungs_key: str = "lungs") -> None:
        super().__init__(keys)
        self.image_key, self.lungs_key = image_key, lungs_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Fewer outlines, in their order."""
        items = dict(data)
        ct = ct_of(items[self.image_key][0], items[self.image_key].affine)
        lungs = lungs_of(items[self.lungs_key], ct.voxel_mm3)
        for key in self.key_iterator(items):
            items[key] = within_lungs(items[key], ct, lungs)
        return items


class DropBranchesd(MapTransform):
    """Leave out large outlines that branch, as a hilum and vessels do (`inference.branching`).

    Args:
        keys: of lists of outlines.
        image_key: of the CT (1, X, Y, Z), a MetaTensor.

    >>> from monai_lung.model import Outline, Seed
    >>> cross = np.zeros((30, 30, 30), bool)
    >>> cross[:, 12:18, 12:18] = cross[12:18, :, 12:18] = cross[12:18, 12:18] = True
    >>> vessels = Outline(cross, cross.astype(np.float32), (0, 0, 0), Seed((0.0, 0.0, 0.0), 1.0, 20.0))
    >>> ct = MetaTensor(torch.zeros(1, 30, 30, 30), affine=torch.eye(4))
    >>> DropBranchesd("nodules")({"ct": ct, "nodules": [vessels]})["nodules"]
    []
    """

    def __init__(self, keys: KeysCollection, image_key: str = "ct") -> None:
        super().__init__(keys)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Fewer outlines, in their order."""
        items = dict(data)
        ct = ct_of(items[self.image_key][0], items[self.image_key].affine)
        for key in self.key_iterator(items):
            items[key] = without_branches(items[key], ct)
        return items


class DropDoublesd(MapTransform):
    """Of outlines that share more than `overlap` of the smaller one leave the larger.

    After `KeepInLungsd`: a large outline that isn't of a lung must not take a nodule's place and then go itself.

    Args:
        keys: of lists of outlines.
        image_key: of the CT (1, X, Y, Z), a MetaTensor.
        overlap: 0...1.
        copies_only: leave out only what is nearly another outline, where a rating follows that tells which is a nodule.

    >>> from monai_lung.model import Outline, Seed
    >>> block = np.ones((2, 2, 2), bool)
    >>> nodule = Outline(block, block.astype(np.float32), (1, 1, 1), Seed((0.0, 0.0, 0.0), 1.0, 2.0))
    >>> ct = MetaTensor(torch.zeros(1, 4, 4, 4), affine=torch.eye(4))
    >>> len(DropDoublesd("nodules")({"ct": ct, "nodules": [nodule, nodule]})["nodules"])
    1
    """

    def __init__(
        self, keys: KeysCollection, image_key: str = "ct", overlap: float = SHARED, *, copies_only: bool = False
    ) -> None:
        super().__init__(keys)
        self.image_key, self.overlap, self.copies_only = image_key, overlap, copies_only

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Fewer outlines, in their order."""
        items = dict(data)
        ct = ct_of(items[self.image_key][0], items[self.image_key].affine)
        for key in self.key_iterator(items):
            if self.copies_only:
                items[key] = without_copies(items[key], ct)
            else:
                items[key] = without_doubles(items[key], ct, self.overlap)
        return items


class LabelNodulesd(Transform):
    """Outlines back onto the CT's own grid: a map with k where the kth largest is.

    Args:
        key: of the list of outlines.
        image_key: of the CT (1, X, Y, Z), a MetaTensor.
        output_key: of the map, int32 (1, X, Y, Z) with the CT's affine.

    >>> from monai_lung.model import Outline, Seed
    >>> block = np.ones((2, 2, 2), bool)
    >>> nodule = Outline(block, block.astype(np.float32), (1, 1, 1), Seed((0.0, 0.0, 0.0), 1.0, 2.0))
    >>> ct = MetaTensor(torch.zeros(1, 4, 4, 4), affine=torch.eye(4))
    >>> int(LabelNodulesd()({"ct": ct, "nodules": [nodule]})["pred"].sum())
    8
    """

    def __init__(self, key: str = "nodules", image_key: str = "ct", output_key: str = "pred") -> None:
        self.key, self.image_key, self.output_key = key, image_key, output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the map."""
        image = data[self.image_key]
        labels = label_map(data[self.key], tuple(image.shape[1:])).astype(np.int32)
        return {**data, self.output_key: MetaTensor(torch.from_numpy(labels)[None], affine=image.affine)}


class CenterInferer(Inferer):
    """Delineates the one nodule of a crop; its seed is the crop's centre.

    Args:
        delineate_settings: as in the bundle's config.
        bundle_root: named in errors.

    >>> hu = torch.full((1, 1, 40, 40, 20), -800, dtype=torch.int16)
    >>> hu[..., 18:22, 18:22, 9:11] = 0
    >>> crops = MetaTensor(hu, affine=torch.diag(torch.tensor([-1.0, -1.0, 2.0, 1.0])))
    >>> dense = nn.Conv3d(1, 1, 1)  # says nodule above -300 HU
    >>> dense.load_state_dict({"weight": torch.full((1, 1, 1, 1, 1), 40.0), "bias": torch.tensor([-20.0])})
    <All keys matched successfully>
    >>> outline = CenterInferer({"spacing_mm": [1, 1, 2], "patch": [16, 16, 8], "threshold": 0.5})(crops, dense)
    >>> tuple(outline.shape), int(outline.sum())
    ((1, 1, 40, 40, 20), 32)
    """

    def __init__(self, delineate_settings: Mapping[str, Any], bundle_root: Path | str = "") -> None:
        super().__init__()
        self.settings = settings(DelineateSettings, delineate_settings, Path(bundle_root))

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Masks of a batch.

        Args:
            inputs: MetaTensor (N, 1, X, Y, Z) HU with its RAS affine.
            network: the delineating network.
            args, kwargs: not used.

        Returns:
            MetaTensor int32 (N, 1, X, Y, Z), 1 where the nodule is.
        """
        delineator = Delineator(network, self.settings, inputs.device)
        result = torch.zeros_like(inputs[:, :1], dtype=torch.int32)
        for n, affine in enumerate(_affines(inputs)):
            ct = ct_of(inputs[n, 0], affine)
            (outline,) = delineate_each(ct, [center_seed(ct)], delineator)
            if outline is not None:
                result[n, 0] = torch.from_numpy(label_map([outline], ct.hu.shape).astype(np.int32)).to(result.device)
        return result


def lungs_of(labels: Tensor, voxel_mm3: float) -> Lungs:
    """Lungs (1, X, Y, Z) as the stages take them, with their volumes."""
    mask = labels[0].cpu().numpy().astype(np.uint8)
    right, left = (float((mask == side).sum()) * voxel_mm3 / 1000 for side in (RIGHT_LUNG, LEFT_LUNG))
    return Lungs(mask, right, left)


def device_of(network: nn.Module) -> torch.device:
    """Where a network's weights are; one without any is on the CPU."""
    first = next(network.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def _affines(inputs: Tensor) -> Tensor:
    """RAS affine (N, 4, 4) of each image of a batch."""
    if not isinstance(inputs, MetaTensor):
        raise TypeError("an image without an affine has no voxel size: give a MetaTensor")
    return inputs.affine.reshape(-1, 4, 4).expand(len(inputs), 4, 4)
