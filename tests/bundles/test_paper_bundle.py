"""The paper's system: its bundle and `analyze --pipeline paper` give the same; short lungs, thick slices, no lungs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from bundle_runs import cause_of, run
from click.testing import CliRunner

from monai_lung.cli import cli
from monai_lung.definitions import build_network, read_config
from monai_lung.errors import LungsNotFoundError, MonaiLungError, UsageError, WeightsError
from monai_lung.io import read_ct, write_nifti
from monai_lung.lungs import segment_lungs
from monai_lung.pipeline import AS_PAPER, Options, analyze, write
from monai_lung.weights import load_weights, save_weights

FORMATS = {"formats": "json,nifti", "device": "cpu"}


def options_of(bundles) -> Options:
    return Options(device="cpu", pipeline="paper", paper_dir=bundles.paper)


def labels(folder: Path, name: str) -> np.ndarray:
    return np.asarray(nibabel.load(folder / f"{name}.nii.gz").dataobj)


def test_the_bundle_gives_what_the_command_gives(bundles, ct_dir, tmp_path):
    run(bundles.paper, "inference.json", dataset_dir=str(ct_dir), output_dir=str(tmp_path / "bundle"), **FORMATS)
    words = ["analyze", str(ct_dir), "-o", str(tmp_path / "own"), "--format", "json,nifti", "--device", "cpu"]
    end = CliRunner().invoke(cli, [*words, "--pipeline", "paper", "--paper-bundle", str(bundles.paper)])
    assert end.exit_code == 0, end.output
    for name in ("lungs", "nodules"):
        arrays = [labels(tmp_path / d / "one", name) for d in ("bundle", "own")]
        np.testing.assert_array_equal(*arrays)
    found = [json.loads((tmp_path / d / "one" / "findings.json").read_text()) for d in ("bundle", "own")]
    for one in found:
        one.pop("timing_s")
    assert found[0] == found[1]
    assert set(found[0]["weights"]) == {"segment", "classify"}
    assert AS_PAPER in found[0]["input"]["warnings"]


def test_the_balls_in_the_lungs_are_found_where_they_lie(bundles, ct_dir):
    report = analyze(ct_dir / "one.nii.gz", options_of(bundles))
    ct = read_ct(ct_dir / "one.nii.gz")
    expected = [
        ct.to_world(np.array(c)) for c in ((28, 40, 20), (24, 30, 15), (68, 45, 22), (70, 30, 25), (66, 50, 12))
    ]
    centers = [np.array(n.measurements.center_mm) for n in report.nodules]
    assert len(centers) == 5
    for place in expected:
        assert min(np.linalg.norm(center - place) for center in centers) < 4
    for nodule in report.nodules:
        assert 0.5 <= nodule.rating.nodule_probability <= 1
        low, high = nodule.rating.malignancy_interval
        assert low < nodule.rating.malignancy_probability < high


def test_a_ct_that_lies_another_way_gives_the_same_nodules(bundles, ct_dir, tmp_path):
    image = nibabel.load(ct_dir / "one.nii.gz")
    array, affine = np.asarray(image.dataobj), image.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (array.shape[2] - 1)
    affine[:3, 2] *= -1
    turned = np.ascontiguousarray(array[..., ::-1].transpose(1, 0, 2))
    nibabel.save(nibabel.Nifti1Image(turned, affine[:, [1, 0, 2, 3]]), tmp_path / "turned.nii.gz")
    one, other = (analyze(p, options_of(bundles)) for p in (ct_dir / "one.nii.gz", tmp_path / "turned.nii.gz"))
    for a, b in zip(one.nodules, other.nodules, strict=True):
        np.testing.assert_allclose(a.measurements.center_mm, b.measurements.center_mm, atol=0.05)
        assert a.rating.malignancy_probability == pytest.approx(b.rating.malignancy_probability, abs=1e-3)


@pytest.mark.parametrize("slices", [slice(14, 26), slice(None)])
@pytest.mark.parametrize("thick", [1.0, 5.0])
def test_lungs_shorter_than_a_sub_case_and_thick_slices(bundles, ct_dir, tmp_path, slices, thick):
    """72 mm of lungs, less than one sub-case; slices of 5 mm, of which lungs need more."""
    image = nibabel.load(ct_dir / "one.nii.gz")
    array = np.asarray(image.dataobj)[..., slices]
    affine = image.affine.copy()
    affine[:3, 2] *= thick / 6 if thick == 5 else 1
    nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / "ct.nii.gz")
    run(bundles.paper, "inference.json", dataset_dir=str(tmp_path), output_dir=str(tmp_path / "out"), **FORMATS)
    found = labels(tmp_path / "out" / "ct", "nodules")
    ct = read_ct(tmp_path / "ct.nii.gz")
    lungs = segment_lungs(ct.hu, ct.affine_lps).labels > 0
    assert found.shape == array.shape
    assert found.max() >= 2
    assert lungs[found > 0].mean() > 0.9


def test_a_scan_without_lungs_is_refused_by_name_and_the_others_are_done(bundles, ct_dir, tmp_path):
    folder = tmp_path / "cts"
    folder.mkdir()
    (folder / "good.nii.gz").write_bytes((ct_dir / "one.nii.gz").read_bytes())
    water = np.full((40, 40, 20), 30, np.int16)
    water[:4] = -1000
    write_nifti(folder / "none.nii.gz", water, np.diag([5.0, 5.0, 5.0, 1.0]))
    with pytest.raises(RuntimeError) as caught:
        run(bundles.paper, "inference.json", dataset_dir=str(folder), output_dir=str(tmp_path / "out"), **FORMATS)
    assert "1 cases failed (none)" in str(cause_of(caught.value, MonaiLungError))
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"good"}
    with pytest.raises(LungsNotFoundError):
        analyze(folder / "none.nii.gz", options_of(bundles))


def test_a_result_of_one_pipeline_is_not_taken_for_one_of_the_other(bundles, ct_dir, tmp_path):
    from monai_lung.batch.studies import Job
    from monai_lung.io import find_cases

    (case,) = find_cases(ct_dir)
    options = options_of(bundles)
    write(analyze(case, options), tmp_path, ("json",))
    assert Job(tmp_path, options, ("json",)).finished(case)
    product = Options(device="cpu", segmentation_dir=bundles.segmentation, classification_dir=bundles.classification)
    assert not Job(tmp_path, product, ("json",)).finished(case)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--pipeline", "nonsense"], "nonsense"),
        (["--paper-bundle", "BUNDLE"], "--pipeline paper"),
        (["--pipeline", "paper", "--segmentation-bundle", "BUNDLE"], "--paper-bundle"),
        (["--pipeline", "paper", "--paper-bundle", "EMPTY"], "not a bundle"),
    ],
)
def test_options_that_do_not_fit_are_wrong_usage(bundles, ct_dir, tmp_path, words, said):
    from monai_lung.cli import run as command

    (tmp_path / "empty").mkdir()
    places = {"BUNDLE": str(bundles.paper), "EMPTY": str(tmp_path / "empty")}
    given = [places.get(word, word) for word in words]
    runner = CliRunner()
    with runner.isolation() as streams:
        assert command(["analyze", str(ct_dir), "-o", str(tmp_path / "out"), *given]) == 2
        assert said in streams[1].getvalue().decode()
    assert not (tmp_path / "out").exists()


def test_a_bundle_without_weights_says_so(bundles, ct_dir, tmp_path):
    shutil.copytree(bundles.paper / "configs", tmp_path / "bare" / "configs")
    with pytest.raises(WeightsError, match="no weights"):
        analyze(ct_dir / "one.nii.gz", Options(device="cpu", pipeline="paper", paper_dir=tmp_path / "bare"))
    with pytest.raises(UsageError, match="choose among product, paper"):
        Options(pipeline="other")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LungCT-Diagnosis-R_168", "QIN-LSC-0055"])
def test_a_real_ct_gives_the_same_through_both_doors(bundles, data_dir, tmp_path, name):
    """DICOM, slices of 5 and 3 mm; the network calls what is denser than -20 HU."""
    path = data_dir / "lungs" / name
    if not path.is_dir():
        pytest.skip(f"no {path}")
    bundle = tmp_path / "lung_nodule_paper"
    shutil.copytree(bundles.paper, bundle)
    network = build_network(read_config(bundle), "network_def", bundle)
    load_weights(network, bundle, "model.pt")
    with torch.no_grad():
        network.head.bias[:] = -20 * 0.7
    save_weights(network, bundle, "model.pt")
    run(bundle, "inference.json", dataset_dir=str(path), output_dir=str(tmp_path / "bundle"), **FORMATS)
    own = write(
        analyze(path, Options(device="cpu", pipeline="paper", paper_dir=bundle)), tmp_path / "own", ("json", "nifti")
    )
    for mask in ("lungs", "nodules"):
        np.testing.assert_array_equal(labels(tmp_path / "bundle" / own.name, mask), labels(own, mask))
    found = [json.loads((d / "findings.json").read_text()) for d in (tmp_path / "bundle" / own.name, own)]
    for one in found:
        one.pop("timing_s")
    assert found[0] == found[1]
    assert found[0]["nodules"]
    assert any("5" in text and "mm" in text for text in found[0]["input"]["warnings"]) == (name[-3:] == "168")
