"""The engine of this machine: order, failures, processes; and the choice between engines."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

import pytest

from monai_lung.batch import Result, attempt, in_order
from monai_lung.batch.local import run
from monai_lung.batch.options import Engine
from monai_lung.cli import run as command_line
from monai_lung.errors import DecodeError, MonaiLungError, UsageError


def half(number: int) -> int:
    if number % 2:
        raise DecodeError(f"{number} is odd")
    return number // 2


def die_on(bad: int, number: int) -> int:
    if number == bad:
        os._exit(9)
    return number


def building(work):
    return work


def test_results_come_in_order_with_errors_among_them():
    results = list(run(partial(building, half), [4, 3, 8]))
    assert [index for index, _ in results] == [0, 1, 2]
    assert [r.value for _, r in results] == [2, None, 4]
    assert isinstance(results[1][1].error, DecodeError)


def test_the_work_is_built_once_and_only_if_there_is_some():
    built = []

    def build():
        built.append(1)
        return half

    assert list(run(build, [])) == []
    assert not built
    assert len(list(run(build, [2, 4, 6]))) == 3
    assert len(built) == 1


def test_it_is_lazy_so_that_nothing_piles_up():
    seen = []
    results = run(lambda: seen.append, range(100))
    next(results)
    next(results)
    assert seen == [0, 1]
    results.close()
    assert seen == [0, 1]


def test_an_interrupt_is_no_failure():
    def interrupted(item: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt(interrupted, 1)


def test_in_order_waits_for_those_before():
    seen = []

    def unordered():
        for index in (2, 0, 1, 3):
            seen.append(index)
            yield index, Result(index)

    ordered = in_order(unordered())
    assert next(ordered).value == 0
    assert seen == [2, 0]
    assert [r.value for r in ordered] == [1, 2, 3]


def test_processes_do_the_same():
    results = dict(run(partial(building, half), [4, 3, 8, 10], workers=2))
    assert [results[n].value for n in range(4)] == [2, None, 4, 5]
    assert str(results[1].error) == "3 is odd"


def test_an_item_that_kills_its_process_fails_alone():
    results = dict(run(partial(building, partial(die_on, 1)), range(4), workers=2))
    assert [results[n].value for n in range(4)] == [0, None, 2, 3]
    assert isinstance(results[1].error, MonaiLungError)
    assert "lack of memory" in str(results[1].error)


def test_what_no_process_survives_fails_item_by_item():
    results = dict(run(partial(building, os._exit), [3, 4], workers=2))
    assert all("its process died" in str(results[n].error) for n in range(2))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "spark"}, "local or ray"),
        ({"address": "head:6379"}, "--engine ray"),
        ({"name": "ray", "workers": 4}, "--workers"),
    ],
)
def test_options_that_do_not_go_together_are_refused(values, message):
    with pytest.raises(UsageError, match=message):
        Engine(**values)


def test_no_workers_are_refused():
    with pytest.raises(UsageError, match="0 workers"):
        list(Engine(workers=0).run(partial(building, half), [1]))


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"monai-lung\[ray\]"):
        list(Engine("ray").run(partial(building, half), [1]))


def test_ray_is_not_imported_unless_used():
    code = "import sys, monai_lung.batch.cluster, monai_lung.batch.studies, monai_lung.cli; print('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "http://127.0.0.1:1", "127.0.0.1:"])
def test_an_address_where_no_cluster_is_is_2_and_one_line(address, phantom_dir, tmp_path, capsys):
    pytest.importorskip("ray")
    command = ["analyze", str(phantom_dir / "dicom"), "-o", str(tmp_path), "--engine", "ray", "--address", address]
    assert command_line(command) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"no Ray cluster at {address}" in line
    assert "ray start --head" in line


def test_an_address_without_the_engine_is_2(phantom_dir, tmp_path, capsys):
    assert command_line(["analyze", str(phantom_dir), "-o", str(tmp_path), "--address", "head:6379"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "--engine ray" in line
