"""The requests of 3D Slicer's module MONAILabel to the real server."""

from __future__ import annotations

import hashlib
import shutil
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_server import LabelServer, build, wait_for
from numpy.typing import NDArray
from scipy import ndimage
from slicer_module import CLIENT, ModuleError, SlicerModule, segments_of

from monai_lung.io import write_nifti
from monai_lung.model import LPS_RAS

sitk = pytest.importorskip("SimpleITK")
pytestmark = pytest.mark.slow

RIGHT, LEFT, NODULE, BACKGROUND = "right lung", "left lung", "nodule", "background"
LOADED = "2: CHEST 1.0 B30f"
"""What Slicer calls a series that a reader has loaded."""
TRAINING_S = 1800


@dataclass(frozen=True)
class Opened:
    """The module with the first sample: a phantom."""

    module: SlicerModule
    server: LabelServer
    sample: dict[str, Any]

    @property
    def scan(self) -> str:
        """Its name on the server."""
        return str(self.sample["id"])

    @property
    def file(self) -> Path:
        """Its volume."""
        return Path(self.sample["path"])


@pytest.fixture(scope="module")
def opened(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """A server on a folder with one study, and the module after "Next Sample"."""
    if problem := build():
        pytest.skip(f"MONAI Label's environment can't be built: {problem}")
    assert (CLIENT / "client.py").is_file(), "MONAI Label's wheel brought the module's client"
    folder = tmp_path_factory.mktemp("slicer")
    shutil.copytree(phantom_dir / "dicom", folder / "studies" / "phantom")
    with LabelServer(folder / "work", folder / "studies") as server:
        module = SlicerModule(server, folder / "files")
        yield Opened(module, server, module.next_sample("doubt"))


def values_of(label: Path) -> NDArray[np.uint8]:
    """(x, y, z), the values of a label map."""
    image = sitk.ReadImage(str(label))
    assert image.GetPixelID() == sitk.sitkUInt8
    values: NDArray[np.uint8] = sitk.GetArrayFromImage(image).T
    return values


def segment(result: tuple[Path, dict[str, Any]], name: str) -> NDArray[np.bool_]:
    """What the module puts into a segment."""
    label, params = result
    return values_of(label) == segments_of(params).index(name) + 1


def parts(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Connected parts."""
    numbers, count = ndimage.label(mask, np.ones((3, 3, 3)))
    return numbers, count


def middle(mask: NDArray[np.bool_]) -> list[int]:
    """A voxel of a mask, the farthest from its border."""
    depth = ndimage.distance_transform_edt(mask)
    return [int(i) for i in np.unravel_index(int(depth.argmax()), mask.shape)]


def test_what_the_server_says_of_itself_fits_the_panel(opened: Opened) -> None:
    info = opened.module.info
    assert "config" not in info, "the module calls such a server outdated"
    assert info["labels"] == [RIGHT, LEFT, NODULE, BACKGROUND]
    assert opened.module.model_that_runs_by_itself() == "analysis"
    assert {model["type"] for model in info["models"].values()} == {"segmentation", "deepedit"}
    for section in ("models", "trainers", "strategies"):
        assert info[section]
        for entry in info[section].values():
            values = entry.get("config", {}).values()
            assert all(
                isinstance(v, (bool, int, float, str)) or (v and all(isinstance(w, str) for w in v)) for v in values
            )


def test_the_next_sample_can_be_fetched(opened: Opened) -> None:
    """From the folder where Slicer runs beside the server, else over HTTP."""
    query = urllib.parse.urlencode({"image": opened.scan})
    with urllib.request.urlopen(f"{opened.module.url}/datastore/image?{query}") as answer:
        content = answer.read()
    assert content == opened.file.read_bytes()
    if opened.sample.get("checksum"):
        assert opened.sample["checksum"].removeprefix("SHA256:") == hashlib.sha256(content).hexdigest()
    assert "original" not in opened.module.call("datastore")["objects"][opened.scan]["labels"]
    with pytest.raises(ModuleError):
        opened.module.call("download_label", opened.scan, "original")


def test_run_fills_the_segments_that_it_names(opened: Opened) -> None:
    result = opened.module.run("analysis", opened.scan)
    assert segments_of(result[1]) == [RIGHT, LEFT, NODULE]
    assert list(result[1]["label_names"].values()) == [1, 2, 3]
    ct, label = sitk.ReadImage(str(opened.file)), sitk.ReadImage(str(result[0]))
    assert label.GetSize() == ct.GetSize()
    np.testing.assert_allclose(label.GetOrigin(), ct.GetOrigin(), atol=1e-3)
    np.testing.assert_allclose(label.GetDirection(), ct.GetDirection(), atol=1e-5)
    assert all(segment(result, name).any() for name in (RIGHT, LEFT, NODULE))
    assert segments_of(opened.module.run("segmentation", opened.scan)[1]) == [NODULE]


@pytest.mark.parametrize("chosen", [NODULE, RIGHT])
def test_a_click_keeps_the_nodules_that_run_has_found(opened: Opened, chosen: str) -> None:
    """The answer takes the segment's place. The module starts with the first label chosen, whatever the model."""
    before = segment(opened.module.run("analysis", opened.scan), NODULE)
    at = middle(before)
    after = segment(opened.module.click(opened.scan, chosen, {chosen: [at]}), NODULE)
    assert (after >= before).all()
    assert after[tuple(at)]


def test_a_background_point_takes_one_nodule_away(opened: Opened) -> None:
    before = segment(opened.module.run("analysis", opened.scan), NODULE)
    numbers, count = parts(before)
    at = middle(before)
    after = segment(opened.module.click(opened.scan, BACKGROUND, {BACKGROUND: [at]}), NODULE)
    assert count > 1
    np.testing.assert_array_equal(after, before & (numbers != numbers[tuple(at)]))


def test_update_without_a_point_says_what_to_do(opened: Opened) -> None:
    with pytest.raises(ModuleError, match="no points: choose the label nodule"):
        opened.module.click(opened.scan, NODULE, {})


def test_a_volume_that_the_reader_has_loaded(opened: Opened) -> None:
    """A session until its label is submitted; then it is a scan of the server."""
    module, file = opened.module, opened.module.files / "tmp1a2b3c.nii.gz"
    shutil.copyfile(opened.file, file)
    session = module.call("create_session", str(file))["session_id"]
    assert module.call("get_session", session)["name"] == session
    run = module.run("analysis", LOADED, session)
    np.testing.assert_array_equal(segment(run, NODULE), segment(module.run("analysis", opened.scan), NODULE))
    at = middle(segment(run, NODULE))
    assert (segment(module.click(LOADED, NODULE, {NODULE: [at]}, session), NODULE) >= segment(run, NODULE)).all()

    assert module.call("upload_image", str(file), LOADED) == {"image": LOADED}
    assert LOADED in module.call("datastore")["objects"]
    labels = label_of_two_nodules(segment(run, NODULE), file, module.files / "label.nii.gz")
    answer = module.submit(LOADED, labels, [RIGHT, LEFT, NODULE, BACKGROUND, "nodule 2"])
    assert answer["image"] == answer["label"] == LOADED
    assert module.call("info")["datastore"]["completed"] >= 1
    assert Path(module.call("download_label", LOADED, "final")).read_bytes() == labels.read_bytes()
    module.call("remove_session", session)
    with pytest.raises(ModuleError, match="404"):
        module.call("get_session", session)


def label_of_two_nodules(nodules: NDArray[np.bool_], volume: Path, path: Path) -> Path:
    """As Slicer exports it: lungs without a voxel, `nodule` 3, and 4 for a segment that the reader has added."""
    import nibabel

    numbers, _ = parts(nodules)
    values = np.where(numbers == 1, 3, 0) + np.where(numbers > 1, 4, 0)
    write_nifti(path, values.astype(np.uint8), LPS_RAS @ nibabel.load(volume).affine)
    return path


def test_training_starts_shows_how_far_it_is_and_stops(opened: Opened) -> None:
    """Of a submitted label each segment whose name contains "nodule" is learned from."""
    module = opened.module
    before = segment(module.run("analysis", opened.scan), NODULE)
    label = label_of_two_nodules(before, opened.file, module.files / "drawn.nii.gz")
    module.submit(opened.scan, label, [RIGHT, LEFT, NODULE, BACKGROUND, "nodule 2"])
    model = opened.server.work / "bundle" / "lung_nodule_segmentation" / "models" / "model.pt"
    old = model.read_bytes()
    options = {**module.options("trainers", "segmentation"), "max_epochs": 1000}
    assert module.call("train_start", "segmentation", options)["status"] in ("SUBMITTED", "RUNNING")

    def learns() -> bool:
        if module.call("train_status", False)["status"] not in ("SUBMITTED", "RUNNING"):
            raise RuntimeError(opened.server.tail())
        stats = module.call("info")["train_stats"]["segmentation"]
        return bool(stats.get("epoch", 0) >= 1)

    wait_for(learns, TRAINING_S, lambda: f"no epoch ends:\n{opened.server.tail()}")
    assert module.call("train_status", True) is True
    stats = module.call("info")["train_stats"]["segmentation"]
    assert 1 <= stats["epoch"] < stats["total_epochs"] == 1000
    crops = (opened.server.work / "training" / "crops" / "nodules.csv").read_text().splitlines()[1:]
    assert sum(row.split(",")[1] == opened.scan for row in crops) == parts(before)[1]
    assert module.call("train_stop")["status"] == "STOPPED"
    wait_for(lambda: module.call("train_status", True) is False, 60, lambda: "it still runs")
    assert module.call("train_status", False)["status"] == "STOPPED"
    assert model.read_bytes() == old
