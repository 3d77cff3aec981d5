"""From a study to a CT with its lungs: where the series that ranks first holds none, the next one is taken."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from monai_lung.errors import LungsNotFoundError
from monai_lung.io import Case, read_ct
from monai_lung.io.reader import one_case
from monai_lung.lungs import segment_lungs
from monai_lung.model import CT, Lungs

_log = logging.getLogger(__name__)

Stage = Callable[[str], AbstractContextManager[None]]
"""Called with "read" or "lungs": the block that it opens is that stage."""


def read_chest(
    source: Case | Path | str,
    *,
    series_uid: str | None = None,
    allow_gaps: bool = False,
    stage: Stage = lambda name: nullcontext(),
) -> tuple[CT, Lungs]:
    """Read a CT and find its lungs, in the first series of the study that has some.

    Headers and names may say nothing of the body's part, or what is wrong: only the lungs themselves are proof.

    Args:
        source: as for `io.read_ct`.
        series_uid: the DICOM series to read; no other is taken then.
        allow_gaps: interpolate missing slices and unequal distances rather than refuse them.
        stage: see `Stage`.

    Returns:
        The CT, with a warning where it isn't of the series that ranks first, and its lungs.

    Raises:
        InputError: as `io.read_ct`.
        LungsNotFoundError: no series of the study holds 200 ml of lung.
    """
    case = source if isinstance(source, Case) else one_case(Path(source), series_uid)
    empty: list[LungsNotFoundError] = []
    for one in (case, *case.others):
        with stage("read"):
            ct = read_ct(one, allow_gaps=allow_gaps)
        try:
            with stage("lungs"):
                lungs = segment_lungs(ct.hu, ct.affine_lps)
        except LungsNotFoundError as error:
            _log.info("series %s: %s", one.series.uid if one.series else "-", error)
            empty.append(error)
            continue
        return (_instead(ct, case, len(empty)) if empty else ct), lungs
    if case.others:
        raise LungsNotFoundError(f"{empty[0]} (nor do the {len(case.others)} other series of the study hold lungs)")
    raise empty[0]


def _instead(ct: CT, case: Case, tried: int) -> CT:
    """`ct` with the warning that other series come first by their headers."""
    first = case.series.uid if case.series else ""
    others = "it" if tried == 1 else f"{tried} series"
    warning = (
        f"Series {first} ranks first by its header but holds no lungs: another series is analysed in place of {others}."
    )
    return replace(ct, warnings=(warning, *ct.warnings))
