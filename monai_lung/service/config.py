"""The configuration of the node: one TOML file, checked as a whole before anything starts."""

from __future__ import annotations

import ipaddress
import json
import re
import tomllib
import typing
from collections import Counter
from collections.abc import Iterator
from dataclasses import field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from monai_lung.errors import ConfigError, UsageError
from monai_lung.model import Risk, Sensitivity
from monai_lung.report.formats import FORMATS
from monai_lung.service.config_checks import (
    Address,
    Natural,
    Network,
    NotNegative,
    NotNegativeInt,
    Place,
    Port,
    Positive,
    Title,
    check,
    line_of,
    loopback,
)

IDENTIFIERS = ("name", "id", "birth_date", "accession_number")
"""Identifiers that can be printed on the report's pages, in this order."""
OBJECTS = (*(name for name, entry in FORMATS.items() if entry.needs_dicom), "report")
DEFAULT_OBJECTS = ("seg", "sr", "report")
"""The objects that can be sent: Segmentation, Structured Report, the page as an encapsulated PDF or as a picture."""
_TABLE = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_TABLE)
class ServerTls:
    """TLS of the DICOM port, PEM files. With `ca` a sender has to show a certificate which that authority signed."""

    certificate: Place
    key: Place
    ca: Place | None = None


@dataclass(frozen=True, config=_TABLE)
class ClientTls:
    """TLS towards a destination, PEM files. `ca` signs its certificate (default: the system's authorities);
    `certificate` and `key` are shown to it where it asks for them.
    """

    ca: Place | None = None
    certificate: Place | None = None
    key: Place | None = None

    def __post_init__(self) -> None:
        check((self.certificate is None) == (self.key is None), "certificate", "and key come together")


@dataclass(frozen=True, config=_TABLE)
class Dicom:
    """The node's own DICOM service.

    Attributes:
        quiet_s: a study is complete when nothing of it has arrived for this long.
        max_associations: senders that are served at the same time.
    """

    ae_title: Title = "MONAI_LUNG"
    address: Address = "127.0.0.1"
    port: Port = 11112
    quiet_s: Positive = 60.0
    max_associations: Natural = 10
    tls: ServerTls | None = None


@dataclass(frozen=True, config=_TABLE)
class Sender:
    """Who may connect: both the AE title and the address (or network, 10.1.0.0/16) must fit.

    Attributes:
        port: where it listens for the answer to a storage commitment; without one the answer comes on the
            association of the request.
        tls: for that answer.
    """

    ae_title: Title
    address: Network
    port: Port | None = None
    tls: ClientTls | None = None

    def __post_init__(self) -> None:
        network = ipaddress.ip_network(self.address, strict=False)
        check(self.port is None or network.num_addresses == 1, "port", "needs one address, not a network")

    def admits(self, address: str) -> bool:
        """Whether a connection from `address` may be this sender's."""
        own = ipaddress.ip_address(address.split("%")[0])
        mapped = getattr(own, "ipv4_mapped", None)
        return (mapped or own) in ipaddress.ip_network(self.address, strict=False)


@dataclass(frozen=True, config=_TABLE)
class Destination:
    """An archive that gets the results: by C-STORE (`ae_title`, `host`, `port`) or by STOW-RS (`url`).

    Attributes:
        name: its name in logs, metrics and the queue; keep it when other keys change.
        url: DICOMweb root, https://pacs/dicom-web; results go to its /studies.
        user, password_file: HTTP basic authentication; token_file: a bearer token. Files are read at each sending.
        objects: which of seg, sr, key, report it gets; without a word all but key.
    """

    name: str
    ae_title: Title | None = None
    host: str | None = None
    port: Port | None = None
    url: str | None = None
    user: str | None = None
    password_file: Place | None = None
    token_file: Place | None = None
    objects: tuple[str, ...] = DEFAULT_OBJECTS
    tls: ClientTls | None = None

    def __post_init__(self) -> None:
        check(bool(re.fullmatch(r"[\w.-]{1,64}", self.name)), "name", "takes letters, digits, dot, dash, underscore")
        unknown = [o for o in self.objects if o not in OBJECTS]
        check(not unknown and bool(self.objects), "objects", f"must be of {', '.join(OBJECTS)}")
        own = {"ae_title": self.ae_title, "host": self.host, "port": self.port}
        missing = [key for key, value in own.items() if value is None]
        if self.url is None:
            check(not missing, missing[0] if missing else "", "is missing (or give url for STOW-RS)")
            web = {"user": self.user, "password_file": self.password_file, "token_file": self.token_file}
            given = [key for key, value in web.items() if value is not None]
            check(not given, given[0] if given else "", "is for STOW-RS, which needs url")
            return
        check(len(missing) == len(own), "url", "is for STOW-RS: leave out ae_title, host and port")
        parts = urlsplit(self.url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.username
        check(fits, "url", "must look like https://pacs.example/dicom-web, without user and query")
        check(parts.scheme == "https" or self.tls is None, "tls", "needs an https url")
        check((self.user is None) == (self.password_file is None), "user", "and password_file come together")
        check(self.user is None or self.token_file is None, "token_file", "and user exclude each other")


@dataclass(frozen=True, config=_TABLE)
class AnalysisSettings:
    """How a study is analysed.

    Attributes:
        device: auto, cpu or cuda.
        allow_gaps: interpolate missing slices rather than fail.
        attempts: how often a study is tried whose analysis crashes, runs out of memory or takes too long.
        timeout_s: the longest that one analysis may take.
        segmentation_bundle, classification_bundle: folders with other networks than the installed.
        trust_bundle: let those bundles' networks be of any class: their code runs.
        report_shows: what identifies the patient on the report's pages, of name, id, birth_date, accession_number.
        sensitivity: from which confidence on findings are reported.
        person: what holds for every patient, by the names of the command's options: a screening programme says
            `screening = true`. Age, sex and what a study's description says come from its DICOM.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    allow_gaps: bool = False
    attempts: Natural = 3
    timeout_s: Positive = 1800.0
    segmentation_bundle: Place | None = None
    classification_bundle: Place | None = None
    trust_bundle: bool = False
    report_shows: tuple[str, ...] = ()
    sensitivity: Sensitivity = "standard"
    person: PatientContext = field(default_factory=lambda: PatientContext())

    def __post_init__(self) -> None:
        known = [name in IDENTIFIERS for name in self.report_shows]
        check(all(known), "report_shows", f"must be of {', '.join(IDENTIFIERS)}")


@dataclass(frozen=True, config=_TABLE)
class PatientContext:
    """Facts that hold for every patient of this node; the others are unknown."""

    risk: Risk | None = None
    known_cancer: bool | None = None
    immunosuppressed: bool | None = None
    screening: bool | None = None
    emphysema: bool | None = None
    family_history: bool | None = None


@dataclass(frozen=True, config=_TABLE)
class PriorArchive:
    """An archive that is asked for a patient's earlier CT: by C-FIND, then C-MOVE to a port of the node's own.

    Attributes:
        own_ae_title, own_address, own_port: where the images are sent to; the archive has to know them. The port is
            open while a study is fetched, and takes images of that study alone.
        timeout_s: the longest wait for an answer.
    """

    ae_title: Title
    host: str
    port: Port
    own_ae_title: Title
    own_port: Port
    own_address: Address = "127.0.0.1"
    timeout_s: Positive = 300.0
    tls: ClientTls | None = None


@dataclass(frozen=True, config=_TABLE)
class PriorSettings:
    """Where the earlier examination of a study's patient is looked for: the node's own store first, then an archive."""

    own_store: bool = True
    archive: PriorArchive | None = None


@dataclass(frozen=True, config=_TABLE)
class Retry:
    """Waiting before the next attempt: `first_s`, then twice as long each time, at most `longest_s`.

    Attributes:
        give_up_days: a result that couldn't be delivered for so long is given up; without it, never.
    """

    first_s: Positive = 15.0
    longest_s: Positive = 900.0
    give_up_days: Positive | None = None

    def __post_init__(self) -> None:
        check(self.first_s <= self.longest_s, "first_s", "must be at most longest_s")

    def delay_s(self, attempts: int) -> float:
        """Seconds to wait after so many attempts that failed."""
        return float(min(self.longest_s, self.first_s * 2.0 ** min(attempts - 1, 60)))


@dataclass(frozen=True, config=_TABLE)
class Retention:
    """How long objects are kept: received ones after all results of their study are delivered (or it was skipped),
    those of a failed study after its failure, results after their delivery.
    """

    received_hours: NotNegative = 24.0
    failed_days: NotNegative = 14.0
    results_days: NotNegative = 30.0


@dataclass(frozen=True, config=_TABLE)
class Http:
    """Where /health and /metrics are served."""

    address: Address = "127.0.0.1"
    port: Port = 8114


@dataclass(frozen=True, config=_TABLE)
class Config:
    """The whole configuration; `docs/reference/node-configuration.md` explains each key.

    Attributes:
        storage: folder of everything that the node keeps; it must be on a local disk.
        min_free_mb: below this much free space instances are refused as out of resources.
    """

    storage: Place
    sender: tuple[Sender, ...]
    destination: tuple[Destination, ...]
    min_free_mb: NotNegativeInt = 2048
    dicom: Dicom = field(default_factory=Dicom)
    http: Http = field(default_factory=Http)
    analysis: AnalysisSettings = field(default_factory=AnalysisSettings)
    prior: PriorSettings = field(default_factory=PriorSettings)
    retry: Retry = field(default_factory=Retry)
    retention: Retention = field(default_factory=Retention)

    def __post_init__(self) -> None:
        check(bool(self.sender), "sender", "is missing: name at least one that may connect")
        check(bool(self.destination), "destination", "is missing: name at least one archive")
        titles = Counter(s.ae_title for s in self.sender)
        doubled = [s.ae_title for s in self.sender if s.port is not None and titles[s.ae_title] > 1]
        check(not doubled, "sender.port", f"says where {doubled} gets its answers, but that title is given twice")
        names = [d.name for d in self.destination]
        check(len(set(names)) == len(names), "destination.name", "must differ between destinations")
        same = self.dicom.port == self.http.port
        check(not same, "http.port", f"is that of dicom.port, {self.http.port}: give another")

    @property
    def warnings(self) -> list[str]:
        """Warnings about valid settings that expose data or the node to others on the network."""
        found = []
        if not loopback(self.dicom.address) and self.dicom.tls is None:
            found.append("dicom.address: images come in without encryption; set dicom.tls")
        if not loopback(self.http.address):
            found.append("http.address: /health and /metrics have no password; a loopback address keeps them here")
        for destination in self.destination:
            parts = urlsplit(destination.url or "")
            secret = destination.user is not None or destination.token_file is not None
            if secret and parts.scheme == "http" and not loopback(parts.hostname or ""):
                found.append(f"destination {destination.name}: its password travels without encryption; use https")
        return found


def read_config(path: Path) -> Config:
    """Read and check a configuration. Relative paths in it start at its own folder.

    Raises:
        UsageError: the file isn't there or can't be read.
        ConfigError: it's no TOML, a key is unknown, missing or has a wrong value; the message names it.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    # as JSON, whose strings may be paths and whose lists tuples; strict, so that "104" isn't a port
    text, folder = json.dumps(table, default=str), path.resolve().parent
    try:
        config: Config = TypeAdapter(Config).validate_json(text, strict=True, context={"folder": folder})
    except ValidationError as error:
        raise ConfigError(f"{path}: {line_of(error.errors(), dict(_tables(Config)))}") from None
    return config


def _tables(kind: Any, where: str = "") -> Iterator[tuple[str, list[str]]]:
    """The keys of a table and of those in it, by the path of keys to it."""
    hints = typing.get_type_hints(kind)
    yield where, [f.name for f in fields(kind)]
    for name, hint in hints.items():
        for inner in (hint, *typing.get_args(hint)):
            if is_dataclass(inner):
                yield from _tables(inner, f"{where}.{name}".lstrip("."))
