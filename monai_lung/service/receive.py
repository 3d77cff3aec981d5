"""The DICOM service: C-STORE, C-ECHO, storage commitment; for known senders only.

A sender of CT hears of success when its instance is on the disk and the queue knows of it, both forced there. Whatever
else a study holds is taken and thrown away: a sender that is refused one object may not send the others.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import socket
import socketserver
import sqlite3
import ssl
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from pydicom import dcmread
from pydicom.filebase import DicomBytesIO
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]
from pynetdicom.transport import ThreadedAssociationServer

from monai_lung.errors import UsageError
from monai_lung.service.config import Config, Sender, ServerTls
from monai_lung.service.folders import FULL, Folders, place
from monai_lung.service.kinds import CT_CLASSES, ct_contexts, take_the_rest
from monai_lung.service.log import event, reason_of
from monai_lung.service.metrics import Metrics
from monai_lung.service.queue import Queue

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pynetdicom.association import Association
    from pynetdicom.events import Event

SUCCESS, OUT_OF_RESOURCES, MISMATCH, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xA900, 0xC000
PROCESSING_FAILURE, INVALID_ARGUMENT = 0x0110, 0x0115
_NETWORK_S, _REQUEST_S, _HANDSHAKE_S, _RELEASE_S = 60, 30, 10, 20
_UIDS = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]


class Receiver:
    """The listening side of a node."""

    def __init__(self, config: Config, queue: Queue, folders: Folders, metrics: Metrics) -> None:
        self._config, self._queue, self._folders, self._metrics = config, queue, folders, metrics
        self._discarded: Counter[Association] = Counter()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port listened on."""
        return self._server.server_address[1] if self._server else 0

    @property
    def alive(self) -> bool:
        """Whether it listens."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Listen.

        Raises:
            UsageError: the address or port can't be had, or a certificate can't be read.
        """
        own = self._config.dicom
        ae = AE(own.ae_title)
        ae.require_called_aet = True
        ae.maximum_associations = own.max_associations
        ae.acse_timeout, ae.dimse_timeout, ae.network_timeout = _REQUEST_S, _NETWORK_S, _NETWORK_S
        ae.supported_contexts = [*ct_contexts(), *map(build_context, (Verification, StorageCommitmentPushModel))]
        handlers: list[Any] = [
            (evt.EVT_CONN_CLOSE, self._on_closed),
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_REJECTED, lambda _: self._metrics.rejected("negotiation")),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_N_ACTION, self._on_commit),
        ]
        context = server_context(own.tls) if own.tls else None
        try:
            server: Any = ae.make_server(
                (own.address, own.port),
                ssl_context=context,
                evt_handlers=handlers,
                server_class=_Server,
                senders=self._config.sender,
                metrics=self._metrics,
            )
        except OSError as error:
            raise UsageError(
                f"can't listen on {own.address} port {own.port}: {error.strerror}; change dicom.address or dicom.port"
            ) from error
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="dicom", daemon=True)
        self._thread.start()

    def associations(self) -> list[Association]:
        """Those that are open."""
        return self._server.active_associations if self._server else []

    def stop(self) -> None:
        """Take no more associations, let open ones end for a while, then abort them."""
        if self._server is None:
            return
        self._server.shutdown()
        deadline = time.monotonic() + _RELEASE_S
        while (left := [a for a in self.associations() if a.is_established]) and time.monotonic() < deadline:
            time.sleep(0.05)
        for association in left:
            event("association aborted", 30, reason="the node stops")
            association.abort()

    def _on_closed(self, request: Any) -> None:
        """Say what was thrown away; and where no association was asked for: no DICOM, or nothing at all."""
        requestor, discarded = request.assoc.requestor, self._discarded.pop(request.assoc, 0)
        if discarded:
            event("objects discarded", reason="no CT", objects=discarded)
        if requestor.primitive is None:
            self._metrics.rejected("no DICOM")
            event("connection closed", 30, reason="no association was asked for", address=requestor.address)

    def _on_requested(self, request: Any) -> None:
        """Reject who isn't on the list: the AE title must come from its own address."""
        association = request.assoc
        title, address = association.requestor.primitive.calling_ae_title, association.requestor.address
        if any(s.ae_title == title and s.admits(address) for s in self._config.sender):
            take_the_rest(association)
            return
        self._metrics.rejected("unknown AE title")
        event("association rejected", 30, reason="unknown AE title", sender=title, address=address)
        association.acse.send_reject(0x01, 0x01, 0x03)
        association.kill()

    def _on_store(self, request: Event) -> int:
        """C-STORE: the status to answer."""
        if request.request.AffectedSOPClassUID not in CT_CLASSES:
            self._discarded[request.assoc] += 1
            self._metrics.discarded()
            return SUCCESS
        try:
            status = self._store(request)
        except (OSError, sqlite3.Error) as error:
            # whatever the disk or the queue on it says, the sender is to keep the instance and come again
            full = getattr(error, "errno", None) in FULL or "full" in str(error)
            event("instance refused", 40, reason="no space left" if full else reason_of(error))
            status = OUT_OF_RESOURCES
        except Exception as error:
            event("instance refused", 40, reason=reason_of(error))
            status = NOT_UNDERSTOOD
        if status != SUCCESS:
            self._metrics.refused(status)
        return status

    def _store(self, request: Any) -> int:
        data = request.encoded_dataset()
        header = dcmread(DicomBytesIO(data), stop_before_pixels=True, specific_tags=_UIDS)
        sop_class, sop_uid, study_uid, series_uid = (str(header.get(name) or "") for name in _UIDS)
        if not all(_is_uid(uid) for uid in (sop_class, sop_uid, study_uid, series_uid)):
            event("instance refused", 30, reason="SOP, study or series UID missing or malformed")
            return NOT_UNDERSTOOD
        if (sop_class, sop_uid) != (request.request.AffectedSOPClassUID, request.request.AffectedSOPInstanceUID):
            event("instance refused", 30, reason="the data set is not what the request says")
            return MISMATCH
        key, now = self._queue.key_of(study_uid), time.time()
        digest = hashlib.sha256(data).hexdigest()
        if self._queue.digest_of(study_uid, sop_uid) == digest:
            self._queue.seen_again(study_uid, now)
            self._metrics.received(repeated=True)
            return SUCCESS
        if self._folders.free_bytes() - len(data) < self._config.min_free_mb * 1024**2:
            event("instance refused", 40, study=key, reason="less than min_free_mb left")
            return OUT_OF_RESOURCES
        self._keep(data, study_uid, sop_uid, digest)
        self._metrics.received()
        return SUCCESS

    def _keep(self, data: bytes, study_uid: str, sop_uid: str, digest: str) -> None:
        """Bring an instance to the disk, then into the queue. What fails leaves nothing behind."""
        key = self._queue.key_of(study_uid)
        name = hashlib.sha256(sop_uid.encode()).hexdigest()[:24] + ".dcm"
        folder = self._folders.received / key
        file = self._folders.new_file(data)
        try:
            with self._queue.lock:
                known = self._queue.digest_of(study_uid, sop_uid)
                try:
                    place(file, folder, name)
                    study = self._queue.add_instance(study_uid, sop_uid, digest, time.time())
                except BaseException:
                    if known is None:
                        (folder / name).unlink(missing_ok=True)
                    raise
        finally:
            file.unlink(missing_ok=True)
        if study.revision == study.finished + 1 and study.finished:
            event("instance came late", study=key)

    def _on_commit(self, request: Event) -> tuple[int, Dataset | None]:
        """N-ACTION: the request is noted before it is confirmed; `Committer` answers it."""
        try:
            wanted = request.action_information
            objects = [
                (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
                for item in wanted.ReferencedSOPSequence
            ]
            transaction = str(wanted.TransactionUID)
        except Exception as error:
            event("storage commitment refused", 30, reason=reason_of(error))
            return INVALID_ARGUMENT, None
        try:
            sender = self._sender(request.assoc)
            self._queue.declare_complete([uid for _, uid in objects])
            self._queue.add_commitment(sender.ae_title, transaction, objects)  # last: what is refused gets no answer
        except Exception as error:
            event("storage commitment refused", 40, reason=reason_of(error))
            return PROCESSING_FAILURE, None
        event("storage commitment requested", sender=sender.ae_title, objects=len(objects))
        return SUCCESS, None

    def _sender(self, association: Association) -> Sender:
        title, address = association.requestor.ae_title, association.requestor.address
        return next(s for s in self._config.sender if s.ae_title == title and s.admits(address))


def _is_uid(text: str) -> bool:
    """Whether it can be told apart and answered: numbers and points, leading zeros among them."""
    return len(text) <= 64 and re.fullmatch(r"\d+(\.\d+)+", text, re.ASCII) is not None


def server_context(tls: ServerTls) -> ssl.SSLContext:
    """TLS 1.2 or newer for the DICOM port.

    Raises:
        UsageError: a file can't be read or isn't what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        if tls.ca:
            context.load_verify_locations(tls.ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"dicom.tls: certificate, key or ca can't be used: {error}") from error
    return context


class _Server(ThreadedAssociationServer):
    """Closes connections from unknown addresses at once; the TLS handshake keeps nobody else waiting."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, *args: Any, senders: tuple[Sender, ...], metrics: Metrics, **keywords: Any) -> None:
        self._senders, self._metrics = senders, metrics
        super().__init__(*args, **keywords)

    def get_request(self) -> tuple[socket.socket, Any]:
        listening: Any = self.socket
        accepted: tuple[socket.socket, Any] = listening.accept()
        return accepted

    def verify_request(self, request: Any, client_address: Any) -> bool:
        if any(s.admits(client_address[0]) for s in self._senders):
            return True
        self._metrics.rejected("unknown address")
        event("connection refused", 30, reason="unknown address", address=str(ipaddress.ip_address(client_address[0])))
        return False

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.ssl_context:
            request.settimeout(_HANDSHAKE_S)
            request = self.ssl_context.wrap_socket(request, server_side=True)
        request.settimeout(_NETWORK_S)  # who announces more than comes would hold a thread for ever
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        self._metrics.rejected("TLS" if isinstance(error, ssl.SSLError | TimeoutError) else "connection")
        event("connection refused", 30, reason=type(error).__name__, address=client_address[0])

    def shutdown(self) -> None:
        """Stop listening; open associations stay."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()
