"""The share of lung below -950 HU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monai_lung.clinical.low_attenuation import low_attenuation_percent
from monai_lung.model import CT, Lungs


def test_share_of_each_lung():
    hu = np.full((10, 10, 10), -850, np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    labels[:4], labels[6:] = 1, 2
    hu[0] = -951
    hu[6:8] = -1000
    hu[4:6] = -1024  # outside of both lungs
    hu[1] = -950
    ct = CT(hu, np.eye(4), "phantom", Path("phantom"))
    assert low_attenuation_percent(ct, Lungs(labels, 1.0, 1.0)) == (25.0, 50.0)
    assert low_attenuation_percent(ct, Lungs(np.where(labels == 1, labels, 0), 1.0, 0.0)) == (25.0, None)


@pytest.mark.parametrize(("name", "low", "high"), [("QIN-LSC-0003", 20, 50), ("QIN-LSC-0064", 0, 2)])
def test_real_scans_with_and_without_emphysema(data_dir, name, low, high):
    """QIN-LSC-0003 is described as emphysema; 0064 isn't."""
    from monai_lung.io import read_ct
    from monai_lung.lungs import segment_lungs

    if not (data_dir / "lungs" / name).is_dir():
        pytest.skip(f"no {name} here")
    ct = read_ct(data_dir / "lungs" / name)
    shares = low_attenuation_percent(ct, segment_lungs(ct.hu, ct.affine_lps))
    assert all(share is not None and low <= share <= high for share in shares)
