"""From a CT to seeds, as a MONAI inferer and transforms: windows over the lungs, and the places that they show."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from monai.transforms import MapTransform, Transform
from torch import Tensor

from monai_lung.bundle.delineating import device_of
from monai_lung.definitions import settings
from monai_lung.inference.find import seeds_of, slide, with_masses
from monai_lung.model import Seed
from monai_lung.stages import FindSettings
from monai_lung.transforms.averaged_spacing import grid_of


class LungSlidingWindowInferer(SlidingWindowInferer):
    """MONAI's `SlidingWindowInferer` that lays its windows where the lungs are, about half as many.

    Called without `inside` it is MONAI's own, on the whole image. `PrepareBatchExtraInput(extra_keys={"inside": …})`
    gives it a batch's masks. It computes in bfloat16 where the device has that in hardware, and with fewer windows at
    once where memory runs out.

    Args:
        roi_size: voxels of a window.
        sw_batch_size: windows at a time.
        overlap: share of a window's side that neighbours share at least, below 1.
        mode: how windows are blended: "gaussian"; another one only without `inside`.
        kwargs: as MONAI's.

    >>> inside = torch.zeros(1, 1, 40, 40, 40, dtype=torch.bool)
    >>> inside[..., 4:9, 4:9, 4:9] = True
    >>> windows = []
    >>> def network(image):
    ...     windows.extend(image)
    ...     return image
    >>> inferer = LungSlidingWindowInferer((16, 16, 16))
    >>> _ = inferer(torch.rand(1, 1, 40, 40, 40), network, inside=inside)
    >>> len(windows)
    1
    """

    def __init__(
        self,
        roi_size: Sequence[int],
        sw_batch_size: int = 4,
        overlap: float = 0.25,
        mode: str = "gaussian",
        **kwargs: Any,
    ) -> None:
        super().__init__(roi_size, sw_batch_size, overlap, mode, **kwargs)
        self._window, self._overlap = tuple(int(n) for n in roi_size), float(overlap)

    def __call__(
        self,
        inputs: Tensor,
        network: Callable[..., Any],
        *args: Any,
        inside: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """The network's output.

        Args:
            inputs: (N, C, X, Y, Z), at least a window large.
            network: of windows.
            args, kwargs: further arguments of the network.
            inside: bool (N, 1, X, Y, Z), where an answer is wanted; None is everywhere.

        Returns:
            Logits float32 (N, 1, X, Y, Z); of a MetaTensor with its affine. Far from `inside` a logit that says no.
        """
        if inside is None:
            return super().__call__(inputs, network, *args, **kwargs)
        looks = [
            slide(image[None], where[0], network, self._window, self._overlap, self.sw_batch_size)
            for image, where in zip(inputs, inside.to("cpu"), strict=True)
        ]
        logits = torch.stack(looks)[:, None]
        return MetaTensor(logits).copy_meta_from(inputs) if isinstance(inputs, MetaTensor) else logits


class SlideOverLungsd(MapTransform):
    """Another look at the same CT: run a network with an inferer on an item, as an evaluator does on its image.

    Args:
        keys: images (C, X, Y, Z).
        network, inferer: as of the evaluator.
        inside_keys: where an answer is wanted, a mask for each key.
        output_keys: of the logits, one for each key.

    >>> item = {"coarse": torch.rand(1, 16, 16, 16), "near": torch.ones(1, 16, 16, 16, dtype=torch.bool)}
    >>> inferer = LungSlidingWindowInferer((16, 16, 16))
    >>> look = SlideOverLungsd("coarse", torch.nn.Identity(), inferer, ["near"], ["pred"])
    >>> tuple(look(item)["pred"].shape)
    (1, 16, 16, 16)
    """

    def __init__(
        self,
        keys: KeysCollection,
        network: torch.nn.Module,
        inferer: Callable[..., Any],
        inside_keys: Sequence[str],
        output_keys: Sequence[str],
    ) -> None:
        super().__init__(keys)
        self.network, self.inferer = network, inferer
        self.inside_keys, self.output_keys = list(inside_keys), list(output_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add logits (1, X, Y, Z) on the CPU."""
        items = dict(data)
        device = device_of(self.network)
        for key, inside, output in self.key_iterator(items, self.inside_keys, self.output_keys):
            image = items[key][None].to(device)
            items[output] = self.inferer(image, self.network, inside=items[inside][None])[0].cpu()
        return items


class SeedsFromProbabilityd(Transform):
    """Places where a nodule may be, from the map of its probability, best first: `inference.find` says how.

    Args:
        key: of the probability (1, X, Y, Z), 0...1, a MetaTensor.
        mass_key: of the same at the coarse look, for masses alone; "" for none.
        find_settings: as in the bundle's config: `threshold`, `min_score`, `mass_mm`.
        bundle_root: named in errors.
        output_key: of the list of `monai_lung.model.Seed`.

    >>> probability = torch.zeros(1, 9, 9, 9)
    >>> probability[0, 4, 4, 4] = 0.9
    >>> grid = {"spacing_mm": [1, 1, 1], "window": [8, 8, 8], "overlap": 0.25, "threshold": 0.3, "min_score": 0.6}
    >>> item = {"pred": MetaTensor(probability, affine=torch.diag(torch.tensor([-1.0, -1, 1, 1])))}
    >>> seed, = SeedsFromProbabilityd(find_settings=grid)(item)["seeds"]
    >>> seed.center_mm
    (4.0, 4.0, 4.0)
    """

    def __init__(
        self,
        key: str = "pred",
        mass_key: str = "",
        *,
        find_settings: Mapping[str, Any],
        bundle_root: Path | str = "",
        output_key: str = "seeds",
    ) -> None:
        self.key, self.mass_key, self.output_key = key, mass_key, output_key
        self.settings = settings(FindSettings, find_settings, Path(bundle_root))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the seeds."""
        seeds = self._seeds(data[self.key])
        if self.mass_key:
            seeds = with_masses(seeds, self._seeds(data[self.mass_key]), self.settings)
        return {**data, self.output_key: seeds}

    def _seeds(self, probability: MetaTensor) -> list[Seed]:
        return seeds_of(probability[0].cpu().numpy(), grid_of(probability), self.settings)
