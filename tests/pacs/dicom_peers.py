"""Other nodes: one that sends films to ours, and one that takes results, or will not."""

from collections.abc import Iterator
from contextlib import contextmanager

from pydicom import uid
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

from .dicom_film import CR, CT, DX

ECHO = "1.2.840.10008.1.1"


@contextmanager
def calling(port: int, own: str = "TESTER", theirs: str = "CXRLENS", tls=None):
    """An association with our node, established or not."""
    node = AE(ae_title=own)
    for kind in (ECHO, CR, DX, CT):
        node.add_requested_context(kind, [uid.ExplicitVRLittleEndian])
    lines = []
    association = node.associate(
        "127.0.0.1",
        port,
        ae_title=theirs,
        tls_args=(tls, "127.0.0.1") if tls else None,
        evt_handlers=[
            (evt.EVT_CONN_OPEN, lambda event: lines.append(event.assoc.dul.socket.socket))
        ],
    )
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        for line in lines:  # pynetdicom leaves it open where the node hangs up first
            line.close()


def association_request(*films: str) -> bytes:
    """Write what a caller begins with that will ask for an echo, or send films of these classes."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = "TESTER", "CXRLENS"
    length, name = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received, name.implementation_class_uid = 16382, "1.2.3"
    primitive.user_information = [length, name]
    node = AE()
    for kind in (ECHO, *films):
        node.add_requested_context(kind, [uid.ExplicitVRLittleEndian])
    primitive.presentation_context_definition_list = node.requested_contexts
    for number, context in enumerate(primitive.presentation_context_definition_list):
        context.context_id = 2 * number + 1
    request = A_ASSOCIATE_RQ()
    request.from_primitive(primitive)
    return request.encode()


def send(port: int, *films: Dataset) -> list[int]:
    """Send films; gives the status of each answer."""
    with calling(port) as association:
        assert association.is_established
        return [int(association.send_c_store(film).Status) for film in films]


class Archive:
    """Takes captures and reports, except what it has been told to refuse."""

    def __init__(self) -> None:
        self.taken: list[Dataset] = []
        self.refused_studies: set[str] = set()
        self.status = 0xA900
        self.port = 0

    def _store(self, event: evt.Event) -> int:
        result = event.dataset
        if result.StudyInstanceUID in self.refused_studies:
            return self.status
        self.taken.append(result)
        return 0x0000

    @contextmanager
    def open(self, callers: tuple[str, ...] = ("CXRLENS",), tls=None) -> Iterator["Archive"]:
        node = AE(ae_title="ARCHIVE")
        node.require_calling_aet = list(callers)
        for kind in (uid.SecondaryCaptureImageStorage, uid.ComprehensiveSRStorage):
            node.add_supported_context(kind)
        handlers = [(evt.EVT_C_STORE, self._store)]
        server = node.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=handlers, ssl_context=tls
        )
        self.port = server.server_address[1]
        try:
            yield self
        finally:
            node.shutdown()
