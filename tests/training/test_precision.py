"""How a training takes its steps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_lung.errors import UsageError
from monai_lung.training import precision
from monai_lung.training.precision import Autocast, quickest

CPU = torch.device("cpu")
SHAPE = (2, 1, 8, 8, 8)


@pytest.fixture
def network() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.Dropout(0.5), nn.Conv3d(4, 1, 3))


@pytest.mark.parametrize(("bfloat16", "kind"), [(0.5, Autocast), (0.95, nn.Sequential)])
def test_bfloat16_is_taken_where_it_is_clearly_quicker(network, monkeypatch, bfloat16, kind) -> None:
    seconds = {Autocast: bfloat16, nn.Sequential: 1.0}
    monkeypatch.setattr(precision, "_multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "_step_seconds", lambda way, shape: seconds[type(way)])
    said: list[str] = []
    monkeypatch.setattr(precision.logger, "info", lambda text, *values: said.append(text % values))
    assert type(quickest(network, SHAPE, CPU)) is kind
    assert "1.000 s in float32" in said[0]


def test_bfloat16_is_not_tried_where_the_processor_has_none(network, monkeypatch) -> None:
    monkeypatch.setattr(precision, "_multiplies_bfloat16", lambda: False)
    monkeypatch.setattr(precision, "_step_seconds", lambda way, shape: pytest.fail("timed"))
    assert quickest(network, SHAPE, CPU) is network


def test_a_torch_without_mkldnn_multiplies_none(monkeypatch) -> None:
    monkeypatch.setattr(torch.ops, "mkldnn", torch.ops.no_such_library)
    assert not precision._multiplies_bfloat16()


def test_timing_leaves_no_trace(network, monkeypatch) -> None:
    monkeypatch.setattr(precision, "_multiplies_bfloat16", lambda: True)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state = torch.get_rng_state()
    quickest(network, SHAPE, CPU)
    assert torch.equal(torch.get_rng_state(), state), "an interrupted training would draw otherwise"
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_both_ways_train_the_same_weights(network) -> None:
    way = quickest(network, SHAPE, CPU, precision="bfloat16")
    output = way(torch.ones(SHAPE))
    assert output.dtype == torch.float32
    output.sum().backward()
    grads = [p.grad for p in network.parameters() if p.grad is not None]
    assert len(grads) == len(list(network.parameters()))
    assert all(grad.dtype == torch.float32 for grad in grads)
    assert quickest(network, SHAPE, CPU, precision="float32") is network


def test_without_a_compiler_it_says_so_and_goes_on(network, monkeypatch, caplog) -> None:
    monkeypatch.setattr(precision.shutil, "which", lambda name: None)
    assert quickest(network, SHAPE, CPU, precision="float32", compiled=True) is network
    assert "no C++ compiler" in caplog.text


def test_an_unknown_precision_is_refused(network) -> None:
    with pytest.raises(UsageError, match="auto, float32, bfloat16"):
        quickest(network, SHAPE, CPU, precision="half")
