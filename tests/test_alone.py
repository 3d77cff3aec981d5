"""Single stages, each in one call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import monai_lung
from monai_lung import io
from monai_lung.inference import networks
from monai_lung.inference.find import find
from monai_lung.inference.networks import load_finder
from monai_lung.stages import STAGES


@pytest.fixture(scope="module")
def ct(phantom_dir: Path):
    return monai_lung.read_ct(phantom_dir / "dicom")


def test_the_lungs_alone(ct, phantom_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "load_weights", lambda *_: pytest.fail("no network is needed"))
    lungs = monai_lung.segment_lungs(phantom_dir / "dicom")
    assert lungs.labels.shape == ct.hu.shape
    np.testing.assert_array_equal(lungs.labels, monai_lung.segment_lungs(ct).labels)


def test_finding_alone_loads_one_network(ct, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    own = networks.load_weights
    monkeypatch.setattr(networks, "load_weights", lambda net, bundle, file: read.append(file) or own(net, bundle, file))
    seeds = monai_lung.find_nodules(ct, device="cpu")
    assert read == [STAGES["find"].weights]
    finder = load_finder(networks.choose_device("cpu"))
    assert seeds == find(ct, monai_lung.segment_lungs(ct), finder)
    assert [s.score for s in seeds] == sorted((s.score for s in seeds), reverse=True)
    assert monai_lung.find_nodules(ct, finder=finder) == seeds


@pytest.mark.skipif(not hasattr(io, "as_ct"), reason="images in memory are read by monai_lung.io.as_ct")
def test_what_is_in_memory_is_taken_as_it_is(ct) -> None:
    monai_data = pytest.importorskip("monai.data")
    sitk = pytest.importorskip("SimpleITK")
    expected = monai_lung.segment_lungs(ct).labels
    image = sitk.GetImageFromArray(ct.hu.T)
    spacing = np.linalg.norm(ct.affine_lps[:3, :3], axis=0)
    image.SetSpacing([float(s) for s in spacing])
    image.SetOrigin([float(v) for v in ct.affine_lps[:3, 3]])
    image.SetDirection((ct.affine_lps[:3, :3] / spacing).ravel().tolist())
    tensor = monai_data.MetaTensor(ct.hu[None], affine=np.diag([-1, -1, 1, 1]) @ ct.affine_lps)
    for given in ((ct.hu, ct.affine_lps), (tensor,), (image,)):
        np.testing.assert_array_equal(monai_lung.segment_lungs(*given).labels, expected)


def test_names_are_exported() -> None:
    for name in monai_lung.__all__:
        assert getattr(monai_lung, name) is not None
    with pytest.raises(AttributeError, match="no attribute"):
        monai_lung.nothing  # noqa: B018
