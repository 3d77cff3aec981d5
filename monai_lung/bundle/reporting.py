"""From nodules to reports and their files, for the bundle of the whole way."""

from __future__ import annotations

import logging
from collections.abc import Collection, Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ignite.engine import Engine, Events
from monai.config import KeysCollection
from monai.transforms import LoadImaged, MapTransform, Transform
from torch import nn

from monai_lung.advice import Leads, split
from monai_lung.bundle.cases import ChestReader
from monai_lung.bundle.delineating import device_of
from monai_lung.definitions import settings
from monai_lung.errors import UsageError
from monai_lung.inference import rate_likely
from monai_lung.inference.networks import Networks, Rater
from monai_lung.io.paths import check_exists
from monai_lung.model import Report, Sensitivity
from monai_lung.options import Pipeline
from monai_lung.person import make_person
from monai_lung.pipeline import Analyzer, Options, described, measured_nodules, write
from monai_lung.report.formats import require_formats
from monai_lung.stages import DelineateSettings, FindSettings, RateSettings
from monai_lung.weights import declared_weights

if TYPE_CHECKING:
    from monai_lung.inference.paper import PaperNetworks

log = logging.getLogger(__name__)


class LoadCTd(LoadImaged):
    """MONAI's `LoadImaged` with the package's reader, which keeps what reports need of a CT beside its image.

    Args:
        keys: paths or cases of `find_cases`; they become int16 HU (1, X, Y, Z), MetaTensors.
        source_key: of the CT as `monai_lung.io.read_ct` gives it, with its DICOM instances, date and patient.
        allow_gaps: interpolate missing slices rather than refuse them.

    >>> import tempfile
    >>> import numpy as np
    >>> from monai_lung.io import write_nifti
    >>> hu = np.full((16, 16, 12), -800, np.int16)
    >>> hu[4:12, 4:12] = 40
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_nifti(Path(folder, "ct.nii.gz"), hu, np.diag([1.0, 1.0, 2.0, 1.0]))
    ...     item = LoadCTd("ct")({"ct": Path(folder, "ct.nii.gz")})
    >>> tuple(item["ct"].shape), item["source"].hu.shape
    ((1, 16, 16, 12), (16, 16, 12))
    """

    def __init__(self, keys: KeysCollection, source_key: str = "source", allow_gaps: bool = False) -> None:
        self.ct_reader, self.source_key = ChestReader(allow_gaps=allow_gaps), source_key
        super().__init__(
            keys,
            self.ct_reader,  # type: ignore[arg-type]  # MONAI takes a reader, its annotation doesn't say so
            dtype="int16",
            ensure_channel_first=True,
            expanduser=False,
        )

    def __call__(self, data: Mapping[Hashable, Any], reader: Any = None) -> dict[Hashable, Any]:
        """Read the items.

        Raises:
            MonaiLungError: as `read_ct`.
        """
        items: dict[Hashable, Any] = super().__call__(data, reader)
        items[self.source_key], self.ct_reader.latest = self.ct_reader.latest, None
        return items


class RateNodulesd(MapTransform):
    """Is each outline a nodule at all, and how likely malignant?

    Args:
        keys: of lists of outlines; they are replaced by what is measured of those that are nodules, largest first
            (`monai_lung.advice.MeasuredNodules`).
        network: says whether it's a nodule.
        malignancy_network: says how likely it's malignant.
        rate_settings: as in the classification bundle's config.
        source_key: of the CT.
        lungs_key: of its lungs (`found_key` of `LungMaskd`).
        bundle_root: named in errors.
    """

    def __init__(
        self,
        keys: KeysCollection,
        network: nn.Module,
        malignancy_network: nn.Module,
        rate_settings: Mapping[str, Any],
        source_key: str = "source",
        lungs_key: str = "found_lungs",
        bundle_root: Path | str = "",
    ) -> None:
        super().__init__(keys)
        self.source_key, self.lungs_key = source_key, lungs_key
        chosen = settings(RateSettings, rate_settings, Path(bundle_root))
        self.rater = Rater(network, malignancy_network, chosen, device_of(network))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Outlines to nodules, rated and measured."""
        items = dict(data)
        ct = items[self.source_key]
        lungs = described(ct, items[self.lungs_key])
        for key in self.key_iterator(items):
            likely, ratings = rate_likely(ct, items[key], self.rater, lungs)
            items[key] = measured_nodules(ct, lungs, likely, ratings, self.rater.rate_settings.least_nodule)
        return items


class ReportNodulesd(Transform):
    """Guideline advice, and growth since an earlier CT: the findings in a CT become its report.

    Args:
        networks: for an earlier CT, which is analysed in the same way.
        key: of the findings (`RateNodulesd`).
        output_key: of the `monai_lung.model.Report`.
        person: fields of `Person` that are known of the patient.
        prior: an earlier CT, or the folder of an earlier result, of the same patient; "" for none.
        allow_other_patient: compare with the prior even if it's another patient's.
        sensitivity: high, standard or low: from which confidence on findings are reported.
        guideline: which one is shown first: lung-rads or fleischner; None goes by the context.
        allow_gaps: interpolate missing slices of the prior rather than refuse them.
        pipeline: whose networks they are: "product", or "paper".

    Raises:
        UsageError: a field of the person or the guideline is unknown, or the prior isn't there.
    """

    def __init__(
        self,
        networks: Networks | PaperNetworks,
        key: str = "nodules",
        output_key: str = "report",
        *,
        person: Mapping[str, Any] | None = None,
        prior: Path | str = "",
        allow_other_patient: bool = False,
        sensitivity: Sensitivity = "standard",
        guideline: Leads | None = None,
        allow_gaps: bool = False,
        pipeline: Pipeline = "product",
    ) -> None:
        self.key, self.output_key = key, output_key
        if prior:
            check_exists(Path(prior))
        if guideline not in (None, *get_args(Leads)):
            raise UsageError(f"guideline {guideline!r}: choose among {', '.join(get_args(Leads))}")
        earlier = Path(prior) if prior else None
        options = Options(
            person=make_person(person or {}),
            prior=earlier,
            allow_other_patient=allow_other_patient,
            sensitivity=sensitivity,
            guideline=guideline,
            allow_gaps=allow_gaps,
            pipeline=pipeline,
        )
        self.analyzer = Analyzer(options, networks)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the report.

        Raises:
            MonaiLungError: the prior can't be used, or a measurement.
        """
        return {**data, self.output_key: self.analyzer.report(*split(data[self.key], self.analyzer.operating_point))}


class WriteReports:
    """Handler of a `CaseEvaluator`: writes each report as `output_dir/<case>/`, as `monai-lung analyze` does.

    Args:
        output_dir: where to.
        formats: a list or a text with commas; "all" is all of them.
        show_patient: put the patient's name and ID into the results.

    Raises:
        UsageError: a format is unknown, or its library isn't installed.
    """

    def __init__(
        self, output_dir: Path | str, formats: str | Collection[str] = "json,nifti,html", show_patient: bool = False
    ) -> None:
        self.output_dir, self.show_patient = Path(output_dir), show_patient
        self.formats = require_formats(formats)

    def attach(self, engine: Engine) -> None:
        """Write after each case."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the report of the case that is done, if it didn't fail."""
        output: Any = engine.state.output
        if output is not None:
            engine.tried(str(output["case"]), lambda: self._write(output["report"]))  # type: ignore[attr-defined]

    def _write(self, report: Report) -> dict[str, Any]:
        folder = write(report, self.output_dir, self.formats, show_patient=self.show_patient)
        log.info("%s: done", folder)
        return {}


def networks_of(
    find: nn.Module,
    delineate: nn.Module,
    rate: nn.Module,
    malignancy: nn.Module,
    segmentation: Mapping[str, Any],
    classification: Mapping[str, Any],
    segmentation_dir: Path | str,
    classification_dir: Path | str,
) -> Networks:
    """The four networks of a config with the settings of their bundles, as the analysis takes them.

    Args:
        find, delineate, rate, malignancy: on their device.
        segmentation, classification: the bundles' `inference.json`.
        segmentation_dir, classification_dir: their folders.

    Raises:
        ConfigError: settings are missing or out of range.
        WeightsError: the bundles' metadata are missing.
    """
    seg, cls = Path(segmentation_dir), Path(classification_dir)
    return Networks(
        find=find,
        delineate=delineate,
        rate=rate,
        malignancy=malignancy,
        find_settings=settings(FindSettings, segmentation.get("find_settings"), seg),
        delineate_settings=settings(DelineateSettings, segmentation.get("delineate_settings"), seg),
        rate_settings=settings(RateSettings, classification.get("rate_settings"), cls),
        device=device_of(find),
        weights=declared_weights(seg, cls),
    )
