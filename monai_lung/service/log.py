"""The node's log: one JSON object per line on stderr, with nothing about a patient.

A study is named by its key, a hash with a salt that only the node's queue holds. Texts of other libraries, which may
quote what they read, are left out: the line says which place in the code spoke.
"""

from __future__ import annotations

import datetime
import json
import logging
import re
import threading
import traceback
from typing import Any

from monai_lung.errors import MonaiLungError

_log = logging.getLogger(__name__)
_UID = re.compile(r"\b[0-2](\.\d+){3,}\b")


def event(name: str, level: int = logging.INFO, /, **values: Any) -> None:
    """Log that something happened; `values` must hold nothing about a patient."""
    _log.log(level, name, extra={"event_values": values})


def reason_of(error: BaseException) -> str:
    """Why something failed, in a line that is safe to log: UIDs are left out.

    Only the package's own messages are known to quote nothing about a patient; of another error its type and place
    remain.
    """
    if isinstance(error, MonaiLungError):
        return without_uids(str(error))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else ""
    return f"unexpected {type(error).__name__}{place}"


def without_uids(text: str) -> str:
    """One line without DICOM UIDs."""
    return " ".join(_UID.sub("(uid)", text).split())


def set_up(level: int = logging.INFO) -> None:
    """Send all logs of the process to stderr as JSON lines. Python's warnings, which quote data, are dropped."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines())
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.ERROR)
    logging.getLogger("monai_lung").setLevel(level)
    logging.getLogger("py.warnings").disabled = True
    threading.excepthook = _thread_ended


def _thread_ended(what: threading.ExceptHookArgs) -> None:
    """In place of a traceback, which quotes what the code worked on."""
    if what.exc_value is not None:
        event("thread ended", logging.ERROR, reason=reason_of(what.exc_value))


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": "library",
        }
        values = getattr(record, "event_values", None)
        if values is not None:
            line |= {"event": record.getMessage(), **values}
        elif record.name.split(".")[0] == "monai_lung":
            line |= {"event": "message", "text": without_uids(record.getMessage())}
        else:
            line |= {"where": f"{record.name}:{record.lineno}"}
        return json.dumps(line, default=str)
