"""The page's tables, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from research.benchmarks.figures import Results, conv_peak, network_rate, part, ratio, timing, typical
from research.benchmarks.goals import GOALS, NAMES
from research.benchmarks.tasks import STUDIES, TASKS, Task

MISSING = "not measured"
NETWORK_SHARE, ONE_THREAD = 0.7, 1.25
"""From which share its network's passes are what holds a stage; below how many busy cores one thread does."""
STAGES = ("read", "lungs", "find", "delineate", "rate", "measure", "advise", "write")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are figures."""
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def number(value: float | None) -> str:
    """Three figures, a dash for None."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def goals(results: Results, device: str) -> str:
    """The goals and the figures reached."""
    rows = []
    for goal in (g for g in GOALS if device in g.devices):
        said = {True: "yes", False: "**no**", None: MISSING}[goal.reached(results)]
        sign = "at most" if goal.most else "at least"
        value = goal.value(results)
        reached = "-" if value is None else f"{number(value)} {goal.unit}"
        rows.append([goal.text, f"{sign} {goal.bound:g} {goal.unit}", reached, said])
    return table(["goal", "bound", "measured", "reached"], rows)


def compared(results: Results, section: str, own: Sequence[str] = (), *, memory: bool = True) -> str:
    """The rows of a section: cold, warm with spread, memory, and how many times as long as the own row before it."""
    header = [
        "",
        "cold, s",
        "warm, s",
        *(["loaded, MB", "peak, MB"] if memory else []),
        *(["times ours"] if own else []),
    ]
    rows, reference = [], None
    for task in (t for t in TASKS if t.section == section):
        result, took = results.get(task.name, {}), timing(results, task.name)
        if task.name in own:
            reference = took.typical_s if took else None
        if took is None:
            rows.append([task.label, result.get("error", MISSING), *[""] * (len(header) - 2)])
            continue
        cells = [number(took.cold_s), _spread(took.warm_s)]
        cells += [number(result.get("loaded_mb")), number(result.get("peak_mb"))] if memory else []
        cells += [number(ratio(took.typical_s, reference))] if own else []
        rows.append([task.label, *cells])
    return table(header, rows)


def _spread(warm_s: Sequence[float]) -> str:
    if not warm_s:
        return "-"
    return f"{number(median(warm_s))} ({number(min(warm_s))} to {number(max(warm_s))}, n = {len(warm_s)})"


def limits(results: Results) -> str:
    """Peaks of this machine."""
    units = {"peak_gflops": "GFLOP/s", "gb_per_s": "GB/s", "cold_mb_per_s": "MB/s, cold", "decode_s": "s a scan"}
    rows = []
    for task in (t for t in TASKS if t.section == "limit"):
        for name, unit in units.items():
            value = part(results, task.name, name)
            if value is not None:
                rows.append([task.label, f"{number(value)} {unit}"])
    return table(["", "measured"], rows) if rows else MISSING + "\n"


def stages(results: Results) -> str:
    """Each stage of the whole way: its time, the cores it keeps busy, its limit and its bottleneck."""
    total = typical(results, "whole")
    if total is None:
        return MISSING + "\n"
    rows = []
    for stage in STAGES:
        seconds = part(results, "whole", f"{stage}_s")
        if seconds is None:
            continue
        busy = ratio(part(results, "whole", f"{stage}_cpu_s"), seconds)
        limit, reached = _limit(results, stage, seconds)
        cold = number(part(results, "whole", f"{stage}_s", cold=True))
        share = f"{100 * seconds / total:.0f} %"
        rows.append([stage, cold, number(seconds), share, number(busy), limit, reached, _held(results, stage, busy)])
    header = ["stage", "first, s", "warm, s", "share", "busy cores", "limit", "reached", "bottleneck"]
    return table(header, rows)


def _limit(results: Results, stage: str, seconds: float) -> tuple[str, str]:
    """The limit that counts for a stage, and the share of it that is reached."""
    peak, rate = conv_peak(results), network_rate(results, (stage,))
    if stage in NAMES and peak and rate:
        inside = ratio(part(results, "whole", f"{stage}_net_s"), seconds) or 0.0
        text = f"convolutions, {number(peak)} GFLOP/s"
        return text, f"{100 * rate / peak:.0f} % in the network, {100 * rate / peak * inside:.0f} % of the stage"
    bytes_s = part(results, "disk", "warm_s")
    if stage == "read" and bytes_s:
        return f"its bytes from the page cache, {number(bytes_s)} s", f"{100 * bytes_s / seconds:.0f} %"
    voxels, bandwidth = part(results, "whole", "voxels"), part(results, "memory", "gb_per_s")
    if stage == "lungs" and voxels and bandwidth:
        once_s = 3 * voxels / 1e9 / bandwidth
        return f"CT and mask through memory once, {number(once_s)} s", f"{100 * once_s / seconds:.0f} %"
    return "-", "-"


def _held(results: Results, stage: str, busy: float | None) -> str:
    inside = ratio(part(results, "whole", f"{stage}_net_s"), part(results, "whole", f"{stage}_s"))
    if inside is not None and inside >= NETWORK_SHARE:
        return f"its network ({100 * inside:.0f} % of it)"
    if busy is not None and busy < ONE_THREAD:
        return "one thread" + (f" beside its network ({100 * inside:.0f} %)" if inside else "")
    return "work on several cores"


def scaling(results: Results, section: str, first: str) -> str:
    """Whole ways over a size: time, stages that grow, memory."""
    rows = []
    for task in (t for t in TASKS if t.section == section):
        cells = [part(results, task.name, f"{name}_s") for name in ("read", "lungs", "find", "delineate", "rate")]
        cells += [part(results, task.name, f"{name}_s") for name in ("measure", "write")]
        if typical(results, task.name) is None:
            rows.append([task.label, results.get(task.name, {}).get("error", MISSING), *[""] * 9])
            continue
        found, peak = part(results, task.name, "nodules"), results[task.name]["peak_mb"]
        rows.append([task.label, *map(number, (typical(results, task.name), *cells, found, peak))])
    header = ["whole, s", "read", "lungs", "find", "delineate", "rate", "measure", "write", "nodules found", "peak, MB"]
    return table([first, *header], rows)


def studies(results: Results) -> str:
    """One study after the other in one process."""
    rows = []
    for n in range(1, STUDIES + 1):
        seconds = part(results, "studies", f"study_{n}_s")
        if seconds is not None:
            rows.append([f"{n}", number(seconds), number(part(results, "studies", f"study_{n}_mb"))])
    return table(["study", "its seconds", "peak so far, MB"], rows) if rows else MISSING + "\n"


def noisy(results: Results, tasks: Sequence[Task], bound: float) -> list[str]:
    """Names of tasks before which other programs kept more than `bound` cores busy: their figures mean little."""
    return [t.name for t in tasks if (results.get(t.name, {}).get("others_busy_cores") or 0.0) > bound]
