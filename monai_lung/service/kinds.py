"""Which kinds of objects an association may bring: CT to be kept, and whatever else a study holds.

Archives send studies whole, and many give up a transfer once a single object is refused. So everything that is stored
in a study is taken; `receive` throws away what isn't CT.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING

from pynetdicom import AllStoragePresentationContexts, build_context, register_uid
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.presentation import PresentationContext

CT_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.2",  # CT
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
    "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT
)
_SYNTAXES = (  # in the order of preference where a sender leaves the choice: as stored, without loss, no work
    *("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"),
    *("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.90"),
    *("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"),
    *("1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"),
)
_STORAGE = {str(context.abstract_syntax) for context in AllStoragePresentationContexts}
_STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."
"""Of the standard's storage classes, retired ones among them."""
_STANDARD = "1.2.840.10008."
_registering = threading.Lock()


def ct_contexts() -> list[PresentationContext]:
    """CT in every transfer syntax that can be read."""
    return [build_context(sop_class, list(_SYNTAXES)) for sop_class in CT_CLASSES]


def take_the_rest(association: Association) -> None:
    """Let an association that is being requested bring, beside what the node supports, all else that is stored.

    That is every storage class of the standard, retired ones too, and private ones, in whatever transfer syntax: nobody
    reads them.
    """
    known = {str(context.abstract_syntax) for context in association.acceptor.supported_contexts}
    proposed: dict[str, list[str]] = defaultdict(list)
    for context in association.requestor.primitive.presentation_context_definition_list:  # type: ignore[union-attr]
        uid = str(context.abstract_syntax)
        if uid not in known and _is_stored(uid):
            proposed[uid] += [str(syntax) for syntax in context.transfer_syntax]
    for uid in proposed:
        _make_known(uid)
    association.acceptor.supported_contexts += [build_context(uid, syntaxes) for uid, syntaxes in proposed.items()]


def _is_stored(uid: str) -> bool:
    return uid in _STORAGE or uid.startswith(_STORAGE_ROOT) or not uid.startswith(_STANDARD)


def _make_known(uid: str) -> None:
    """Tell pynetdicom that a class it doesn't know is one of storage: it couldn't answer otherwise."""
    with _registering:
        if not issubclass(uid_to_service_class(uid), StorageServiceClass):
            register_uid(uid, "Storage_" + uid.replace(".", "_"), StorageServiceClass)
