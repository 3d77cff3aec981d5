"""The whole way: a CT in, a report out. The only file that knows every stage."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_lung.advice import (
    MeasuredNodules,
    candidates_of,
    examination_notes,
    leading_first,
    measured,
    reported,
    split,
)
from monai_lung.errors import (
    ConfigError,
    LungsNotFoundError,
    OutOfMemoryError,
    UsageError,
    WeightsError,
    out_of_memory,
)
from monai_lung.model import (
    CT,
    Growth,
    Lungs,
    OperatingPoint,
    Outline,
    Prior,
    Rating,
    Report,
)
from monai_lung.options import AS_PAPER as AS_PAPER
from monai_lung.options import Options as Options
from monai_lung.person import with_context
from monai_lung.report.formats import DEFAULT_FORMATS, FORMATS, check_formats, files_of, write_files
from monai_lung.version import __version__

if TYPE_CHECKING:
    from monai_lung.clinical.growth import PriorExamination
    from monai_lung.inference import Networks
    from monai_lung.inference.paper import PaperNetworks

log = logging.getLogger(__name__)

SMALLEST_MM = 3.0
"""Nodules of a smaller equivalent diameter aren't reported: guidelines don't measure them, nor did LIDC's readers."""

FATAL_ERRORS = (UsageError, WeightsError, ConfigError)
"""Errors of the call, of weights or of configs: they would hit every case, so they end a run over many."""
Source = Any
"""The kinds of input that can be analysed: see `analyze`."""
Progress = Callable[[str, float], None]
"""Called with the stage's name and the share of it that is done, 0...1."""


def analyze(source: Source, options: Options | None = None) -> Report:
    """Analyse one chest CT.

    Args:
        source: a path that holds one case, a case of `io.find_cases`, a CT in memory, or another image with its
            geometry: MetaTensor, SimpleITK image, nibabel image (`io.as_ct`).
        options: see `Options`.

    Returns:
        The report; `write` makes files of it.

    Raises:
        MonaiLungError: the CT can't be read, has no lungs, the weights or the prior don't fit.

    >>> from monai_lung import as_ct
    >>> from monai_lung.phantom import PhantomSpec, make_phantom
    >>> phantom = make_phantom(PhantomSpec(size=144, pixel_mm=2.6))
    >>> report = analyze(as_ct(phantom.hu, phantom.affine_lps))
    >>> report.lungs.right_ml > 2000, sorted(report.guidelines)
    (True, ['brock', 'fleischner_2017', 'lung_rads_2022'])
    """
    return Analyzer(options).analyze(source)


class Analyzer:
    """Analyses one CT after the other with networks that are loaded once, at the first.

    Args:
        options: see `Options`.
        networks: to take instead of those that the options name.
    """

    def __init__(self, options: Options | None = None, networks: Networks | PaperNetworks | None = None) -> None:
        self.options = options or Options()
        self._networks: Any = networks
        self._loading: Future[Networks | PaperNetworks] | None = None

    @property
    def networks(self) -> Networks:
        """The networks, loaded on first use.

        Raises:
            WeightsError: weights are missing or damaged.
            UsageError: the device isn't there.
        """
        if self._networks is None:
            self._networks = self._loading.result() if self._loading else self._load()
            self._loading = None
        networks: Networks = self._networks
        return networks

    @property
    def _as_paper(self) -> bool:
        """Whether the paper's two networks find and rate."""
        return self.options.pipeline == "paper"

    def _load(self) -> Networks | PaperNetworks:
        options = self.options
        if self._as_paper:
            from monai_lung.inference.paper import load_paper_networks

            return load_paper_networks(options.device, options.paper_dir, trust_bundle=options.trust_bundle)
        from monai_lung.inference import load_networks

        return load_networks(
            options.device,
            segmentation_dir=options.segmentation_dir,
            classification_dir=options.classification_dir,
            trust_bundle=options.trust_bundle,
        )

    def _load_aside(self) -> None:
        """Begin to import torch and load the networks in a thread, unless that is done: a CT is read meanwhile."""
        if self._networks is None and self._loading is None:
            pool = ThreadPoolExecutor(1, "networks")
            self._loading = pool.submit(self._load)
            pool.shutdown(wait=False)

    def against(self, prior: Path) -> Analyzer:
        """An analyzer with the same networks and options that compares with an earlier examination."""
        return Analyzer(replace(self.options, prior=prior), self.networks)

    def analyze(self, source: Source, progress: Progress | None = None, *, lungs: Lungs | None = None) -> Report:
        """The report of one CT; arguments and errors as `monai_lung.pipeline.analyze`.

        Args:
            source: as there.
            progress: told of each stage.
            lungs: of an image in memory, where they are known.
        """
        timing: dict[str, float] = {}
        self._load_aside()
        try:
            ct, own = self._read(source, timing, progress)
        except LungsNotFoundError:
            _ = self.networks  # what is wrong with them is wrong for every case, so it's said first
            raise
        with timed("read", timing, progress):
            earlier = self._read_prior(ct)
        found = self.find(ct, timing, progress, lungs or own)
        return self._report(*split(found, self.operating_point), earlier, timing, progress)

    def report(
        self, kept: MeasuredNodules, aside: MeasuredNodules | None = None, timing: dict[str, float] | None = None
    ) -> Report:
        """The report of what is kept, with what is put aside as candidates; errors as `monai_lung.pipeline.analyze`."""
        aside = kept.only([]) if aside is None else aside
        return self._report(kept, aside, self._read_prior(kept.ct), {} if timing is None else timing, None)

    @property
    def operating_point(self) -> OperatingPoint:
        """From which confidence on findings are reported."""
        return self.networks.rate_settings.operating_point(self.options.sensitivity)

    def _report(
        self,
        kept: MeasuredNodules,
        aside: MeasuredNodules,
        earlier: PriorExamination | None,
        timing: dict[str, float],
        progress: Progress | None,
    ) -> Report:
        """The report of what is kept; what is put aside becomes its candidates."""
        ct, point = kept.ct, self.operating_point
        growths, prior, warnings = self._against_prior(kept, earlier, timing, progress)
        with timed("advise", timing, progress):
            person, about_person = with_context(self.options.person, ct)
            nodules, examination, deciding = reported(kept, growths, person)
        return Report(
            ct=ct,
            lungs=kept.lungs,
            nodules=nodules,
            guidelines=leading_first(examination, person, self.options.guideline),
            person=person,
            prior=prior,
            candidates=candidates_of(aside, point, len(nodules) + 1),
            operating_point=point,
            deciding_nodule=deciding,
            notes=examination_notes(kept),
            weights=self.networks.weights,
            software=software(),
            timing_s=timing,
            warnings=(
                *([AS_PAPER] if self._as_paper else []),
                *ct.warnings,
                *kept.lungs.warnings,
                *about_person,
                *warnings,
            ),
        )

    def find(
        self,
        ct: CT,
        timing: dict[str, float] | None = None,
        progress: Progress | None = None,
        lungs: Lungs | None = None,
    ) -> MeasuredNodules:
        """Lungs (unless they are given) and nodules of `ct`; `timing` takes the seconds of each stage."""
        from monai_lung.lungs import segment_lungs

        timing = {} if timing is None else timing
        if lungs is None:
            with timed("lungs", timing, progress):
                lungs = segment_lungs(ct.hu, ct.affine_lps)
        outlines, ratings = (self._as_paper_finds if self._as_paper else self._find)(ct, lungs, timing, progress)
        with timed("measure", timing, progress):
            lungs = described(ct, lungs)
            return measured_nodules(ct, lungs, outlines, ratings, self.networks.rate_settings.least_nodule)

    def _find(
        self, ct: CT, lungs: Lungs, timing: dict[str, float], progress: Progress | None
    ) -> tuple[list[Outline], list[Rating]]:
        """The findings of this software's own networks, with their ratings."""
        from monai_lung.inference import delineate, find, rate_likely

        networks = self.networks
        with timed("find", timing, progress):
            seeds = find(ct, lungs, networks, progress=progress and (lambda done: progress("find", done)))
        log.info("%d places that could be a nodule", len(seeds))
        with timed("delineate", timing, progress):
            outlines = delineate(ct, seeds, networks, lungs)
        with timed("rate", timing, progress):
            return rate_likely(ct, outlines, networks, lungs)

    def _as_paper_finds(
        self, ct: CT, lungs: Lungs, timing: dict[str, float], progress: Progress | None
    ) -> tuple[list[Outline], list[Rating]]:
        """The findings of the paper's networks, with their ratings."""
        from monai_lung.inference.paper import classified, segmented

        networks: Any = self.networks
        with timed("find", timing, progress):
            outlines = segmented(ct, lungs, networks, progress and (lambda done: progress("find", done)))
        log.info("%d parts of the mask", len(outlines))
        with timed("rate", timing, progress):
            return outlines, classified(ct, outlines, networks)

    def read(self, source: Source) -> CT:
        """The CT of a source of `analyze`, its lungs unseen; errors as `io.read_ct` and `io.as_ct`."""
        from monai_lung.io import Case, as_ct, read_ct

        if not isinstance(source, Case | Path | str):
            return as_ct(source)
        return read_ct(source, series_uid=self.options.series_uid, allow_gaps=self.options.allow_gaps)

    def _read(self, source: Source, timing: dict[str, float], progress: Progress | None) -> tuple[CT, Lungs | None]:
        """The CT of a source, and its lungs where it had to be read."""
        from monai_lung.chest import read_chest
        from monai_lung.io import Case

        if not isinstance(source, Case | Path | str):
            with timed("read", timing, progress):
                return self.read(source), None

        options = self.options
        stage = partial(timed, timing=timing, progress=progress)
        return read_chest(source, series_uid=options.series_uid, allow_gaps=options.allow_gaps, stage=stage)

    def _read_prior(self, ct: CT) -> PriorExamination | None:
        """The earlier examination, read and found to fit before anything slow runs."""
        if self.options.prior is None:
            return None
        from monai_lung.clinical.growth import check_prior
        from monai_lung.prior import read_prior

        earlier = read_prior(self.options.prior, self.options)
        check_prior(ct, earlier, allow_other_patient=self.options.allow_other_patient)
        return earlier

    def _against_prior(
        self,
        found: MeasuredNodules,
        earlier: PriorExamination | None,
        timing: dict[str, float],
        progress: Progress | None,
    ) -> tuple[list[Growth | None], Prior | None, tuple[str, ...]]:
        """Growth of each nodule, and warnings, against the earlier examination."""
        if earlier is None:
            return [None] * len(found.outlines), None, ()
        from monai_lung.clinical.growth import compare
        from monai_lung.prior import find_prior, looking_at

        look = None
        with timed("prior", timing, progress):
            if earlier.ct is not None:
                there = self.find(earlier.ct, lungs=earlier.lungs)
                earlier = find_prior(earlier, *split(there, self.operating_point))
                look = None if self._as_paper else looking_at(there, self.networks)
            with measured(found.ct):
                growths, prior = compare(
                    found.measurements,
                    found.ct,
                    found.lungs,
                    earlier,
                    allow_other_patient=self.options.allow_other_patient,
                    look=look,
                )
        warnings = [f"Prior: {text}" for text in (earlier.ct.warnings if earlier.ct else ())]
        if prior.source == "result":
            warnings.append("Growth is measured against an earlier result: only the lung masks were aligned.")
        if prior.study_date is None or found.ct.study_date is None:
            warnings.append("No doubling times: a date of examination is missing.")
        elif prior.study_date == found.ct.study_date:
            warnings.append("The prior has the same date: without an interval, growth can't be judged.")
        return list(growths), prior, tuple(warnings)


def described(ct: CT, lungs: Lungs) -> Lungs:
    """The lungs of a CT with what a report says of them beside their volumes."""
    from monai_lung.clinical.low_attenuation import low_attenuation_percent

    return replace(lungs, low_attenuation_percent=low_attenuation_percent(ct, lungs))


def measured_nodules(
    ct: CT, lungs: Lungs, outlines: Sequence[Outline], ratings: Sequence[Rating], least: float
) -> MeasuredNodules:
    """The outlines that may be nodules, measured: `SMALLEST_MM` or more across, a probability of `least` or more.

    Of doubles the one that is more surely a nodule stays.
    """
    from monai_lung.clinical.measurements import measure
    from monai_lung.inference.delineate import without_doubles

    likely = [(o, r) for o, r in zip(outlines, ratings, strict=True) if r.nodule_probability >= least]
    single = without_doubles([o for o, _ in likely], ct, confidence=[r.nodule_probability for _, r in likely])
    rows = [(o, measure(o, ct, lungs), r) for o, r in likely if any(o is kept for kept in single)]
    rows = [row for row in rows if row[1].equivalent_diameter_mm >= SMALLEST_MM]
    rows.sort(key=lambda row: (-row[1].volume_mm3, row[1].center_mm))
    return MeasuredNodules(
        ct, lungs, tuple(o for o, _, _ in rows), tuple(m for _, m, _ in rows), tuple(r for _, _, r in rows)
    )


def software() -> dict[str, str]:
    """Versions of this package and of those that decide its numbers."""
    from importlib.metadata import version

    return {"monai-lung": __version__, **{name: version(name) for name in ("torch", "monai", "numpy", "SimpleITK")}}


def write(
    report: Report, out: Path | str, formats: str | Collection[str] = DEFAULT_FORMATS, *, show_patient: bool = False
) -> Path:
    """Write `out/<case>/` in one go: it appears complete or not at all, and replaces an earlier result.

    Only one of the same content is replaced: where the folder holds that of another input, this one gets a name of its
    own, with a number. Formats that the input can't have (DICOM objects of a NIfTI) are left out with a warning.

    Returns:
        The case's folder.

    Raises:
        UsageError: a format is unknown.
        InputError: the DICOM files can't be read any more, or don't fit the report.
        OutputError: the folder can't be written.
    """
    from monai_lung.io.output import replacing_folder
    from monai_lung.report.place import own_name

    formats = check_formats(formats)
    ct = report.ct
    report = replace(report, ct=replace(ct, name=own_name(Path(out), ct.name, lambda held: held == ct.sha256)))
    folder = Path(out) / report.ct.name
    with replacing_folder(folder, files_of(FORMATS)) as temporary:
        write_files(report, temporary, formats, show_patient=show_patient)
    return folder


@contextmanager
def timed(stage: str, timing: dict[str, float], progress: Progress | None = None) -> Iterator[None]:
    """Add the seconds of a stage to `timing`, and say when it starts and ends."""
    if progress:
        progress(stage, 0.0)
    start = time.perf_counter()
    try:
        yield
    except Exception as error:
        if out_of_memory(error):
            way_out = "close other programs or analyse fewer slices"
            raise OutOfMemoryError(f"not enough memory for the stage {stage!r}: {way_out}") from error
        raise
    seconds = time.perf_counter() - start
    log.info("%s: %.1f s", stage, seconds)
    timing[stage] = timing.get(stage, 0.0) + seconds
    if progress:
        progress(stage, 1.0)
