"""Fixtures that several test folders share."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command sets up the log of its whole process: no test must notice what ran before it, fixtures included."""
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    for name in ("monai_lung", "research", "monai.bundle.workflows"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    for logger in root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False
    yield
    root.handlers[:] = [h for h in root.handlers if type(h) is not logging.StreamHandler]  # pytest's own stay


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real scans and nodules: `MONAI_LUNG_DATA`, else ../shared/data beside the checkout."""
    here = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("MONAI_LUNG_DATA", here.parent / "shared" / "data"))
    if not (folder / "ct").is_dir():
        pytest.skip(f"no real data at {folder}: set MONAI_LUNG_DATA to the folder that holds ct/ and lidc_crops/")
    return folder


@pytest.fixture(scope="session")
def phantom_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coarse synthetic chest CT: `dicom/` is the series, `truth/` what's in it. Read only: it's shared."""
    from monai_lung.phantom import PhantomSpec, make_phantom, write_phantom

    folder = tmp_path_factory.mktemp("phantom") / "chest"
    write_phantom(make_phantom(PhantomSpec(size=144, pixel_mm=2.6)), folder)
    return folder
