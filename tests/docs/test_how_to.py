"""The how-to guides do what they say: their commands and their Python, run on a coarse phantom."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from page_runner import lines_of, run_line
from pages import ROOT, blocks

HOW_TO = ROOT / "docs" / "how-to"


def page(name: str) -> str:
    return (HOW_TO / name).read_text(encoding="utf-8")


def test_each_refusal_quotes_a_message() -> None:
    rows = re.findall(r"^\| (`.*?) \|", page("read-refused-dicom.md"), re.MULTILINE)
    quoted = [text for row in rows for text in re.findall(r"`([^`]+)`", row)]
    assert len(quoted) > 15
    package = (ROOT / "monai_lung").rglob("*.py")
    code = re.sub(r'"\s*\n\s*f?"', "", "\n".join(path.read_text(encoding="utf-8") for path in package))
    assert not [text for text in quoted if text not in code]


def test_a_gap_is_refused_shown_and_interpolated(phantom_dir: Path, tmp_path: Path) -> None:
    """`FOLDER` of the page is a series without its middle slice."""
    series = tmp_path / "FOLDER"
    shutil.copytree(phantom_dir / "dicom", series)
    sorted(series.iterdir())[30].unlink()
    inspect, gaps, _ = (line for block in blocks(page("read-refused-dicom.md"), "") for line in lines_of(block))
    shown = run_line(inspect, tmp_path)
    assert shown.returncode == 0
    assert "! CT" in shown.stdout
    assert "refused: misses 1 slices (between z =" in shown.stdout
    refused = run_line(gaps.replace(" --allow-gaps", ""), tmp_path)
    assert refused.returncode == 1
    assert "misses 1 slices" in refused.stderr + refused.stdout
    lungs = run_line("monai-lung lungs FOLDER -o lungs.nii.gz --allow-gaps", tmp_path)
    assert lungs.returncode == 0
    assert "interpolated" in lungs.stdout


@pytest.mark.slow
def test_the_cells_for_a_notebook_run(phantom_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra dicom")
    pytest.importorskip("pandas", reason="needs the extra dicom")
    (tmp_path / "chest").mkdir()
    (tmp_path / "chest" / "dicom").symlink_to(phantom_dir / "dicom")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in blocks(page("use-in-a-notebook.md"), "python"):
        exec(compile(code, "use-in-a-notebook.md", "exec"), names)
    report = names["report"]
    assert len(names["table"]) == len(report.nodules)  # type: ignore[attr-defined, arg-type]
    assert report._repr_html_().startswith("<div>")  # type: ignore[attr-defined]
    assert names["ct"]._repr_html_().startswith("<div>")  # type: ignore[attr-defined]
    assert list((tmp_path / "out").glob("*/findings.json"))


@pytest.mark.slow
def test_the_added_output_is_written(tmp_path: Path) -> None:
    """The page's code put into a copy of the package, then its commands."""
    text = page("add-an-output.md")
    shutil.copytree(ROOT / "monai_lung", tmp_path / "monai_lung", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "bundles").symlink_to(ROOT / "bundles")
    function, writer = re.findall(r"^```python (\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (tmp_path / function[0]).write_text(function[1])
    table = tmp_path / writer[0]
    (row,) = blocks(text, "text")
    code = table.read_text(encoding="utf-8")
    code = code.replace("FORMATS = {", f"{writer[1]}\n\nFORMATS = {{", 1)
    last = re.search(r'^        Format\("slicer".*\n', code, re.MULTILINE)
    table.write_text(code[: last.end()] + row + code[last.end() :])
    for line in (line for block in blocks(text, "") for line in lines_of(block)):
        done = run_line(line, tmp_path, package=tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stderr[-2000:]}"
    (case,) = (tmp_path / "out").iterdir()
    assert re.fullmatch(r"1: \d+\.\d mm\n", (case / "sizes.txt").read_text())
    assert (case / "findings.json").is_file()
