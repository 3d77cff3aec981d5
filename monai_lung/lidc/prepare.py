"""LIDC-IDRI as downloaded to a folder of training data, scan by scan, on any engine and resumable.

OUT/manifest.csv                       a row for each scan of LIDC-IDRI: done, failed (why) or missing
OUT/nodules.csv images/ readers/       nodule crops: OUT is a folder in the crop format
OUT/scans/<patient>_s<scan>/           ct, lungs, votes (.nii.gz), record.json
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from monai_lung.batch import Result, Work
from monai_lung.batch.options import Engine
from monai_lung.errors import InputError, MonaiLungError, OutputError, UsageError
from monai_lung.lidc.download import Download, find_series, patient_of
from monai_lung.lidc.index import Scan, read_index
from monai_lung.lidc.scan_folder import Record, Row, Settings, prepare_scan, read_record, scan_name
from monai_lung.lidc.tables import write_table

_log = logging.getLogger(__name__)

Task = tuple[Scan, Path]
"""A scan and the folder of its DICOM files."""
Progress = Callable[[int, int], None]
"""Called with the scans behind us and the scans in all."""


@dataclass(frozen=True)
class Outcome:
    """The result of preparing a download.

    Attributes:
        done: scans that are ready, those of earlier runs included.
        failed: patient and scan, or folder, to the reason.
        missing: scans of LIDC-IDRI that are neither in the download nor ready.
        others: series in the download that are not CTs (radiographs).
        crops: nodule crops in all.
    """

    done: int
    failed: Mapping[str, str]
    missing: int
    others: int
    crops: int


def prepare(
    download: Path,
    out: Path,
    *,
    settings: Settings | None = None,
    engine: Engine | None = None,
    database: Path | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Prepare every scan of a download that isn't ready yet.

    A scan that fails is recorded and skipped; the next run tries it again. A scan that was prepared with other
    settings is made again. Parts of the collection may be downloaded and prepared one after another, to the same `out`.

    Args:
        download: the folder that TCIA's downloader filled, in either layout.
        out: where the data go; about 40 MB a scan.
        settings: what is made of each scan; by default `Settings()`.
        engine: where the scans are done; each of its workers needs about 2 GB. By default this process.
        database: see `read_index`.
        progress: called after each scan.

    Raises:
        UsageError: no such download, no worker, no cluster; `out` holds scans made with other settings that can't be
            made again, since they aren't in this download.
        InputError: the database can't be read; no scan of LIDC-IDRI is in the download, and none is ready.
        OutputError: the results can't be written; what is done so far stays.
    """
    settings = settings or Settings()
    scans = {scan.series_uid: scan for scan in read_index(database)}
    found = find_series(download, scans.keys())
    records: dict[str, Record] = {}
    for uid, scan in scans.items():  # a part of the collection prepared earlier stays among the data
        if (record := read_record(out / "scans" / scan_name(scan))) is None:
            continue
        if record.settings == settings:
            records[uid] = record
        elif uid not in found.folders:
            raise UsageError(
                f"{out} holds {scan_name(scan)}, which was made with other settings ({record.settings}) and isn't in "
                f"{download}: give the same settings, or another folder"
            )
    if not (found.folders or found.unreadable or records):
        raise InputError(
            f"{download} holds no scan of LIDC-IDRI (other CTs: {len(found.unknown)}, other series: {found.others}): "
            "give the folder that LIDC-IDRI was downloaded to"
        )
    failed: dict[str, str] = {}
    waiting = [(scans[uid], folder) for uid, folder in found.folders.items() if uid not in records]
    report = progress or (lambda done, total: None)
    ready = len(found.folders) - len(waiting)
    report(ready, len(found.folders))
    with closing((engine or Engine()).run(partial(_preparing, out, settings), waiting)) as results:
        for index, result in results:
            uid = waiting[index][0].series_uid
            if result.value is not None:
                records[uid] = result.value
            else:
                failed[uid] = _reason(result)
            ready += 1
            report(ready, len(found.folders))
    return _write_tables(out, scans, found, records, failed)


def _preparing(out: Path, settings: Settings) -> Work[Task, Record]:
    """The work of an engine."""
    return partial(_prepare_task, out, settings)


def _prepare_task(out: Path, settings: Settings, task: Task) -> Record:
    scan, folder = task
    return prepare_scan(scan, folder, out, settings)


def _reason(result: Result[Record]) -> str:
    """Why a scan failed; what can't be written ends everything."""
    error = result.error
    if isinstance(error, OutputError):
        raise error
    if isinstance(error, MonaiLungError):
        return str(error)
    _log.error("a scan failed", exc_info=error)  # one scan of a thousand must not stop the others
    return f"{type(error).__name__}: {error}"


def _write_tables(
    out: Path, scans: Mapping[str, Scan], found: Download, records: Mapping[str, Record], failed: Mapping[str, str]
) -> Outcome:
    manifest: list[Row] = []
    nodules: list[Row] = []
    for uid, scan in scans.items():
        about: Row = {"status": "failed" if uid in failed else "missing", "reason": failed.get(uid, "")}
        if uid in records:
            about = {"status": "done", "reason": "", "folder": f"scans/{scan_name(scan)}", **records[uid].scan}
            nodules += records[uid].nodules
        manifest.append({"patient": scan.patient, "scan_id": scan.id, "series_uid": uid, **about})
    left_out = {str(folder): "no file with a readable header: download it again" for folder in found.unreadable}
    left_out |= {str(folder): "a CT that isn't in the database of LIDC-IDRI: left out" for folder in found.unknown}
    manifest += [
        {"patient": patient_of(Path(folder)), "status": "failed", "reason": f"{folder}: {reason}"}
        for folder, reason in left_out.items()
    ]
    write_table(out / "manifest.csv", manifest)
    write_table(out / "nodules.csv", nodules)
    named = {scan_name(scan): failed[uid] for uid, scan in scans.items() if uid in failed}
    missing = sum(row["status"] == "missing" for row in manifest)
    return Outcome(len(records), named | left_out, missing, found.others, len(nodules))
