"""The page on findings and the code speak of the same fields, files and warnings; a command of `train.md` runs."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import ROOT, tokens

from monai_lung.report.findings import schema_of_findings
from monai_lung.report.formats import DEFAULT_FORMATS, FORMATS

FINDINGS = (ROOT / "docs" / "reference" / "findings.md").read_text(encoding="utf-8")


def _properties(schema: Any) -> set[str]:
    """Names of all properties below a schema."""
    if not isinstance(schema, dict):
        return set()
    own = {k for k in schema.get("properties", {}) if isinstance(schema.get("properties"), dict)}
    return own.union(*(_properties(value) for value in schema.values()))


def test_every_field_of_the_findings_is_explained() -> None:
    fields = _properties(schema_of_findings())
    assert "volume_mm3" in fields
    assert "doubling_days" in fields
    code = {token.content for token in tokens(FINDINGS) if token.type == "code_inline"}
    assert not sorted(fields - code)


def test_every_column_of_the_cohort_is_explained() -> None:
    from monai_lung.report.table import CaseResult, _case_row

    rows = re.findall(r"^\| (`.+?`) \|", FINDINGS.split("column of `cases.csv`")[1], re.MULTILINE)
    named = [column for row in rows for column in re.findall(r"`([^`]+)`", row)]
    assert named == list(_case_row(CaseResult("x", None)))


def test_the_page_lists_each_format_with_its_files() -> None:
    rows = re.findall(r"^\| \[(.+?)\]\(#[\w-]+\) \| `(\w+)` \|", FINDINGS, re.MULTILINE)
    listed = {name: tuple(re.findall(r"`([^`]+)`", files)) for files, name in rows}
    assert listed == {name: entry.files for name, entry in FORMATS.items()}
    assert f"Without `--format` you get `{','.join(DEFAULT_FORMATS)}`" in FINDINGS


def test_the_backgrounds_of_the_training_page_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands as they stand on the page, on a folder as `lidc prepare` leaves it."""
    from monai_lung.cli import run
    from monai_lung.data.backgrounds import read_backgrounds
    from monai_lung.data.splits import Folds, write_folds
    from monai_lung.io import write_nifti

    shape, affine = (60, 50, 40), np.diag([3.0, 3.0, 4.0, 1.0])
    lungs = np.zeros(shape, np.uint8)
    lungs[8:26, 8:42, 5:35], lungs[34:52, 8:42, 5:35] = 1, 2
    votes = np.zeros(shape, np.uint8)
    votes[14:18, 20:23, 15:17] = 3
    states = {"a": "done", "b": "done", "c": "failed"}
    rows = [{"patient": p, "status": status, "folder": f"scans/{p}_s1"} for p, status in states.items()]
    for row in rows[:2]:
        folder = tmp_path / "prepared" / row["folder"]
        folder.mkdir(parents=True)
        for name, array in (("ct", np.where(lungs, -850, 40).astype(np.int16)), ("lungs", lungs), ("votes", votes)):
            write_nifti(folder / f"{name}.nii.gz", array, affine)
    with (tmp_path / "prepared" / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    write_folds(Folds(0, 2, "patient", {"a": 0, "b": 1}), tmp_path / "folds.json")
    page = (ROOT / "docs" / "how-to" / "train.md").read_text(encoding="utf-8")
    commands = [line for line in page.splitlines() if line.startswith("monai-lung lidc backgrounds")]
    assert len(commands) == 1
    monkeypatch.chdir(tmp_path)
    for command in commands:
        assert run(command.split()[1:]) == 0
    (background,) = read_backgrounds(tmp_path / "backgrounds")  # not of the patient in fold 0
    assert background.name == "b_s1"
    np.testing.assert_allclose(background.spacing_mm, (3, 3, 4))
    where = background.grid.to_world(np.argwhere(background.known)).mean(0)
    marked = affine[:3] @ [*np.argwhere(votes).mean(0), 1]
    assert np.abs(where - marked).max() < 3
