"""Running tasks: a process each, results kept, errors said, the networks' work counted."""

import json
from pathlib import Path

import pytest

from monai_lung.cli import run as cli_run
from research.benchmarks import child, inputs, parent
from research.benchmarks.tasks import Task


@pytest.fixture
def settings(tmp_path):
    return parent.Settings(tmp_path / "out", tmp_path, None)


def test_a_task_runs_in_its_own_process_cold_and_warm(settings):
    result = parent.run_one(Task("python", "start", "", "own:bare_python", "", repeats=2), settings)
    assert len(result["run_s"]) == len(result["cpu_s"]) == len(result["parts"]) == 3
    assert min(result["run_s"]) > 0
    assert 5 < result["peak_mb"] < 500


def test_a_task_that_fails_says_why_and_is_tried_again(settings):
    task = Task("broken", "start", "", "own:no_such_function", "")
    parent.run([task], settings)
    assert "no_such_function" in parent.read_results(settings)["broken"]["error"]
    parent.run([Task("broken", "start", "", "own:bare_python", "", repeats=0)], settings)
    assert "error" not in parent.read_results(settings)["broken"]


def test_what_is_measured_is_kept_unless_it_is_asked_anew(settings):
    settings.out.mkdir()
    settings.results.write_text(json.dumps({"python": {"run_s": [1e9]}}))
    task = Task("python", "start", "", "own:bare_python", "", repeats=0)
    parent.run([task], settings)
    assert parent.read_results(settings)["python"]["run_s"] == [1e9]
    parent.run([task], settings, again=True)
    assert parent.read_results(settings)["python"]["run_s"][0] < 1e3


def test_a_peer_that_is_not_installed_is_an_error_of_its_row(settings, monkeypatch):
    monkeypatch.setattr(parent, "PEERS", Path("/nowhere/python"))
    assert "aren't installed" in parent.run_one(Task("p", "lungs", "", "peers:lungmask", peer=True), settings)["error"]


def test_slow_tasks_are_not_repeated_past_their_limit(monkeypatch, tmp_path):
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(child.time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr("research.benchmarks.own.bare_python", lambda job: lambda: None)
    found = child.measure(child.Job(tmp_path), "own:bare_python", repeats=8, limit_s=35.0)
    assert found["run_s"] == [10.0, 10.0, 10.0]


def test_scattered_nodules_lie_apart_in_the_lungs():
    import numpy as np

    from monai_lung.phantom.anatomy import lung_distance_at

    nodules = inputs.scattered(200)
    centers = np.array([n.center_mm for n in nodules])
    apart = np.linalg.norm(centers[:, None] - centers, axis=-1)[np.triu_indices(200, 1)]
    assert len(nodules) == 200
    assert apart.min() > max(n.diameter_mm for n in nodules)
    assert (lung_distance_at(centers) < -5).all()
    assert [n.center_mm for n in inputs.scattered(25)] == [n.center_mm for n in nodules[:25]]


def test_phantoms_of_more_slices_show_the_same_chest():
    few, many = (inputs.phantom_spec(f"slices-{n}") for n in (100, 1200))
    assert few.slices * few.spacing_mm == pytest.approx(many.slices * many.spacing_mm)
    assert inputs.phantom_spec("thin-1000").spacing_mm == 0.7


def test_the_networks_work_is_that_of_the_formula():
    import torch
    from torch import nn

    from research.benchmarks.flops import gflop

    network = nn.Sequential(nn.Conv3d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, 2, 1))
    calls = []
    network.register_forward_hook(lambda *_: calls.append(1))
    expected = 2 * 10 * 12 * 14 * (27 * 3 * 8 + 8 * 2) / 1e9
    assert gflop(network, (1, 3, 10, 12, 14)) == pytest.approx(expected)
    assert not calls
    assert next(network.parameters()).device == torch.device("cpu")


def test_missing_peers_are_named_before_anything_is_made(settings, monkeypatch, caplog):
    monkeypatch.setattr(parent, "PEERS", Path("/nowhere/python"))
    parent.prepare([Task("own", "lungs", "", "own:bare_python")], settings)
    assert not caplog.messages
    parent.prepare([Task("p", "lungs", "", "peers:lungmask", peer=True)], settings)
    assert caplog.messages == ["the peers aren't installed: tools/peers does that"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--scan", "/nowhere"], "/nowhere: no such folder; give a folder with one DICOM series"),
        (["--only", "nonsense"], "--only nonsense: no such section; there are start, limit, "),
    ],
)
def test_the_command_says_what_is_wrong(words, said, capsys):
    assert cli_run(["bench", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"monai-lung: error: {said}")


def test_the_command_says_what_it_does(tmp_path, capsys):
    assert cli_run(["bench", "--quick", "--page", "--out", str(tmp_path)]) == 0
    assert f"wrote {tmp_path / 'quick' / 'benchmarks.md'}" in capsys.readouterr().err
