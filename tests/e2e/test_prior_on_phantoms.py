"""`analyze --prior` on phantoms whose change is known: growing, stable, shrinking, gone, new, visible but not found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from monai_lung.cli import run
from monai_lung.clinical.growth import PriorExamination
from monai_lung.phantom import PhantomNodule, PhantomSpec, make_phantom, write_phantom

PLACES: dict[str, tuple[tuple[float, float, float], float | None, float | None]] = {
    # what happens to it: centre, diameter before and now
    "growing": ((-72, -10, 45), 12, 20),
    "stable": ((80, 40, 10), 14, 14),
    "shrinking": ((-80, 45, -20), 22, 14),
    "gone": ((75, -20, 62), 14, None),
    "new": ((85, -35, -10), None, 14),
    "missed": ((-95, -30, 5), 12, 12),  # in both, but the earlier analysis didn't find it
}


def written(folder: Path, when: int, date: str) -> Path:
    nodules = tuple(PhantomNodule(place, sizes[when]) for place, *sizes in PLACES.values() if sizes[when])  # type: ignore[arg-type,misc]
    write_phantom(make_phantom(PhantomSpec(size=160, slices=75, pixel_mm=2.4, spacing_mm=4.0, nodules=nodules)), folder)
    for path in (folder / "dicom").iterdir():
        data = dcmread(path)
        data.StudyDate = data.SeriesDate = data.AcquisitionDate = date
        data.PatientID, data.PatientAge, data.PatientSex = "P-1", "064Y", "F"
        data.StudyInstanceUID, data.SeriesInstanceUID = f"1.2.3.{date}", f"1.2.3.{date}.1"
        data.StudyDescription = "Lung screening"
        data.save_as(path)
    return folder / "dicom"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pair")
    return written(folder / "before", 0, "20240103"), written(folder / "now", 1, "20240701")


def nearest(nodules: list[dict[str, Any]], name: str) -> dict[str, Any]:
    distance = [np.linalg.norm(np.subtract(n["center_mm"], PLACES[name][0])) for n in nodules]
    assert min(distance) < 4, name
    return nodules[int(np.argmin(distance))]


def test_changes_of_phantoms_are_told(
    pair: tuple[Path, Path], tmp_path: Path, stand_in_networks: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monai_lung import prior as prior_module

    found_in_it = prior_module.find_prior

    def but_one(*what: Any) -> PriorExamination:
        found = found_in_it(*what)
        left = [n for n in found.nodules if np.linalg.norm(np.subtract(n.center_mm, PLACES["missed"][0])) > 5]
        assert len(left) == len(found.nodules) - 1
        return PriorExamination(**{**vars(found), "nodules": left})

    monkeypatch.setattr(prior_module, "find_prior", but_one)
    before, now = pair
    words = ["-o", str(tmp_path / "out"), "--format", "json", "--prior", str(before), "--risk", "high"]
    assert run(["analyze", str(now), *words]) == 0
    (case,) = (tmp_path / "out").iterdir()
    content = json.loads((case / "findings.json").read_text())
    nodules = content["nodules"]
    growths = {name: nearest(nodules, name)["growth"] for name in PLACES if PLACES[name][2]}
    assert {name: growth["status"] for name, growth in growths.items()} == {
        "growing": "growing",
        "stable": "stable",
        "shrinking": "shrinking",
        "new": "new",
        "missed": "stable",
    }
    assert growths["growing"]["volume_change_percent"] > 200  # 363 %; the stand-ins cut small balls down more
    assert growths["growing"]["interval_days"] == 180
    assert growths["new"]["prior_visible"] is False
    assert (growths["missed"]["prior_visible"], growths["missed"]["prior_detected"]) == (True, False)
    assert growths["stable"]["prior_detected"] is True
    gone = [g["center_mm"] for g in content["prior"]["gone"]]
    assert min(np.linalg.norm(np.subtract(g, PLACES["gone"][0])) for g in gone) < 4
    grown = nearest(nodules, "growing")
    assert grown["guidelines"]["lung_rads_2022"]["category"] == "4B"
    assert content["guidelines"]["lung_rads_2022"]["category"] == "4B"
    assert content["deciding_nodule"] == grown["id"]
    assert content["person"]["age"] == 64
    assert content["person"]["sources"] == {"risk": "option", "age": "DICOM", "sex": "DICOM", "screening": "DICOM"}
    assert content["guidelines"]["fleischner_2017"]["category"] == "not-applicable"  # screening
    assert grown["image_number"] is not None
    assert grown["sop_instance_uid"]


def test_the_scan_as_its_own_prior_is_refused(
    pair: tuple[Path, Path], tmp_path: Path, stand_in_networks: object, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-o", str(tmp_path / "out"), "--format", "json", "--prior", str(pair[1]), "--allow-other-patient"]
    assert run(["analyze", str(pair[1]), *words]) == 1
    error = capsys.readouterr().err.strip()
    assert "this very scan" in error
    assert len(error.splitlines()) == 1
