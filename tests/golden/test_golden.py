"""The same input and version give the same findings: bit for bit on one machine, within bounds on any.

`golden.json` holds what the shipped networks make of the shared phantom. New weights, or a change that is meant to
change numbers, renew it: `MONAI_LUNG_RENEW_GOLDEN=1 pytest tests/golden`; the diff shows what changed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_lung.io import find_cases
from monai_lung.pipeline import Analyzer, Options
from monai_lung.report.findings import to_dict

GOLDEN = Path(__file__).with_name("golden.json")
EXACT = ("texture", "side", "third")
LENGTHS = ("long_axis_mm", "short_axis_mm", "mean_diameter_mm", "solid_diameter_mm")
PROBABILITIES = ("nodule_probability", "malignancy_probability")
MM, RATIO, PROBABILITY = 0.5, 0.05, 0.02
"""What another processor may change by other orders of sums; networks run in float32 here, whatever it can do."""
MIN_NODULE = 0.1
"""The phantom's structures aren't much like nodules to the networks: more are compared than an analysis would show."""
UNSURE = 0.12
"""Nodules less probable than this may come and go with the processor."""


def kept(findings: dict[str, Any]) -> dict[str, Any]:
    """The part of findings that is compared."""
    names = (*EXACT, *LENGTHS, *PROBABILITIES, "center_mm", "volume_mm3", "mean_hu")
    rows = [
        {name: nodule[name] for name in names}
        | {"categories": {g: advice["category"] for g, advice in nodule["guidelines"].items()}}
        for nodule in findings["nodules"]
    ]
    return {"weights": findings["weights"], "lungs": findings["lungs"], "nodules": rows}


def test_the_phantoms_findings_are_those_of_the_golden_file(phantom_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monai_lung.inference.precision._cpu_has_bfloat16", lambda: False)
    analyzer = Analyzer(Options(device="cpu"))
    low = replace(analyzer.networks.rate_settings, min_nodule=MIN_NODULE, operating_points={})
    monkeypatch.setattr(analyzer, "_networks", replace(analyzer.networks, rate_settings=low))
    (case,) = find_cases(phantom_dir / "dicom")
    found = kept(to_dict(analyzer.analyze(case)))
    if os.environ.get("MONAI_LUNG_RENEW_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    golden = json.loads(GOLDEN.read_text())
    assert found["weights"] == golden["weights"], "other weights: renew the golden file"
    assert found["lungs"] == pytest.approx(golden["lungs"], rel=0.01)
    assert golden["nodules"], "nothing to compare"
    matched = set()
    for wanted in golden["nodules"]:
        distances = [np.linalg.norm(np.subtract(n["center_mm"], wanted["center_mm"])) for n in found["nodules"]]
        if not distances or min(distances) > 2:
            assert wanted["nodule_probability"] < UNSURE, f"missing: {wanted}"
            continue
        matched.add(int(np.argmin(distances)))
        compare(found["nodules"][int(np.argmin(distances))], wanted)
    more = [n for k, n in enumerate(found["nodules"]) if k not in matched and n["nodule_probability"] >= UNSURE]
    assert not more


def compare(nodule: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Categories exactly, numbers within the bounds."""
    np.testing.assert_allclose(nodule["center_mm"], wanted["center_mm"], atol=MM)
    assert nodule["volume_mm3"] == pytest.approx(wanted["volume_mm3"], rel=RATIO)
    for name in LENGTHS:
        assert nodule[name] == pytest.approx(wanted[name], rel=RATIO, abs=MM), name
    for name in PROBABILITIES:
        assert nodule[name] == pytest.approx(wanted[name], abs=PROBABILITY), name
    assert [nodule[name] for name in EXACT] == [wanted[name] for name in EXACT]
    assert nodule["categories"] == wanted["categories"]


@pytest.mark.slow
def test_any_number_of_threads_gives_the_same_bits(phantom_dir: Path, tmp_path: Path) -> None:
    """Two runs with one thread and one with two, each a process of its own."""
    results = []
    for number, threads in enumerate((1, 1, 2)):
        words = [sys.executable, "-m", "monai_lung", "analyze", phantom_dir / "dicom", "-o", tmp_path / str(number)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        subprocess.run([*words, "--format", "json,nifti"], check=True, env=environment, capture_output=True)
        (case,) = (tmp_path / str(number)).iterdir()
        findings = json.loads((case / "findings.json").read_text())
        findings.pop("timing_s")
        results.append((findings, (case / "nodules.nii.gz").read_bytes(), (case / "lungs.nii.gz").read_bytes()))
    assert results[0] == results[1]
    assert results[0] == results[2]
