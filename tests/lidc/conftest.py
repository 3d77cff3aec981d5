"""The whole index, read once."""

from __future__ import annotations

import pytest

from monai_lung.lidc.index import Scan, read_index


@pytest.fixture(scope="session")
def lidc_scans() -> dict[int, Scan]:
    """All 1018 scans of the installed database, by id."""
    return {scan.id: scan for scan in read_index()}
