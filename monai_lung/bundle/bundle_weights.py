"""Ignite handler that loads a bundle's weights, checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ignite.engine import Engine, Events
from torch import nn

from monai_lung.errors import UsageError
from monai_lung.weights import load_weights, resume


class BundleWeights:
    """Loads weights into networks when a run starts, as MONAI's `CheckpointLoader` does, but checked.

    A bundle's file has to have the sha256 that its metadata.json names; nothing in it runs.

    Args:
        bundle_root: folder of the bundle.
        load_dict: file in its `models` to the network that takes it.
        checkpoints: of those files, the training checkpoint to take instead; "" for none.
    """

    def __init__(
        self,
        bundle_root: Path | str,
        load_dict: Mapping[str, nn.Module],
        checkpoints: Mapping[str, Path | str] | None = None,
    ) -> None:
        self.bundle_root, self.load_dict = Path(bundle_root), dict(load_dict)
        self.checkpoints = dict(checkpoints or {})

    def attach(self, engine: Engine) -> None:
        """Load when the engine starts, before what else is attached to that."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine | None = None) -> None:
        """Load.

        Raises:
            UsageError: `bundle_root` is not a bundle.
            WeightsError: weights are missing, damaged, not those of the metadata, or of another network.
        """
        if not (self.bundle_root / "configs").is_dir():
            raise UsageError(
                f"--bundle_root {self.bundle_root}: not a bundle; run in the bundle's folder, or give its path"
            )
        for file, network in self.load_dict.items():
            if self.checkpoints.get(file):
                resume(network, self.checkpoints[file])
            else:
                load_weights(network, self.bundle_root, file)
