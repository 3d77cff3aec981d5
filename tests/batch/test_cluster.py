"""The engine of a cluster: several Ray nodes on this machine, workers and nodes that are killed on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from monai_lung.batch import cluster
from monai_lung.batch.cluster import Needs
from monai_lung.cli import run as command_line
from monai_lung.errors import DecodeError, MonaiLungError, WeightsError
from monai_lung.phantom import PhantomSpec, make_phantom, write_phantom

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray", reason='needs Ray: pip install "monai-lung[ray]"')
SMALL = Needs(memory_gb=0.2)


@pytest.fixture(scope="module")
def nodes() -> Iterator:
    """A head without room for workers, and two nodes with room for two each; `size` is what a node is made of."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    size = {"object_store_memory": 100 * 2**20, "memory": 4 * 2**30, "include_dashboard": False}
    made = patiently(Cluster, initialize_head=True, head_node_args={**size, "num_cpus": 0})
    made.size = {**size, "num_cpus": 2}
    for _ in range(2):
        patiently(made.add_node, **made.size)
    made.wait_for_nodes()
    yield made
    made.shutdown()


def patiently(start: Callable[..., Any], **how: Any) -> Any:
    """Start a node; on a busy machine that may take longer than the 30 s after which Ray gives up."""
    for _ in range(4):
        try:
            return start(**how)
        except Exception as error:
            last = error
    raise last


class Slowly:
    """Takes `seconds` for an item; says which process on which node did it, and how often that process was set up."""

    built = 0

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        Slowly.built += 1

    def __call__(self, item: int) -> tuple[int, int, str, int]:
        time.sleep(self.seconds)
        if item < 0:
            raise DecodeError(f"{item} is negative")
        return item, os.getpid(), ray.get_runtime_context().get_node_id(), Slowly.built


class Killed:
    """An item that is a path kills its worker until the path exists as often as it says."""

    def __call__(self, item: tuple[Path, int]) -> int:
        path, times = item
        tries = len(list(path.iterdir()))
        if tries < times:
            (path / f"{tries}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return tries


class Watched(Sequence):
    """Items that note when they are asked for."""

    def __init__(self, items: Sequence[int]) -> None:
        self.items, self.asked = items, 0

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index):
        self.asked += 1
        return self.items[index]


def test_items_are_spread_over_the_nodes_and_never_pile_up(nodes):
    items = Watched(range(24))
    seen, ahead = {}, []
    for index, result in cluster.run(partial(Slowly, 0.1), items, address=nodes.address, needs=SMALL):
        seen[index] = result.value
        ahead.append(items.asked - len(seen))
    assert [seen[n][0] for n in range(24)] == list(range(24))
    assert len({value[2] for value in seen.values()}) == 2, "both nodes work"
    assert 2 <= len({value[1] for value in seen.values()}) <= 4, "as many workers as there are CPUs"
    assert {value[3] for value in seen.values()} == {1}, "each is set up once"
    assert max(ahead) <= 4, "no more under way than there are workers"


def test_a_failure_comes_back_with_its_class_and_traceback(nodes):
    results = dict(cluster.run(Slowly, [1, -1, 2], address=nodes.address, needs=SMALL))
    error = results[1].error
    assert isinstance(error, DecodeError)
    assert str(error) == "-1 is negative"
    assert "in __call__" in error.__notes__[0]
    assert [results[n].value[0] for n in (0, 2)] == [1, 2]


def test_what_can_not_be_built_ends_the_run(nodes):
    def build():
        raise WeightsError("no weights")

    with pytest.raises(WeightsError, match="no weights"):
        list(cluster.run(build, [1, 2], address=nodes.address, needs=SMALL))


def test_a_node_that_is_lost_costs_no_item(nodes):
    third = patiently(nodes.add_node, **nodes.size)
    nodes.wait_for_nodes()
    lost = third.node_id
    seen: dict[int, str] = {}
    for index, result in cluster.run(partial(Slowly, 0.3), range(30), address=nodes.address, needs=SMALL):
        assert index not in seen, "an item is done once"
        seen[index] = result.value[2]
        if third and lost in seen.values() and len(seen) >= 6:
            third = nodes.remove_node(third, allow_graceful=False)
    assert third is None
    assert sorted(seen) == list(range(30))
    assert lost not in list(seen.values())[-10:]


def test_a_node_that_joins_is_used(nodes):
    seen = []
    for _, result in cluster.run(partial(Slowly, 0.5), range(60), address=nodes.address, needs=SMALL):
        seen.append(result.value[2])
        if len(seen) == 4:
            joined = patiently(nodes.add_node, **nodes.size)
    assert joined.node_id in seen
    nodes.remove_node(joined)


def test_a_worker_that_is_killed_is_replaced_and_its_item_tried_again(nodes, tmp_path):
    items = []
    for name, times in (("never", 0), ("once", 1), ("always", 99), ("never-too", 0)):
        (tmp_path / name).mkdir()
        items.append((tmp_path / name, times))
    results = dict(cluster.run(Killed, items, address=nodes.address, needs=SMALL))
    assert [results[n].value for n in (0, 1, 3)] == [0, 1, 0]
    assert isinstance(results[2].error, MonaiLungError)
    assert "died 3 times" in str(results[2].error)
    assert len(list((tmp_path / "always").iterdir())) == cluster.TRIES


@pytest.fixture
def studies(phantom_dir, tmp_path) -> Path:
    """Two phantoms and a series that can't be read."""
    folder = tmp_path / "studies"
    shutil.copytree(phantom_dir / "dicom", folder / "a")
    write_phantom(make_phantom(PhantomSpec(size=96, slices=40, pixel_mm=4.0, spacing_mm=7.5, seed=3)), tmp_path / "b")
    shutil.copytree(tmp_path / "b" / "dicom", folder / "b")
    (folder / "c.nii.gz").write_bytes(b"no image")
    return folder


def content(folder: Path) -> dict[str, bytes | dict]:
    """Every file of the results by its path; the findings without their timing."""
    files: dict[str, bytes | dict] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.name == "findings.json":
            files[name] = json.loads(path.read_text())
            del files[name]["timing_s"]
        else:
            files[name] = path.read_bytes()
    return files


def test_a_cluster_gives_what_one_process_gives(nodes, studies, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs = [str(studies / name) for name in ("a", "c.nii.gz", "b")]
    common = ["--format", "json,nifti,csv", "--device", "cpu"]
    assert command_line(["analyze", *inputs, "-o", "local", *common]) == 1
    local = capsys.readouterr()
    distant = ["--engine", "ray", "--address", nodes.address]
    assert command_line(["analyze", *inputs, "-o", "ray", *common, *distant]) == 1
    ours = capsys.readouterr()
    assert ours.out.replace("-> ray", "-> local") == local.out
    assert ours.err == local.err
    results = content(tmp_path / "local")
    assert len(results) == 2 * 4
    assert content(tmp_path / "ray") == results
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "ray").rglob("*.json")}
    assert command_line(["analyze", *inputs, "-o", "ray", *common, *distant]) == 1
    assert capsys.readouterr().out == ours.out
    assert {p: p.stat().st_mtime_ns for p in before} == before, "finished cases are skipped"


def test_lidc_prepare_on_a_cluster(nodes, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "lidc")
    from small_download import write_database, write_download

    write_download(tmp_path / "tcia")
    write_database(tmp_path / "lidc.sqlite")
    common = ["lidc", "prepare", str(tmp_path / "tcia"), "--database", str(tmp_path / "lidc.sqlite")]
    common += ["--min-readers", "1"]
    assert command_line([*common, "-o", str(tmp_path / "local")]) == 0
    assert command_line([*common, "-o", str(tmp_path / "ray"), "--engine", "ray", "--address", nodes.address]) == 0
    assert content(tmp_path / "ray") == content(tmp_path / "local")


# Last: a process that has started Ray here and stopped it gets no workers any more on a cluster that it used before.
def test_without_an_address_ray_starts_here_and_stops(studies, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    command = ["analyze", str(studies / "b"), "-o", str(tmp_path / "out"), "--format", "json", "--engine", "ray"]
    assert command_line(command) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "lungs" in captured.out
    assert not ray.is_initialized()
