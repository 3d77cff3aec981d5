"""Text of a DICOM header whose character set isn't declared, as many archives and anonymisers leave it.

Without SpecificCharacterSet only ASCII is allowed (PS3.5 6.1.2.1). What lies beyond it is taken for UTF-8 where it is
valid, and for Latin-1 where single letters of it stand among others, as in European names. Anything else (GBK, Shift
JIS, Cyrillic) would come out as another name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_NO_LATIN_1 = re.compile(rb"[\x80-\xff]{2}|[\x80-\x9f]")


def undeclared(header: Dataset, keyword: str) -> bytes | None:
    """The bytes of an element that goes beyond ASCII without a declared character set; None for any other.

    The element must not have been looked at before: pydicom would have decoded it.
    """
    if keyword not in header or header.get("SpecificCharacterSet"):
        return None
    value = getattr(header.get_item(keyword), "value", None)
    return value if isinstance(value, bytes) and not value.isascii() else None


def guessed(value: bytes) -> str:
    """Undeclared bytes as text, "" where they can't be read surely."""
    try:
        return value.decode("utf-8").strip("\0 ")
    except UnicodeDecodeError:
        return "" if _NO_LATIN_1.search(value) else value.decode("latin-1").strip("\0 ")
