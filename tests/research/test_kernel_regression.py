from __future__ import annotations

import torch

from research.study.kernel_regression import KernelRegression


def _ring(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points in the plane, of very different units; those in the middle are True, which no straight line tells."""
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    return x * torch.tensor([0.01, 500.0]) + torch.tensor([3.0, -200.0]), x.norm(dim=1) < 1.1


def test_it_learns_what_no_line_separates() -> None:
    network = KernelRegression.fit(*_ring(300, 0))
    features, labels = _ring(200, 1)
    scores = network(features)
    assert ((scores > 0) == labels).float().mean() > 0.93
    assert scores[labels].mean() > 0.5
    assert scores[~labels].mean() < -0.5


def test_it_equals_scikit_learns_kernel_ridge_with_the_same_kernel() -> None:
    from sklearn.kernel_ridge import KernelRidge

    x, labels = _ring(80, 2)
    network = KernelRegression.fit(x, labels)

    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(torch.exp(-((torch.tensor(a) - torch.tensor(b)) ** 2).sum() / 4) + (1 + torch.tensor(a @ b)) / 2)

    known = KernelRidge(alpha=1.0, kernel=kernel).fit(network.examples.double().numpy(), labels.double() * 2 - 1)
    other = ((_ring(20, 3)[0] - network.mean) / network.scale).double().numpy()
    torch.testing.assert_close(network(_ring(20, 3)[0]).double(), torch.tensor(known.predict(other)), atol=1e-3, rtol=0)


def test_beyond_the_examples_it_goes_on_as_they_end() -> None:
    sizes = torch.linspace(-2, 2, 60)[:, None]
    network = KernelRegression.fit(sizes, sizes[:, 0] > 0)
    near, far = network(torch.tensor([[2.0], [6.0]]))
    assert far > near > 0.7


def test_half_precision_changes_little() -> None:
    x, labels = _ring(300, 4)
    network = KernelRegression.fit(x, labels)
    again = KernelRegression(*network.examples.shape)
    again.load_state_dict({k: v.half().float() for k, v in network.state_dict().items()})
    assert (again(x) - network(x)).abs().max() < 0.01
