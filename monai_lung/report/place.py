"""Which folder a result goes to: one of its own for each content, so that no result takes another patient's place."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection
from pathlib import Path

from monai_lung.errors import InputError
from monai_lung.report import findings

_log = logging.getLogger(__name__)
_NUMBERED = re.compile(r"(.+)-[1-9]\d?\d?")


def own_name(out: Path, name: str, is_own: Callable[[str], bool], taken: Collection[str] = ()) -> str:
    """The name of the folder in `out` for the result of one content.

    It's `name` where that is free or holds a result of this very content; else the name under which such a result lies
    there already; else `name` with a number that is free, and the log says so.

    Args:
        out: output folder.
        name: of the case.
        is_own: whether a digest (`io.content_sha256`) is that of the content; called only where a result is in the way.
        taken: names in lower case that others of the same run have.

    Raises:
        InputError: the content can't be read.
    """
    holder = content_of(out / name)
    if name.lower() not in taken and (holder is None or is_own(holder)):
        return name
    for other in _siblings(out, name):
        holder = content_of(out / other)
        if other.lower() not in taken and holder is not None and is_own(holder):
            return other
    number = 2
    while f"{name}-{number}".lower() in taken or (out / f"{name}-{number}").exists():
        number += 1
    own = f"{name}-{number}"
    _log.warning("%s holds the result of another input than this one, which goes to %s", out / name, out / own)
    return own


def content_of(folder: Path) -> str | None:
    """The digest of the input whose result a folder holds: "" where it doesn't say, None without (whole) findings."""
    path = folder / "findings.json"
    try:
        return str(findings.read(path)["input"].get("sha256", "")) if path.is_file() else None
    except (InputError, AttributeError, TypeError):
        return None


def _siblings(out: Path, name: str) -> list[str]:
    """Folders of the same name with other numbers; a case may have been the second of its name in one run only."""
    stems = {name, *(match[1] for match in [_NUMBERED.fullmatch(name)] if match)}
    found = (path.name for path in out.iterdir()) if out.is_dir() else ()
    return sorted(n for n in found if n in stems or ((match := _NUMBERED.fullmatch(n)) and match[1] in stems))
