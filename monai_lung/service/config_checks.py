"""Values of the node's configuration, as pydantic types that say their rule, and its errors as lines."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class RuleError(ValueError):
    """A rule between keys of one table: the key, and what it must be."""

    def __init__(self, key: str, rule: str) -> None:
        super().__init__(f"{key}: {rule}")
        self.key = key


def check(fits: bool, key: str, rule: str) -> None:
    """Raise where the keys of a table don't fit together: the key and its rule."""
    if not fits:
        raise RuleError(key, rule)


def _require(fits: bool, rule: str) -> None:
    if not fits:
        raise ValueError(rule)


def _title(title: str) -> str:
    """An AE title as DICOM has it."""
    fits = 1 <= len(title) <= 16 and title.isascii() and title.isprintable() and "\\" not in title
    _require(fits and title == title.strip(), "takes 1 to 16 ASCII characters, no backslash, no outer blanks")
    return title


def _address(address: str) -> str:
    """An IP address to listen on."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise ValueError(f"{address!r} isn't an IP address: 127.0.0.1 is this machine, 0.0.0.0 all") from None
    return address


def _network(address: str) -> str:
    """An IP address, or a network of them."""
    try:
        ipaddress.ip_network(address, strict=False)
    except ValueError:
        raise ValueError(f"{address!r} is neither an IP address nor a network") from None
    return address


def _given(path: object) -> object:
    _require(path != "", "must be a path, not ''")
    return path


def _placed(path: Path, info: ValidationInfo) -> Path:
    """A relative path starts at the folder of the configuration."""
    folder = (info.context or {}).get("folder")
    return path if folder is None else Path(folder) / path.expanduser()


Title = Annotated[str, AfterValidator(_title)]
Address = Annotated[str, AfterValidator(_address)]
Network = Annotated[str, AfterValidator(_network)]
Port = Annotated[int, Field(ge=1, le=65535)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Natural = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
NotNegativeInt = Annotated[int, Field(ge=0)]
Place = Annotated[Path, BeforeValidator(_given), AfterValidator(_placed)]


def loopback(host: str) -> bool:
    """Whether a host is this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def line_of(errors: Sequence[ErrorDetails], known: Mapping[str, Sequence[str]]) -> str:
    """The first of pydantic's errors as one line: the path of keys, and what is wrong there. Unknown keys come first.

    Args:
        errors: at least one.
        known: the keys of each table, by its path of keys without numbers ("", "dicom.tls").
    """
    error = min(errors, key=lambda e: e["type"] != "unexpected_keyword_argument")
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    rule = error.get("ctx", {}).get("error")
    if isinstance(rule, RuleError):
        return f"{where}.{rule}".lstrip(".")
    return f"{where}: {_said(error, where, known) if rule is None else rule}"


def _said(error: ErrorDetails, where: str, known: Mapping[str, Sequence[str]]) -> str:
    """What is wrong, in pydantic's words or in those that suit TOML better."""
    plain = re.sub(r"\[\d+\]", "", where)
    table, _, key = plain.rpartition(".")
    match error["type"]:
        case "unexpected_keyword_argument":
            near = difflib.get_close_matches(key, known[table], 1)
            return "unknown key; " + (f"did you mean {near[0]}?" if near else f"known are {', '.join(known[table])}")
        case "missing":
            return "is missing"
        case "tuple_type":
            return "must be a list" + (f" ([[{where}]])" if plain in known else "")
        case "dataclass_type":
            return "must be a table"
    said = error["msg"].replace("Input should be", "must be").replace("Input is", "is")
    return f"{said}, not {error['input']!r}"
