"""What the MONAI Deploy application makes of studies that can't be analysed, with the SDK's classes stood in for."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from monai_lung.errors import InputError

APP = Path(__file__).resolve().parents[2] / "tools" / "monai_deploy" / "app" / "app.py"
SDK = {
    "monai.deploy": (),
    "monai.deploy.conditions": ("CountCondition",),
    "monai.deploy.core": ("Application", "Fragment", "Operator", "OperatorSpec"),
    "monai.deploy.core.domain": (),
    "monai.deploy.core.domain.dicom_series_selection": ("SelectedSeries", "StudySelectedSeries"),
    "monai.deploy.operators": (),
    "monai.deploy.operators.dicom_data_loader_operator": ("DICOMDataLoaderOperator",),
    "monai.deploy.operators.dicom_series_selector_operator": ("DICOMSeriesSelectorOperator",),
}


class Part:
    """An operator of the SDK, or its application."""

    def __init__(self, *given: Any, **more: Any) -> None:
        pass

    @staticmethod
    def init_app_context(arguments: list[str]) -> SimpleNamespace:
        return SimpleNamespace(input_path="in", output_path="out")


class SelectedSeries:
    """The SDK's: a name and a series."""

    def __init__(self, name: str, series: Any) -> None:
        self.series = series


class StudySelectedSeries:
    """The SDK's: what was selected of a study."""

    def __init__(self, study: Any) -> None:
        self.selected_series: list[SelectedSeries] = []

    def add_selected_series(self, selected: SelectedSeries) -> None:
        self.selected_series.append(selected)


class Study:
    """A study with a series of this SeriesInstanceUID, as the SDK's loader gives it."""

    def __init__(self, uid: str) -> None:
        self.uid = uid

    def get_all_series(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(SeriesInstanceUID=self.uid)]


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The application's module."""
    own = {"SelectedSeries": SelectedSeries, "StudySelectedSeries": StudySelectedSeries}
    for name, classes in SDK.items():
        module = ModuleType(name)
        for one in classes:
            setattr(module, one, own.get(one, Part))
        monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location("deploy_app", APP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_on(app: Any, monkeypatch: pytest.MonkeyPatch, *uids: str) -> int:
    """The application on studies with one series each: `broken` and `odd` fail, `mr` is not a CT."""

    def analyze(case: Any) -> SimpleNamespace:
        if case.name == "broken":
            raise InputError("no lungs")
        if case.name == "odd":
            raise TypeError("of two\nlines")
        return SimpleNamespace(nodules=[])

    def run_parts(self: Any) -> None:
        self.selector = app.ChestSelector(self, self.given)
        self.nodules = app.LungNodules(self, self.given, self.output)
        selected = self.selector.filter(None, [Study(uid) for uid in uids])
        self.nodules.compute(SimpleNamespace(receive=lambda port: selected), None, None)

    given = SimpleNamespace(cases={uid: SimpleNamespace(name=uid) for uid in uids if uid != "mr"})
    monkeypatch.setattr(app, "Input", lambda folder: given)
    monkeypatch.setattr(app, "require_formats", lambda formats: None)
    monkeypatch.setattr(app, "Analyzer", lambda: SimpleNamespace(analyze=analyze))
    monkeypatch.setattr(app, "write", lambda report, output, formats: output / "case")
    monkeypatch.setattr(app.LungNoduleApp, "run", run_parts, raising=False)
    code: int = app.run()
    return code


@pytest.mark.parametrize(
    ("uids", "code", "said"),
    [
        (("a", "b"), 0, []),
        (("a", "mr"), 1, ["study 2 of 2: no CT in it that can be analysed"]),
        (("broken", "a"), 1, ["broken: no lungs"]),
        (("odd", "a"), 1, ["odd: unexpected TypeError: of two lines"]),
        ((), 1, []),
    ],
)
def test_a_study_that_is_not_analysed_is_said_and_the_others_go_on(
    app: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    uids: tuple[str, ...],
    code: int,
    said: list[str],
) -> None:
    caplog.set_level("INFO")
    caplog.set_level("INFO", logger="monai_lung.deploy")
    assert run_on(app, monkeypatch, *uids) == code
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == said
    analysed = [record.getMessage() for record in caplog.records if record.getMessage().endswith(" nodules")]
    assert analysed == [f"{uid}: 0 nodules" for uid in uids if uid in ("a", "b")]
