"""The study's tables of whole CTs, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monai_lung.metrics.figures import figure, mean_of
from research.study import whole_ct
from research.study.judged import groups
from research.study.store import Predictions, Study
from research.study.tables import NOT_RUN, cell, counted, table

_FALSE_POSITIVES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


def real_nodules(study: Study) -> str:
    """Each nodule of the two whole scans: its best score in both stages, and the false positives above it."""
    rows = []
    for name in whole_ct.SCANS:
        path = study.path("whole-ct", "real", name)
        scan = whole_ct.load(path)
        if scan is None:
            rows.append([name, NOT_RUN, *["-"] * 6])
            continue
        v, limit = scan.values, scan.facts["min_nodule"]
        for n, nodule in enumerate(scan.ids):
            place = " ".join(f"{c:.0f}" for c in v["center_mm"][n])
            found = [_found(v["find_hit"][n], v["find_false"]), _found(v["rate_hit"][n], v["rate_false"])]
            kept = "yes" if v["rate_hit"][n] >= limit else "no"
            known = [f"{v['diameter_mm'][n]:.1f}", str(v["n_readers"][n]), str(v["texture"][n])]
            rows.append([nodule, place, *known, *found, kept])
        false = [str(len(v["find_false"])), f"{(v['rate_false'] >= limit).sum()} kept of {len(v['rate_false'])}"]
        rows.append([f"{name}: false positives", "-", "-", "-", "-", *false, "-"])
    names = ["nodule", "centre, LPS mm", "diameter, mm", "readers", "texture"]
    stages = [f"{stage}: score (false positives above)" for stage in ("finding", "rating")]
    return table([*names, *stages, "kept"], rows)


def whole_ct_summary(study: Study, *, few: bool) -> str:
    """Nodules kept of those on the two whole scans, and false positives a scan; `few`: of one or two readers."""
    found = [whole_ct.load(study.path("whole-ct", "real", name)) for name in whole_ct.SCANS]
    scans = [scan for scan in found if scan]
    if len(scans) < len(whole_ct.SCANS):
        return NOT_RUN
    limits = [scan.facts["min_nodule"] for scan in scans]
    mine = [(s.values["n_readers"] < 3) == few for s in scans]
    kept = sum(int((s.values["rate_hit"][m] >= t).sum()) for s, m, t in zip(scans, mine, limits, strict=True))
    false = [int((s.values["rate_false"] >= t).sum()) for s, t in zip(scans, limits, strict=True)]
    return f"{kept} of {sum(int(m.sum()) for m in mine)}, at {' and '.join(map(str, false))} false positives"


def weights(study: Study) -> str:
    """Which weights were judged: the first eight digits of each sha256, as kept with the first scan."""
    scan = whole_ct.load(study.path("whole-ct", "real", whole_ct.SCANS[0]))
    if scan is None:
        return NOT_RUN
    kept = [str(w).split() for w in scan.values["weights"]]
    return ", ".join(f"{name} {digest[:8]}" for name, digest in kept)


def _found(score: float, false: NDArray[np.float64]) -> str:
    return f"{score:.3f} ({(false >= score).sum()})" if score > 0 else "missed"


def pasted(study: Study) -> list[Predictions]:
    """The lungs with pasted nodules that were run."""
    scans = [whole_ct.load(study.path("whole-ct", "pasted", copy)) for copy in range(study.budget.copies)]
    return [scan for scan in scans if scan]


def thresholds(scans: Sequence[Predictions], stage: str) -> list[float]:
    """The lowest score with at most so many false positives a scan, for each of `_FALSE_POSITIVES`."""
    false = np.sort(np.concatenate([s.values[f"{stage}_false"] for s in scans]))[::-1]
    result = []
    for rate in _FALSE_POSITIVES:
        allowed = int(rate * len(scans))
        result.append(float(np.nextafter(false[allowed], 2)) if allowed < len(false) else 1e-9)
    return result


def froc(study: Study) -> str:
    """Sensitivity for pasted nodules at some numbers of false positives a scan, for each of `STAGES`."""
    scans = pasted(study)
    if not scans:
        return NOT_RUN + "\n"
    rows = []
    for stage, label in whole_ct.STAGES.items():
        hits = np.concatenate([s.values[f"{stage}_hit"] for s in scans])
        patients = np.concatenate([s.values["patient"] for s in scans]).tolist()
        found = [(hits >= t).astype(float) for t in thresholds(scans, stage)]
        cells = [cell(figure(mean_of(f), patients)) for f in found]
        rows.append([label, f"{len(hits)} / {len(set(patients))}", *cells])
    return table(["by", "nodules / patients", *(f"{r:g} a scan" for r in _FALSE_POSITIVES)], rows)


def froc_groups(study: Study) -> str:
    """Sensitivity by size and texture with the shipped settings, and its false positives."""
    scans = pasted(study)
    if not scans:
        return NOT_RUN + "\n"
    crops = {c.row.id: c for c in study.crops}
    ids = [i for s in scans for i in s.ids]
    limit = scans[0].facts["min_nodule"]
    found = np.concatenate([s.values["find_hit"] for s in scans]) > 0
    kept = np.concatenate([s.values["rate_hit"] for s in scans]) >= limit
    rows = []
    for group, keep in groups().items():
        mine = np.array([keep(crops[i]) for i in ids])
        if mine.any():
            patients = [crops[i].row.patient for i, m in zip(ids, mine, strict=True) if m]
            values = [figure(mean_of(hit[mine].astype(float)), patients) for hit in (found, kept)]
            rows.append([group, counted(values[0]), *map(cell, values)])
    false = [np.mean([len(s.values["find_false"]) for s in scans])]
    false.append(np.mean([(s.values["rate_false"] >= limit).sum() for s in scans]))
    rows.append(["false positives a scan", f"{len(scans)} scans", *(f"{f:.1f}" for f in false)])
    return table(["nodules", "nodules / patients", "found", "kept after rating"], rows)
