"""An application of the MONAI Deploy App SDK: a folder of DICOM in, DICOM SEG and SR of each study out.

Three operators: the SDK's loader reads the studies, the selector takes the CT that `monai_lung` would take, and the
last one analyses it. docs/how-to/monai-deploy.md says how to run and package it.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from monai.deploy.conditions import CountCondition
from monai.deploy.core import Application, Fragment, Operator, OperatorSpec
from monai.deploy.core.domain.dicom_series_selection import SelectedSeries, StudySelectedSeries
from monai.deploy.operators.dicom_data_loader_operator import DICOMDataLoaderOperator
from monai.deploy.operators.dicom_series_selector_operator import DICOMSeriesSelectorOperator

from monai_lung.errors import MonaiLungError, NoSeriesError
from monai_lung.io import find_cases
from monai_lung.io.cases import Case
from monai_lung.pipeline import Analyzer, write
from monai_lung.report.formats import require_formats

log = logging.getLogger("monai_lung.deploy")

FORMATS = "seg,sr"
STUDIES, SELECTED = "dicom_study_list", "study_selected_series_list"


class Input:
    """The studies of the input folder as `monai_lung` finds them, looked for once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._cases: dict[str, Case] | None = None

    @property
    def cases(self) -> dict[str, Case]:
        """SeriesInstanceUID of the chosen series of each study to its case.

        Raises:
            MonaiLungError: there is nothing that can be analysed.
        """
        if self._cases is None:
            found = find_cases(self.folder)
            self._cases = {case.series.uid: case for case in found if case.series is not None}
            if not self._cases:
                raise NoSeriesError(f"{self.folder} holds no DICOM series")
        return self._cases


class ChestSelector(DICOMSeriesSelectorOperator):
    """Selects of each study the CT that suits best: by region, slice thickness, kernel and length."""

    def __init__(self, fragment: Fragment, given: Input, **kwargs: Any) -> None:
        self._given = given
        self.left_out = 0
        super().__init__(fragment, **kwargs)

    def filter(self, selection_rules: object, dicom_study_list: Any, *_: Any) -> list[StudySelectedSeries]:
        """The studies with a CT to analyse, each with that one; rules of the SDK aren't asked for."""
        selected = []
        for number, study in enumerate(dicom_study_list, start=1):
            of_study = StudySelectedSeries(study)
            for series in study.get_all_series():
                if series.SeriesInstanceUID in self._given.cases:
                    of_study.add_selected_series(SelectedSeries("chest CT", series))
            if of_study.selected_series:
                selected.append(of_study)
            else:
                self.left_out += 1
                log.error("study %d of %d: no CT in it that can be analysed", number, len(dicom_study_list))
        return selected


class LungNodules(Operator):
    """Analyses the selected series and writes seg.dcm and sr.dcm, for each study in a folder of its own."""

    def __init__(self, fragment: Fragment, given: Input, output: Path, **kwargs: Any) -> None:
        self._given, self._output = given, output
        self._analyzer = Analyzer()
        self.failed = self.analysed = 0
        super().__init__(fragment, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """One input, no output: what it writes is the application's."""
        spec.input(SELECTED)

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Analyse each study; one that fails is named in the log, the others go on."""
        for of_study in op_input.receive(SELECTED):
            for selected in of_study.selected_series:
                case = self._given.cases[selected.series.SeriesInstanceUID]
                try:
                    report = self._analyzer.analyze(case)
                    write(report, self._output, FORMATS)
                except Exception as error:  # whatever it is, the other studies go on
                    self.failed += 1
                    kind = "" if isinstance(error, MonaiLungError) else f"unexpected {type(error).__name__}: "
                    log.error("%s: %s%s", case.name, kind, " ".join(str(error).split()))
                    log.debug("traceback", exc_info=True)
                else:
                    self.analysed += 1
                    log.info("%s: %d nodules", case.name, len(report.nodules))


class LungNoduleApp(Application):
    """Loader, selector, analysis."""

    def __init__(self, given: Input, output: Path) -> None:
        self.given, self.output = given, output
        super().__init__()

    def compose(self) -> None:
        """Connect the operators."""
        loader = DICOMDataLoaderOperator(self, CountCondition(self, 1), input_folder=self.given.folder, name="loader")
        self.selector = ChestSelector(self, self.given, name="selector")
        self.nodules = LungNodules(self, self.given, self.output, name="lung_nodules")
        self.add_flow(loader, self.selector, {(STUDIES, STUDIES)})
        self.add_flow(self.selector, self.nodules, {(SELECTED, SELECTED)})


def run() -> int:
    """Run the application; 0 where every study was analysed, 1 where one wasn't or there was none.

    The folders come from the command line, else from the SDK's environment variables.
    """
    context = Application.init_app_context(sys.argv)
    given = Input(Path(context.input_path))
    try:
        require_formats(FORMATS)
        log.info("%d studies to analyse", len(given.cases))
    except MonaiLungError as error:
        log.error("%s", error)
        return 1
    app = LungNoduleApp(given, Path(context.output_path))
    app.run()
    return 1 if app.selector.left_out or app.nodules.failed or not app.nodules.analysed else 0
