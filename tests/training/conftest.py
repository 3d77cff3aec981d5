from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from monai_lung.data.backgrounds import Background

sys.path.insert(0, str(Path(__file__).parent))  # for the builders beside this file


@pytest.fixture
def background() -> Background:
    """A lung of 100 mm with a vessel along z and one marked box."""
    rng = np.random.default_rng(1)
    hu = rng.normal(-860, 20, (100, 100, 60)).astype(np.int16)
    hu[40:44, 40:44] = 30
    hu[:5], hu[-5:] = 30, 30
    depth = np.zeros(hu.shape, np.uint8)
    depth[5:-5, 5:-5, 5:-5] = 20
    for k in range(1, 20):
        depth[4 + k], depth[-5 - k] = np.minimum(depth[4 + k], k), np.minimum(depth[-5 - k], k)
    known = np.zeros(hu.shape, bool)
    known[70:80, 70:80, 20:40] = True
    return Background("lung", hu, depth, known, np.diag([1.0, 1.0, 2.0, 1.0]))
