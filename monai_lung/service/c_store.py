"""Results by C-STORE, a batch on one association; and the TLS of all that the node opens."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom import dcmread
from pydicom.filereader import read_file_meta_info
from pynetdicom import AE, build_context

from monai_lung.errors import UsageError
from monai_lung.service.config import ClientTls, Destination
from monai_lung.service.transport import NotSent, Transport

if TYPE_CHECKING:
    from pynetdicom.association import Association

_CONNECT_S, _ANSWER_S = 15, 120


class CStore(Transport):
    """A destination that takes objects by C-STORE."""

    def __init__(self, destination: Destination, ae_title: str) -> None:
        self._destination, self._ae_title = destination, ae_title
        self._tls = client_context(destination.tls, destination.name) if destination.tls else None

    def send(self, files: Sequence[Path]) -> Iterator[Callable[[], None]]:
        """See `Transport.send`."""
        contexts = [build_context(sop_class, syntax) for sop_class, syntax in sorted(_kinds(files))]
        to = self._destination
        association = associate(
            (to.host or "", to.port or 0), to.ae_title or "", self._ae_title, contexts, tls=self._tls
        )
        try:
            for path in files:
                yield lambda path=path: _store(association, path)  # type: ignore[misc]
                if not association.is_established:  # some archives abort over an object that they don't like
                    return
        finally:
            association.release()


def _kinds(files: Sequence[Path]) -> set[tuple[str, str]]:
    """SOP classes and transfer syntaxes of these files; one that can't be read fails when it is sent.

    Raises:
        NotSent: none can be read.
    """
    found = set()
    for path in files:
        with suppress(Exception):  # pydicom raises what it likes over a damaged file
            meta = read_file_meta_info(path)
            found.add((str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)))
    if not found:
        raise NotSent("its file is damaged")
    return found


def _store(association: Association, path: Path) -> None:
    if not association.is_established:
        raise NotSent("the association was closed")
    try:
        status = association.send_c_store(dcmread(path)).get("Status")
    except ValueError:  # no presentation context for it
        raise NotSent("the destination doesn't accept this kind of object") from None
    if status is None:
        association.abort()  # it may not have noticed yet that it's over, and would wait in vain for the next answer
        raise NotSent("no answer")
    if status != 0x0000 and status >> 12 != 0xB:  # Bxxx: stored, with a warning
        raise NotSent(f"refused with status 0x{status:04X}")


def associate(
    where: tuple[str, int], title: str, own_title: str, contexts: list[Any], *, tls: ssl.SSLContext | None, **more: Any
) -> Association:
    """An association with a peer.

    Raises:
        NotSent: it can't be reached, or rejects.
    """
    ae = AE(own_title)
    ae.connection_timeout, ae.acse_timeout = _CONNECT_S, _CONNECT_S
    ae.dimse_timeout = ae.network_timeout = _ANSWER_S
    association = ae.associate(*where, contexts, ae_title=title, tls_args=(tls, where[0]) if tls else None, **more)
    if association.is_established:
        return association
    if association.is_rejected:
        raise NotSent("the destination rejects the association: does it know this AE title?")
    raise NotSent("no connection" if association.acceptor.primitive is None else "no presentation context is accepted")


def client_context(tls: ClientTls, name: str) -> ssl.SSLContext:
    """TLS 1.2 or newer that checks the peer's certificate and name.

    Raises:
        UsageError: a file can't be read or isn't what it should be.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.certificate and tls.key:
            context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"tls of {name}: ca, certificate or key can't be used: {error}") from error
    return context
