"""`docs/reference/conformance.md` says what the node takes and what the objects really are."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

pydicom = pytest.importorskip("pydicom")

from monai_lung.model import Report  # noqa: E402
from monai_lung.report import codes  # noqa: E402

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "conformance.md").read_text(encoding="utf-8")
MakeReport = Callable[..., Report]


def table(first: str) -> list[list[str]]:
    """The rows, without the head, of the table whose first column has this title."""
    text = PAGE[re.search(rf"^\| {re.escape(first)} \|", PAGE, re.MULTILINE).start() :].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines()[2:]]


def test_transfer_syntaxes_and_classes_are_those_of_the_node() -> None:
    pytest.importorskip("pynetdicom", reason="needs the extra service")
    from monai_lung.service.kinds import CT_CLASSES, ct_contexts

    listed = [row[-1] for row in table("transfer syntax")]
    assert listed == [str(syntax) for syntax in ct_contexts()[0].transfer_syntax]
    named = dict(row[1:] for row in table("service")[1:4])
    assert {pydicom.uid.UID(uid).name for uid in named.values()} == set(named)
    assert {uid for uid in named.values()} == set(CT_CLASSES)


def test_statuses_are_those_that_the_node_answers() -> None:
    pytest.importorskip("pynetdicom", reason="needs the extra service")
    from monai_lung.service import receive

    statuses = [int(row[0], 16) for row in table("C-STORE status")]
    assert statuses == [receive.SUCCESS, receive.OUT_OF_RESOURCES, receive.MISMATCH, receive.NOT_UNDERSTOOD]


def test_the_defaults_are_those_of_the_configuration() -> None:
    pytest.importorskip("pynetdicom", reason="needs the extra service")
    from monai_lung.service.config import Dicom

    assert f"AE title `{Dicom().ae_title}`, port {Dicom().port}" in PAGE


def test_objects_are_as_listed(make_report: MakeReport, tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="the dicom extra isn't installed")
    from monai_lung.report.formats import write_files

    report = make_report()
    write_files(report, tmp_path, "sr,key")
    rows = {row[0]: row[1:] for row in table("object")}
    written = {
        "`seg.dcm`": tmp_path / "seg.dcm",
        "`sr.dcm`": tmp_path / "sr.dcm",
        "`key_images/nodule-<id>.dcm`": next((tmp_path / "key_images").iterdir()),
    }
    for name, path in written.items():
        data = pydicom.dcmread(path, stop_before_pixels=True)
        kind, uid, modality, number = (cell for cell in rows[name])
        assert (data.SOPClassUID.name, str(data.SOPClassUID)) == (kind, uid)
        assert (data.Modality, int(data.SeriesNumber)) == (modality, int(number))
        assert data.SpecificCharacterSet == "ISO_IR 192"
        assert str(data.file_meta.TransferSyntaxUID) == "1.2.840.10008.1.2.1"
        assert str(data.SOPInstanceUID).startswith("2.25.")
    sr = pydicom.dcmread(tmp_path / "sr.dcm")
    assert (sr.CompletionFlag, sr.VerificationFlag, sr.PreliminaryFlag) == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")
    assert sr.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert (seg.SegmentationType, seg.SegmentsOverlap) == ("BINARY", "YES")
    families = {code.CodeValue for s in seg.SegmentSequence for code in _family(s)}
    assert families == {codes.ARTIFICIAL_INTELLIGENCE.value, codes.MORPHOLOGICAL_OPERATIONS.value}
    assert all(value in PAGE for value in families)


def _family(segment: pydicom.Dataset) -> list[pydicom.Dataset]:
    return list(segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmFamilyCodeSequence)


def test_every_private_code_is_listed() -> None:
    own = {code for value in vars(codes).values() for code in _codes(value) if code.scheme_designator == "99MONAILUNG"}
    assert len(own) > 10
    listed = {word for row in table("code of `99MONAILUNG`") for word in re.findall(r"`(\w+)`", " ".join(row))}
    assert {code.value for code in own} <= listed


def _codes(value: object) -> list[codes.Code]:
    """The codes in a constant of `codes`, however it holds them."""
    if isinstance(value, codes.Code):
        return [value]
    held = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ()
    return [code for one in held for code in _codes(one)]


def test_each_coding_scheme_is_listed() -> None:
    used = {code.scheme_designator for value in vars(codes).values() for code in _codes(value)}
    line = re.search(r"^Coding schemes: (.*)$", PAGE, re.MULTILINE)[1]
    assert used == set(re.findall(r"\b[A-Za-z0-9]+\b", line.replace("and", "")))
