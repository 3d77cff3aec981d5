"""A kernel ridge regression on measured features, a baseline of the malignancy."""

from __future__ import annotations

import torch
from torch import Tensor, nn

RIDGE = 1.0
"""Penalty: about one example's worth, as features are standardised and the kernel is 1 at distance 0."""


class KernelRegression(nn.Module):
    """Ridge regression with a Gaussian kernel and a linear one (Saunders, Gammerman and Vovk, ICML 1998).

    The Gaussian's width is the root of the number of features, the mean distance of standardised features; the linear
    kernel lets what is larger or denser than every example go on as the examples end. Input (N, features), in the units
    of the examples; output (N,), about -1 for a certain no to 1 for a certain yes.

    Args:
        examples: that it was fitted on.
        features: of each.
    """

    mean: Tensor
    scale: Tensor
    examples: Tensor
    weights: Tensor

    def __init__(self, examples: int, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("examples", torch.zeros(examples, features))
        self.register_buffer("weights", torch.zeros(examples))

    @classmethod
    def fit(cls, features: Tensor, labels: Tensor) -> KernelRegression:
        """The regression of `labels` (R,), bool, on `features` (R, F).

        What is stored is rounded to half precision before the weights are found, so that it loses little where it's
        stored so.
        """
        x = features.double()
        network = cls(*x.shape).double()
        network.mean = x.mean(0).half().double()
        network.scale = x.std(0, correction=0).clamp(min=1e-3).half().double()
        network.examples = ((x - network.mean) / network.scale).half().double()
        ridge = RIDGE * torch.eye(len(x), dtype=torch.float64)
        kernel = network._kernel(network.examples)
        network.weights = torch.linalg.solve(kernel + ridge, labels.double() * 2 - 1)
        return network.float()

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, F) -> scores (N,)."""
        return self._kernel((features - self.mean) / self.scale) @ self.weights

    def _kernel(self, x: Tensor) -> Tensor:
        n = x.shape[1]
        squared = ((x[:, None] - self.examples[None]) ** 2).sum(-1)
        return torch.exp(-squared / (2 * n)) + (1 + x @ self.examples.T) / n
