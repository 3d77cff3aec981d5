"""Results by STOW-RS (PS3.18 10.5), one object per request: to the configured host alone, no proxy, no redirect."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from monai_lung.errors import UsageError
from monai_lung.service.c_store import client_context
from monai_lung.service.config import ClientTls, Destination
from monai_lung.service.log import reason_of
from monai_lung.service.transport import NotSent, Transport

_TIMEOUT_S = 120
_FAILED = "00081198"
"""Failed SOP Sequence."""


class Stow(Transport):
    """A destination that takes objects by STOW-RS.

    Raises:
        UsageError: a certificate, the password or the token can't be read.
    """

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._url = urlsplit(destination.url or "")
        secure = self._url.scheme == "https"
        self._tls = client_context(destination.tls or ClientTls(), destination.name) if secure else None
        try:
            self._authorization()  # read at each sending, as it may change; an error from the start is found here
        except NotSent as error:
            raise UsageError(f"destination {destination.name}: {error}") from error

    def send(self, files: Sequence[Path]) -> Iterator[Callable[[], None]]:
        """See `Transport.send`."""
        for path in files:
            yield lambda path=path: self._store(path)  # type: ignore[misc]

    def _store(self, path: Path) -> None:
        boundary = uuid.uuid4().hex
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        body = head + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Accept": "application/dicom+json",
            **self._authorization(),
        }
        try:
            status, answer = self._post(body, headers)
        except ssl.SSLCertVerificationError as error:
            raise NotSent(f"certificate not trusted: {error.verify_message}") from error
        except (OSError, http.client.HTTPException) as error:
            raise NotSent(reason_of(error)) from error
        if status not in (200, 202) or _failed(answer):
            raise NotSent(f"refused with HTTP status {status}")

    def _post(self, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        host, port = self._url.hostname or "", self._url.port
        if self._tls is not None:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=_TIMEOUT_S, context=self._tls
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
        try:
            connection.request("POST", f"{self._url.path.rstrip('/')}/studies", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(1 << 20)
        finally:
            connection.close()

    def _authorization(self) -> dict[str, str]:
        to = self._destination
        try:
            if to.token_file is not None:
                return {"Authorization": f"Bearer {to.token_file.read_text().strip()}"}
            if to.user is not None and to.password_file is not None:
                pair = f"{to.user}:{to.password_file.read_text().strip()}"
                return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        except (OSError, UnicodeDecodeError) as error:
            raise NotSent(f"password_file or token_file can't be read: {reason_of(error)}") from error
        return {}


def _failed(answer: bytes) -> bool:
    """Whether the answer lists the object among those that failed; an answer without a list means success.

    Some servers answer in XML whatever they are asked for, some put the one answer into a list.
    """
    try:
        content = json.loads(answer or b"{}")
    except ValueError:
        return _FAILED.encode() in answer
    items = content if isinstance(content, list) else [content]
    return any((item.get(_FAILED) or {}).get("Value") for item in items if isinstance(item, dict))
