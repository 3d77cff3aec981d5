"""Answers to storage commitments (PS3.4 annex J): an N-EVENT-REPORT says which of the objects are held."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset
from pynetdicom import build_context, build_role
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from monai_lung.service.c_store import associate, client_context
from monai_lung.service.config import Config, Sender
from monai_lung.service.log import event, reason_of
from monai_lung.service.queue import Commitment, Queue
from monai_lung.service.transport import NotSent

if TYPE_CHECKING:
    from pynetdicom.association import Association

_POLL_S = 0.2
_ALL, _FAILURES = 1, 2
_NO_SUCH_OBJECT = 0x0112
_KEEP_S = 7 * 86400.0


class Committer(threading.Thread):
    """Answers what was asked, until `stop`.

    To a sender with a port the answer goes on an association of its own, tried again for a week; to others on the
    association of the request, as long as that is open.
    """

    def __init__(self, config: Config, queue: Queue, associations: Callable[[], list[Association]]) -> None:
        super().__init__(name="commitment", daemon=True)
        self._config, self._queue, self._associations = config, queue, associations
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End after the answer in hand."""
        self._stopping.set()

    def run(self) -> None:
        """Work until stopped."""
        while not self._stopping.wait(_POLL_S):
            try:
                for commitment in self._queue.due_commitments(time.time()):
                    self._answer(commitment)
            except Exception as error:
                event("storage commitment interrupted", 40, reason=reason_of(error))

    def _answer(self, commitment: Commitment) -> None:
        sender = next((s for s in self._config.sender if s.ae_title == commitment.sender), None)
        try:
            if sender is None:
                raise NotSent("the sender is no longer configured")
            self._report(sender, commitment)
        except NotSent as error:
            again = sender is not None and sender.port is not None and time.time() - commitment.created_at < _KEEP_S
            if again:
                self._queue.not_answered(commitment, self._config.retry.delay_s(commitment.attempts + 1))
            else:
                self._queue.answered(commitment)
            event("storage commitment not answered", 30, sender=commitment.sender, reason=str(error), again=again)
            return
        self._queue.answered(commitment)
        event("storage commitment answered", sender=commitment.sender, objects=len(commitment.objects))

    def _report(self, sender: Sender, commitment: Commitment) -> None:
        if sender.port is None:
            association = self._open(sender)
            _send(association, self._content(commitment))
            return
        tls = client_context(sender.tls, sender.ae_title) if sender.tls else None
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        contexts = [build_context(StorageCommitmentPushModel)]
        host = sender.address.split("/")[0]
        own = self._config.dicom.ae_title
        association = associate((host, sender.port), sender.ae_title, own, contexts, tls=tls, ext_neg=[role])
        try:
            _send(association, self._content(commitment))
        finally:
            association.release()

    def _open(self, sender: Sender) -> Association:
        for association in self._associations():
            known = association.is_established and association.requestor.ae_title == sender.ae_title
            if known and any(c.abstract_syntax == StorageCommitmentPushModel for c in association.accepted_contexts):
                return association
        raise NotSent("its association is closed, and no port is configured to answer to")

    def _content(self, commitment: Commitment) -> Dataset:
        """Which objects are held, which aren't; asked now, as late as can be."""
        held = self._queue.held([uid for _, uid in commitment.objects])
        content = Dataset()
        content.TransactionUID = commitment.transaction_uid
        kept = [_reference(*pair) for pair in commitment.objects if pair[1] in held]
        failed = [_reference(*pair) for pair in commitment.objects if pair[1] not in held]
        for item in failed:
            item.FailureReason = _NO_SUCH_OBJECT
        if kept:
            content.ReferencedSOPSequence = kept
        if failed:
            content.FailedSOPSequence = failed
        return content


def _reference(sop_class: str, sop_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_uid
    return item


def _send(association: Association, content: Dataset) -> None:
    kind = _FAILURES if "FailedSOPSequence" in content else _ALL
    try:
        status, _ = association.send_n_event_report(
            content, kind, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
    except (ValueError, RuntimeError) as error:
        raise NotSent("the sender takes no answer") from error
    if status.get("Status") != 0x0000:
        raise NotSent("the sender didn't confirm the answer")
