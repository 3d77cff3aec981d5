"""Every kind of broken input ends as it says: in its error, or read as the very same chest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import kinds_choices
import kinds_files
import kinds_headers
import kinds_pixels
import kinds_series
import kinds_volumes
import nibabel
import numpy as np
import pytest
from cage import Cage, End
from corpus import KINDS, Chest, Kind

GROUPS = (kinds_headers, kinds_pixels, kinds_series, kinds_volumes, kinds_files, kinds_choices)
PREFIX = "monai-lung: error: "
OF_THE_CHEST = re.compile("Slices are 7.5 mm apart|Pixels are 5.2 mm wide")
"""Notes that the sound chest itself gets."""
PEAK_MB = 4096


@pytest.fixture(scope="module")
def sound(chest: Chest, cage: Cage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lungs of the sound chest."""
    folder = tmp_path_factory.mktemp("sound")
    end = cage.run("lungs", chest.series().write(folder / "ct"), "-o", folder / "lungs.nii.gz", folder=folder)
    assert end.code == 0, end.err
    return folder / "lungs.nii.gz"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_broken_input(kind: Kind, chest: Chest, cage: Cage, sound: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    given = kind.make(chest, tmp_path / "in")
    end = cage.run("lungs", given, "-o", tmp_path / "out" / "lungs.nii.gz", folder=tmp_path)
    check(kind, end)
    if kind.refused:
        assert not (tmp_path / "out").exists()
    else:
        same_lungs(tmp_path / "out" / "lungs.nii.gz", sound, kind.volume_error)
    assert not list((tmp_path / "tmp").iterdir()), "temporary files were left behind"
    assert not Path("/tmp/escaped").exists()


def check(kind: Kind, end: End) -> None:
    """The command ended as the kind says: in time, within its memory, with one line, or with the warning."""
    assert not end.timed_out, "it hangs"
    assert end.peak_mb < PEAK_MB
    assert "Traceback" not in end.out + end.err
    assert end.code == kind.code, end.err
    printable = (end.out + end.err).replace("\n", "")
    assert printable.isprintable(), "control characters reach the terminal"
    errors = [line for line in end.err.splitlines() if line.startswith(PREFIX)]
    others = [line for line in end.err.splitlines() if not line.startswith("monai-lung: ")]
    assert all(kind.noise and re.search(kind.noise, line) for line in others), end.err
    if kind.refused:
        (error,) = errors
        assert re.search(kind.refused, error)
        assert not re.search(r": unexpected \w+: ", error)
        assert len(error) < 1000
    else:
        assert not errors
        said = [line for line in end.out.replace("\n  ", " ").splitlines() if line.startswith("Note: ")]  # unwrapped
        notes = " ".join(line for line in said if not OF_THE_CHEST.search(line))
        assert re.search(kind.warned, notes) if kind.warned else not notes


def same_lungs(found: Path, expected: Path, volume_error: float = 0.02) -> None:
    """Each lung has its volume and its place in the patient."""
    for (volume, center), (wanted, middle) in zip(_lungs(found), _lungs(expected), strict=True):
        assert volume == pytest.approx(wanted, rel=volume_error)
        np.testing.assert_allclose(center, middle, atol=1.5)


def _lungs(path: Path) -> list[tuple[float, np.ndarray]]:
    """Volume in ml and centre in RAS mm of the right and the left lung."""
    image = nibabel.load(path)
    labels = np.asarray(image.dataobj)
    ml = abs(np.linalg.det(image.affine)) / 1000
    return [
        ((labels == n).sum() * ml, nibabel.affines.apply_affine(image.affine, np.argwhere(labels == n).mean(0)))
        for n in (1, 2)
    ]


def test_there_are_many_kinds() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 150
    assert all(kind.what for kind in KINDS)


SAMPLE = ("rows_zero", "jpegls_bomb", "patients_mixed", "affine_singular", "zip_cut", "two_studies", "a_pipe")


@pytest.mark.parametrize("name", SAMPLE)
def test_the_same_from_a_real_shell(name: str, chest: Chest, tmp_path: Path) -> None:
    """A process of its own, as a user starts it."""
    kind = next(kind for kind in KINDS if kind.name == name)
    (tmp_path / "in").mkdir()
    words = [
        sys.executable,
        "-m",
        "monai_lung",
        "lungs",
        kind.make(chest, tmp_path / "in"),
        "-o",
        tmp_path / "o.nii.gz",
    ]
    done = subprocess.run(
        words, capture_output=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True
    )
    check(kind, End(done.returncode, done.stdout, done.stderr, 0.0, 0.0, False))
