"""The paper's system as a pipeline of `analyze`: its networks in place of the product's, the same reports."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, get_args

from monai_lung.advice import Found
from monai_lung.analysis import Analyzer, Progress, described, measured_nodules, timed
from monai_lung.errors import UsageError
from monai_lung.model import CT, Lungs
from monai_lung.options import Options, Pipeline

if TYPE_CHECKING:
    from monai_lung.clinical.growth import Look

log = logging.getLogger(__name__)

WARNING = (
    "Analysed by the system of Yu et al. (BMC Bioinformatics 22:314, 2021), for comparison: its findings aren't those "
    "of this software's own networks, and the nodule probability is that of the mask."
)


class PaperAnalyzer(Analyzer):
    """`Analyzer` with the paper's two networks (`inference.paper`); options and errors as there.

    An earlier CT is analysed in the same way; nothing looks at places where that found nothing.
    """

    notes = (WARNING,)

    def _load(self) -> Any:
        from monai_lung.inference.paper import load_paper_networks

        options = self.options
        return load_paper_networks(options.device, options.paper_dir, trust_bundle=options.trust_bundle)

    def _look(self, found: Found) -> Look | None:
        return None

    def find(
        self,
        ct: CT,
        timing: dict[str, float] | None = None,
        progress: Progress | None = None,
        lungs: Lungs | None = None,
    ) -> Found:
        """Lungs (unless they are given) and nodules of `ct`; `timing` takes the seconds of each stage."""
        from monai_lung.inference.paper import classified, segmented
        from monai_lung.transforms.lungs import segment_lungs

        timing = {} if timing is None else timing
        networks: Any = self.networks
        if lungs is None:
            with timed("lungs", timing, progress):
                lungs = segment_lungs(ct.hu, ct.affine_lps)
        with timed("find", timing, progress):
            outlines = segmented(ct, lungs, networks, progress and (lambda done: progress("find", done)))
        log.info("%d parts of the mask", len(outlines))
        with timed("rate", timing, progress):
            ratings = classified(ct, outlines, networks)
        with timed("measure", timing, progress):
            lungs = described(ct, lungs)
            return measured_nodules(ct, lungs, outlines, ratings, networks.rate_settings.least_nodule)


def analyzer_of(options: Options) -> Analyzer:
    """The analyzer of the options' pipeline.

    Raises:
        UsageError: there is no such pipeline, or a bundle is given that it doesn't use.
    """
    if options.pipeline not in get_args(Pipeline):
        raise UsageError(f"pipeline {options.pipeline!r}: choose among {', '.join(get_args(Pipeline))}")
    if options.pipeline == "product":
        if options.paper_dir is not None:
            raise UsageError("--paper-bundle is for --pipeline paper")
        return Analyzer(options)
    if options.segmentation_dir is not None or options.classification_dir is not None:
        raise UsageError("the paper's networks are in one bundle: give --paper-bundle, or another --pipeline")
    return PaperAnalyzer(options)
