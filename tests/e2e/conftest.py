"""Stand-ins for the trained networks."""

from __future__ import annotations

import pytest
import stand_ins

from monai_lung.inference.networks import Networks


@pytest.fixture
def stand_in_networks(monkeypatch: pytest.MonkeyPatch) -> Networks:
    """The networks that every analysis of the test gets."""
    networks = stand_ins.networks()
    monkeypatch.setattr("monai_lung.inference.load_networks", lambda *_, **__: networks)
    return networks
