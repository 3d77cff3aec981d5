"""The table of `docs/robustness.md`, from the corpus: `tools/robustness` writes it, a test checks that it's current."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import kinds_bundles  # noqa: F401
import kinds_choices  # noqa: F401
import kinds_files  # noqa: F401
import kinds_headers  # noqa: F401
import kinds_pixels  # noqa: F401
import kinds_series  # noqa: F401
import kinds_volumes  # noqa: F401
from corpus import KINDS

GROUPS = ("header", "pixels", "series", "volume", "files", "choice", "weights", "config")
ENDS = ("read", "read with a warning", "refused")
START, END = "<!-- kinds: written by tools/robustness -->", "<!-- end of kinds -->"


def table() -> str:
    """Counts, and a row a kind."""
    kinds = sorted(KINDS, key=lambda kind: GROUPS.index(kind.group))
    counts = Counter(kind.group for kind in kinds)
    ends = Counter("refused" if k.refused else "read with a warning" if k.warned else "read" for k in kinds)
    lines = [f"{len(KINDS)} kinds: " + ", ".join(f"{count} {group}" for group, count in counts.items()) + "."]
    lines += ["", "Results: " + ", ".join(f"{ends[end]} {end}" for end in ENDS) + ".", ""]
    lines += ["| area | kind | what is broken | result |", "|---|---|---|---|"]
    rows = ((k.group, k.name, k.what, k.outcome) for k in kinds)
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def replaced(text: str) -> str:
    """A page with its table made again."""
    before, after = text.split(START)[0], text.split(END)[1]
    return f"{before}{START}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(replaced(path.read_text(encoding="utf-8")), encoding="utf-8")
