"""The whole analysis as an Ignite engine, for the bundle `lung_nodule_analysis`."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.engines import Workflow

from monai_lung.analysis import STOPPING, Analyzer, Options, write
from monai_lung.errors import MonaiLungError
from monai_lung.inference.networks import choose_device
from monai_lung.io.paths import check_exists
from monai_lung.model import Sensitivity
from monai_lung.person import make_person
from monai_lung.report.formats import DEFAULT_FORMATS, require_formats

log = logging.getLogger(__name__)


class AnalysisEngine(Workflow):
    """Analyses one case after the other and writes `output_dir/<case>/`, as `monai-lung analyze` does.

    A case that fails is logged and passed over; when all are done, the run ends with an error that lists them. An
    error that would hit every case (weights, configs, the call itself) ends the run at once.

    Args:
        data: items of `ct_items`.
        output_dir: where to.
        formats: of `report.formats.FORMATS`, a list or a text with commas; "all" is all of them.
        device: auto, cpu or cuda.
        segmentation_dir, classification_dir: other bundles than the installed ones; "" for those.
        allow_gaps: interpolate missing slices rather than refuse them.
        person: fields of `Person` that are known of the patient.
        prior: an earlier CT, or the folder of an earlier result, of the same patient; "" for none.
        allow_other_patient: compare with the prior even if it's another patient's.
        sensitivity: high, standard or low: from which confidence on findings are reported.
        show_patient: put the patient's name and ID into the results.

    Raises:
        UsageError: a format, the device or a field of the person is unknown, a format's library isn't installed, or
            the prior isn't there.
    """

    def __init__(
        self,
        data: list[dict[str, Any]],
        output_dir: Path | str,
        *,
        formats: str | Collection[str] = DEFAULT_FORMATS,
        device: str = "auto",
        segmentation_dir: Path | str = "",
        classification_dir: Path | str = "",
        allow_gaps: bool = False,
        person: Mapping[str, Any] | None = None,
        prior: Path | str = "",
        allow_other_patient: bool = False,
        sensitivity: Sensitivity = "standard",
        show_patient: bool = False,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.formats = require_formats(formats)
        self.show_patient = show_patient
        if prior:
            check_exists(Path(prior))
        options = Options(
            device=device,
            person=make_person(person or {}),
            prior=Path(prior) if prior else None,
            allow_other_patient=allow_other_patient,
            sensitivity=sensitivity,
            allow_gaps=allow_gaps,
            segmentation_dir=Path(segmentation_dir) if segmentation_dir else None,
            classification_dir=Path(classification_dir) if classification_dir else None,
        )
        self.analyzer = Analyzer(options)
        self.failed: list[str] = []
        super().__init__(
            device=choose_device(device),
            max_epochs=1,
            data_loader=data,
            prepare_batch=lambda item, *_args, **_kwargs: item,
            iteration_update=self._analyze,
        )
        self.add_event_handler(Events.STARTED, lambda: self.failed.clear())
        self.add_event_handler(Events.COMPLETED, self._check)

    def _analyze(self, engine: Engine, item: dict[str, Any]) -> Path | None:
        try:
            report = self.analyzer.analyze(item["image"])
            folder = write(report, self.output_dir, self.formats, show_patient=self.show_patient)
        except STOPPING:
            raise
        except Exception as error:
            if isinstance(error, MonaiLungError):
                log.error("%s: %s", item["case"], error)
            else:
                log.exception("%s: unexpected %s", item["case"], type(error).__name__)
            self.failed.append(item["case"])
            return None
        log.info("%s: done", folder)
        return folder

    def _check(self) -> None:
        """Raise an error that lists the cases that failed."""
        if self.failed:
            raise MonaiLungError(f"{len(self.failed)} cases failed ({', '.join(self.failed)}); the log says why")
