"""Medians, goals, tables and the page of the benchmarks, from made-up results."""

import json
from pathlib import Path

import pytest

from research.benchmarks import figures, goals, page, tables
from research.benchmarks.parent import Settings
from research.benchmarks.tasks import SECTIONS, TASKS, chosen


def ran(*run_s, parts=None, **more):
    parts = parts or [{} for _ in run_s]
    times = {"run_s": list(run_s), "cpu_s": list(run_s), "parts": parts}
    noted = {"when": "2026-01-02T03:04:05+00:00", "others_busy_cores": 0.0, "loaded_mb": 400.0, "peak_mb": 900.0}
    return {**noted, **times, **more}


WARM = {"find_s": 2.0, "find_cpu_s": 4.0, "find_net_s": 1.6, "find_gflop": 96.0, "read_s": 0.5, "read_cpu_s": 0.5}
WARM |= {"delineate_net_s": 0.2, "delineate_gflop": 6.0, "rate_net_s": 0.2, "rate_gflop": 18.0, "voxels": 3.5e7}
WHOLE = ran(9.0, 4.0, 6.0, 5.0, parts=[{**WARM, "find_s": 3.0}, WARM, WARM, WARM])


def test_the_first_run_is_cold_and_the_median_of_the_others_warm():
    found = figures.timing({"a": ran(9.0, 4.0, 6.0, 5.0)}, "a")
    assert (found.cold_s, found.typical_s) == (9.0, 5.0)
    assert figures.typical({"a": ran(7.0)}, "a") == 7.0
    assert figures.typical({"a": {"error": "no"}}, "a") is None


def test_parts_leave_the_first_run_out_unless_it_is_the_only_one():
    assert figures.part({"whole": WHOLE}, "whole", "find_s") == 2.0
    assert figures.part({"whole": WHOLE}, "whole", "find_s", cold=True) == 3.0
    assert figures.part({"a": ran(1.0, parts=[{"x": 4.0}])}, "a", "x") == 4.0
    assert figures.part({"whole": WHOLE}, "whole", "nothing") is None


def test_networks_together_are_all_their_work_over_all_their_seconds():
    assert figures.network_rate({"whole": WHOLE}, ("find", "delineate", "rate")) == pytest.approx(120 / 2.0)
    assert figures.network_rate({}, ("find",)) is None


def test_ratios_need_both_sides():
    assert figures.ratio(6.0, 3.0) == 2.0
    assert figures.ratio(None, 3.0) is figures.ratio(3.0, None) is figures.ratio(3.0, 0.0) is None


@pytest.mark.parametrize(("seconds", "reached"), [(49.0, False), (50.0, True), (51.0, True)])
def test_a_goal_is_reached_from_its_bound_on(seconds, reached):
    goal = next(g for g in goals.GOALS if "lungmask" in g.text)
    assert goal.reached({"lungmask": ran(seconds), "lungs-own": ran(3.0, 1.0)}) is reached


def test_a_goal_that_was_not_measured_is_not_reached_nor_missed():
    assert all(goal.reached({}) is None for goal in goals.GOALS)
    assert tables.goals({}, "cpu").count(tables.MISSING) == sum("cpu" in g.devices for g in goals.GOALS)


def test_the_share_of_the_convolution_peak():
    results = {"whole": WHOLE, "conv-fp32": ran(1.0, parts=[{"peak_gflops": 100.0}])}
    goal = next(g for g in goals.GOALS if "convolution peak" in g.text)
    assert goal.value(results) == pytest.approx(60.0)
    assert goal.reached(results) is True


def test_a_row_without_result_says_why():
    text = tables.compared({"read-own": ran(2.0, 1.0), "read-sitk": {"error": "no such module"}}, "read", ("read-own",))
    assert "no such module" in text
    assert tables.MISSING in text


def test_peers_are_set_against_the_own_row_before_them():
    results = {"read-own": ran(2.0, 0.5), "read-sitk": ran(2.0, 1.0), "packed-own": ran(4.0, 2.0)}
    results["packed-sitk"] = ran(4.0, 5.0)
    rows = tables.compared(results, "read", ("read-own", "resample-own", "packed-own")).splitlines()
    times = {row.split(" | ")[0][2:]: row.rstrip(" |").split(" | ")[-1] for row in rows[2:]}
    assert times["SimpleITK `ImageSeriesReader`"] == "2"
    assert times["SimpleITK, JPEG-LS files"] == "2.5"


def test_every_row_of_a_table_has_as_many_cells_as_its_header():
    results = {"whole": WHOLE, "slices-100": WHOLE, "read-own": ran(2.0, 0.5), "read-sitk": {"error": "no"}}
    parts = [f"slices/{tables.scaling(results, 'slices', 'slices')}", f"stages/{tables.stages(results)}"]
    parts += [f"read/{tables.compared(results, 'read', ('read-own',))}", f"goals/{tables.goals(results, 'cpu')}"]
    for part in parts:
        assert len({line.count("|") for line in part.splitlines() if line.endswith("|")}) == 1, part


def test_a_stage_is_held_by_its_network_or_by_one_thread():
    rows = {line.split(" | ")[0][2:]: line for line in tables.stages({"whole": WHOLE}).splitlines()}
    assert "its network (80 % of it)" in rows["find"]
    assert "one thread" in rows["read"]


def test_rows_measured_beside_other_work_are_named():
    results = {"read-own": ran(1.0, others_busy_cores=1.2), "read-sitk": ran(1.0)}
    assert tables.noisy(results, list(TASKS), 0.3) == ["read-own"]


def test_tasks_have_names_of_their_own_sections_and_calls_that_exist():
    assert len({t.name for t in TASKS}) == len(TASKS)
    assert {t.section for t in TASKS} == set(SECTIONS)
    folder = Path(page.__file__).parent
    for task in TASKS:
        module, _, name = task.call.partition(":")
        assert f"def {name}(job: Job) -> Run:" in (folder / f"{module}.py").read_text(encoding="utf-8"), task


def test_a_quick_run_has_no_peers_and_no_large_phantoms():
    quick = chosen("cpu", quick=True)
    assert quick
    assert not [t for t in quick if t.peer or t.section in ("slices", "nodules")]
    assert not [t for t in chosen("cpu", quick=False) if t.devices == ("cuda",)]


@pytest.mark.parametrize("results", [{}, {"whole": WHOLE, "read-own": ran(2.0, 0.5), "slices-100": WHOLE}])
def test_the_page_is_written_from_whatever_there_is(tmp_path, results):
    path = page.write(Settings(tmp_path, tmp_path, None, quick=True), results, tmp_path / "docs")
    text = path.read_text(encoding="utf-8")
    assert "{" not in text
    assert ("images/bench-stages.png" in text) == bool(results) == (tmp_path / "docs/images/bench-stages.png").is_file()
    assert json.loads((tmp_path / "docs/benchmarks.json").read_text(encoding="utf-8"))["tasks"] == results
