"""Real scans as plain DICOM, for comparisons with readers that are timed on it."""

import subprocess
import sys

import pytest


@pytest.fixture(scope="session")
def unpacked(data_dir, tmp_path_factory):
    """Folder with LIDC-IDRI-0001 as an uncompressed series."""
    script = data_dir / "unpack_dicom.py"
    if not script.exists():
        pytest.skip(f"no {script.name} beside the real data")
    folder = tmp_path_factory.mktemp("unpacked")
    subprocess.run([sys.executable, str(script), str(folder), "LIDC-IDRI-0001"], check=True, capture_output=True)
    return folder
