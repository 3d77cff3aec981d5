"""The bundle of the whole way, against the analysis itself."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from bundle_runs import cause_of, run

from monai_lung.errors import MonaiLungError, UsageError
from monai_lung.io import find_cases
from monai_lung.pipeline import Options, analyze, write


@pytest.fixture
def options(bundles):
    return {
        "segmentation_dir": str(bundles.segmentation),
        "classification_dir": str(bundles.classification),
        "formats": "json,nifti",
        "device": "cpu",
    }


def test_it_gives_what_the_analysis_gives(bundles, options, ct_dir, tmp_path):
    run(bundles.analysis, "inference.json", dataset_dir=str(ct_dir), output_dir=str(tmp_path / "bundle"), **options)
    chosen = Options(device="cpu", segmentation_dir=bundles.segmentation, classification_dir=bundles.classification)
    (case,) = find_cases(ct_dir)
    write(analyze(case, chosen), tmp_path / "own", ("json", "nifti"))
    for name in ("lungs.nii.gz", "nodules.nii.gz"):
        arrays = [np.asarray(nibabel.load(tmp_path / d / "one" / name).dataobj) for d in ("bundle", "own")]
        np.testing.assert_array_equal(*arrays)
    findings = [json.loads((tmp_path / d / "one" / "findings.json").read_text()) for d in ("bundle", "own")]
    assert len(findings[0]["nodules"]) >= 2
    for found in findings:  # what differs from run to run
        for key in ("timing_s", "timing", "created"):
            found.pop(key, None)
    assert findings[0] == findings[1]


def test_a_case_that_fails_does_not_stop_the_others(bundles, options, ct_dir, tmp_path):
    folder = tmp_path / "cts"
    folder.mkdir()
    (folder / "good.nii.gz").write_bytes((ct_dir / "one.nii.gz").read_bytes())
    (folder / "bad.nii.gz").write_bytes(b"no image")
    with pytest.raises(RuntimeError) as caught:
        run(bundles.analysis, "inference.json", dataset_dir=str(folder), output_dir=str(tmp_path / "out"), **options)
    assert "1 cases failed (bad)" in str(cause_of(caught.value, MonaiLungError))
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"good"}


def test_an_unknown_format_is_refused_before_anything_runs(bundles, options, ct_dir, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        run(bundles.analysis, "inference.json", dataset_dir=str(ct_dir), **(options | {"formats": "json,pdf"}))
    assert "pdf" in str(cause_of(caught.value, UsageError))
