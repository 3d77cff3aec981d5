"""The options of an analysis."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from monai_lung.advice import Leads
from monai_lung.errors import UsageError
from monai_lung.model import Person, Sensitivity

Pipeline = Literal["product", "paper"]
"""Which networks find and rate: this software's own four, or the two of the paper's system."""
AS_PAPER = (
    "Analysed by the system of Yu et al. (BMC Bioinformatics 22:314, 2021), for comparison: its findings aren't those "
    "of this software's own networks, and the nodule probability is that of the mask. "
    "The shipped weights were trained briefly: expect many false findings."
)
"""Warning of every result of the pipeline "paper"."""


@dataclass(frozen=True)
class Options:
    """The options of an analysis.

    Attributes:
        device: auto, cpu or cuda.
        person: known facts about the patient, for the guidelines.
        prior: an earlier CT, or the folder of an earlier result, of the same patient.
        allow_other_patient: compare with the prior even if it's another patient's, or the later examination.
        guideline: which one is shown first; None goes by the context: Fleischner for an incidental finding.
        sensitivity: the operating point: from which confidence on findings are reported and reach the guidelines.
        allow_gaps: interpolate missing slices rather than refuse them.
        series_uid: the DICOM series to read.
        segmentation_dir, classification_dir: other bundles than the installed ones.
        trust_bundle: let those bundles' networks be of any class: their code runs.
        pipeline: what finds and rates: this software's own four networks ("product"), or the two of the paper's system
            ("paper", `inference.paper`), of `paper_dir` or the installed bundle.

    Raises:
        UsageError: there is no such pipeline, or a bundle is given that it doesn't use.
    """

    device: str = "auto"
    person: Person = field(default_factory=Person)
    prior: Path | None = None
    allow_other_patient: bool = False
    sensitivity: Sensitivity = "standard"
    guideline: Leads | None = None
    allow_gaps: bool = False
    series_uid: str | None = None
    segmentation_dir: Path | None = None
    classification_dir: Path | None = None
    trust_bundle: bool = False
    pipeline: Pipeline = "product"
    paper_dir: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what doesn't fit."""
        if self.pipeline not in get_args(Pipeline):
            raise UsageError(f"pipeline {self.pipeline!r}: choose among {', '.join(get_args(Pipeline))}")
        if self.pipeline == "product" and self.paper_dir is not None:
            raise UsageError("--paper-bundle is for --pipeline paper")
        if self.pipeline == "paper" and (self.segmentation_dir is not None or self.classification_dir is not None):
            raise UsageError("the paper's networks are in one bundle: give --paper-bundle, or another --pipeline")
