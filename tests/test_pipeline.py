"""The analysis's own doing: which formats are written, what counts as a case's failure, the prior."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_lung import advice, pipeline
from monai_lung.clinical.growth_rates import percent_volume_change
from monai_lung.errors import ConfigError, InputError, MaskError, MonaiLungError, PriorError, UsageError, WeightsError
from monai_lung.model import CT, Lungs, Person, Report, SourceSlice
from monai_lung.prior import read_prior
from monai_lung.report.formats import with_format_warnings
from monai_lung.weights import load_weights, save_weights


def report(**of_the_ct: object) -> Report:
    ct = CT(np.zeros((4, 4, 4), np.int16), np.eye(4), "one", Path("one"))
    return Report(dataclasses.replace(ct, **of_the_ct), Lungs(np.ones((4, 4, 4), np.uint8), 3000, 2800), (), {})


def test_a_volume_gets_no_dicom_objects_and_says_so_wherever_it_is_shown(tmp_path):
    volume = report()
    folder = pipeline.write(volume, tmp_path, ["json", "sr"])
    assert [p.name for p in folder.iterdir()] == ["findings.json"]
    shown = with_format_warnings(volume, ["json", "sr"]).warnings
    assert "SEG and SR" in shown[-1]
    assert with_format_warnings(with_format_warnings(volume, ["sr"]), ["sr"]).warnings == shown
    assert tuple(json.loads((folder / "findings.json").read_text())["input"]["warnings"])[-1:] == shown
    assert with_format_warnings(volume, ["json"]) is volume


def test_dicom_objects_that_fail_fail_the_case(tmp_path):
    stored = SourceSlice(tmp_path / "gone.dcm", "1.2", np.eye(4), (4, 4))
    with pytest.raises(MaskError, match="one"):
        pipeline.write(report(slices=(stored,)), tmp_path / "out", ["json", "seg"])
    assert not list((tmp_path / "out").iterdir())


def test_a_measurement_that_can_not_be_fails_the_case_alone():
    with pytest.raises(InputError, match="one: a measurement") as caught, advice.measured(report().ct):
        percent_volume_change(0.0, 5.0)
    assert not isinstance(caught.value, UsageError)
    with pytest.raises(UsageError, match="age"):
        advice.reported(advice.MeasuredNodules(report().ct, report().lungs, (), (), ()), [], Person(age=200))


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    return pipeline.write(report(), tmp_path, ["json", "nifti"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lungs", {}),
        ("lungs", None),
        ("input", {"study_date": "yesterday"}),
        ("nodules", [{"center_mm": [1, 2]}]),
        ("nodules", [{"center_mm": [1, 2, 3], "volume_mm3": 0, "mean_diameter_mm": 5}]),
        ("mask", b"no image"),
        ("mask", None),
    ],
)
def test_an_earlier_result_that_is_damaged_is_one_line(key, value, earlier):
    assert read_prior(earlier, pipeline.Options()).ct is None
    if key == "mask":
        (earlier / "lungs.nii.gz").unlink()
        if value:
            (earlier / "lungs.nii.gz").write_bytes(value)
    else:
        findings = earlier / "findings.json"
        findings.write_text(json.dumps(json.loads(findings.read_text()) | {key: value}))
    with pytest.raises(PriorError) as caught:
        read_prior(earlier, pipeline.Options())
    assert len(str(caught.value).splitlines()) == 1


def test_the_prior_is_checked_before_any_network_is_loaded(earlier, monkeypatch):
    findings = earlier / "findings.json"
    content = json.loads(findings.read_text())
    content["input"]["patient_key"] = "someone"
    findings.write_text(json.dumps(content))

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("networks are loaded")

    monkeypatch.setattr("monai_lung.inference.load_networks", refuse)
    with pytest.raises(PriorError, match="another patient"):
        pipeline.analyze(report(patient_key="another").ct, pipeline.Options(prior=earlier))


@pytest.mark.parametrize("metadata", [None, "{", "[]", '{"weights_sha256": 3}'])
def test_weights_without_sound_metadata_are_refused(metadata, tmp_path):
    pytest.importorskip("torch")
    from monai_lung.networks import ResUNet3d

    network = ResUNet3d(width=4)
    path = tmp_path / "configs" / "metadata.json"
    path.parent.mkdir()
    path.write_text("{}")
    definition = {"_target_": "monai_lung.networks.ResUNet3d", "width": 4}
    settings = {"spacing_mm": [1, 1, 2], "patch": [16, 16, 8], "threshold": 0.5}
    config = {"network_def": definition, "delineate_settings": settings}
    path.with_name("inference.json").write_text(json.dumps(config))
    digest = save_weights(network, tmp_path, "model.pt")
    assert load_weights(network, tmp_path, "model.pt") == digest
    path.unlink()
    if metadata is not None:
        path.write_text(metadata)
    for call in (load_weights, save_weights):
        with pytest.raises(WeightsError, match="metadata"):
            call(network, tmp_path, "model.pt")


@pytest.mark.parametrize(
    ("error", "stops"),
    [(WeightsError("w"), True), (ConfigError("c"), True), (UsageError("u"), True), (KeyError("k"), False)],
    ids=lambda value: type(value).__name__,
)
def test_the_bundles_evaluator_stops_and_goes_on_as_the_command_line_does(error, stops, tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("ignite")
    from monai_lung.bundle.case_by_case import CaseEvaluator
    from monai_lung.bundle.reporting import WriteReports

    seen = []

    def report_of(item: dict[str, Any]) -> dict[str, Any]:
        seen.append(item["case"])
        if item["case"] == "bad":
            raise error
        return {**item, "report": report()}

    image = torch.zeros(1, 2, 2, 2)
    evaluator = CaseEvaluator(
        torch.device("cpu"),
        [{"case": name, "image": image, "inside": image} for name in ("bad", "one")],
        network=torch.nn.Identity(),
        inferer=lambda image, network, inside: image,
        postprocessing=report_of,
        val_handlers=[WriteReports(tmp_path / "out", "json")],
    )
    with pytest.raises(type(error) if stops else MonaiLungError, match=None if stops else r"1 cases failed \(bad\)"):
        evaluator.run()
    assert seen == ["bad"] if stops else ["bad", "one"]
    assert (tmp_path / "out" / "one").is_dir() is not stops


def test_the_networks_are_loaded_while_the_ct_is_read(monkeypatch: pytest.MonkeyPatch):
    import threading

    loading = threading.Event()
    monkeypatch.setattr("monai_lung.inference.load_networks", lambda *_, **__: loading.set())

    def read(*_: object, **__: object) -> None:
        assert loading.wait(30), "reading begins after the networks are loaded"
        raise InputError("read")

    monkeypatch.setattr("monai_lung.chest.read_chest", read)
    with pytest.raises(InputError, match="read"):
        pipeline.analyze("somewhere")
