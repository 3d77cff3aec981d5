"""What a user can choose about an analysis."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from monai_lung.advice import Leads
from monai_lung.model import Person, Sensitivity

Pipeline = Literal["product", "paper"]
"""Which networks find and rate: this software's own four, or the two of the paper's system."""


@dataclass(frozen=True)
class Options:
    """What a user can choose about an analysis.

    Attributes:
        device: auto, cpu or cuda.
        person: what is known of the patient, for the guidelines.
        prior: an earlier CT, or the folder of an earlier result, of the same patient.
        allow_other_patient: compare with the prior even if it's another patient's, or the later examination.
        guideline: which one is shown first; None goes by the context: Fleischner for an incidental finding.
        sensitivity: the operating point: from which confidence on findings are reported and reach the guidelines.
        allow_gaps: interpolate missing slices rather than refuse them.
        series_uid: the DICOM series to read.
        segmentation_dir, classification_dir: other bundles than the installed ones.
        trust_bundle: let those bundles' networks be of any class: their code runs.
        pipeline: what finds and rates: this software's own four networks ("product"), or the two of the paper's system
            ("paper", `monai_lung.paper`), of `paper_dir` or the installed bundle.
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
