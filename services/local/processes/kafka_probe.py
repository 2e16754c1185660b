"""Ask a broker on 127.0.0.1 which cluster it is of and whether it serves: one hand-made Metadata request, no client.

An open port is not enough: another program may listen there, and after a crash the broker listens seconds before its
cluster unfences it. The Metadata answer names the cluster and lists the brokers that are unfenced, so a list that is
not empty means that topics can be read.
"""

import contextlib
import socket
import struct
from dataclasses import dataclass
from typing import Final

METADATA_API: Final = 3
# The first version that names the cluster.
METADATA_VERSION: Final = 2
CORRELATION_ID: Final = 7
TIMEOUT_S: Final = 1.0
MOST_BYTES: Final = 1 << 20

_HEADER_AND_NO_TOPICS = struct.pack(">hhih", METADATA_API, METADATA_VERSION, CORRELATION_ID, -1) + struct.pack(">i", 0)
_REQUEST = struct.pack(">i", len(_HEADER_AND_NO_TOPICS)) + _HEADER_AND_NO_TOPICS


@dataclass(frozen=True)
class Cluster:
    """What a broker says of its cluster: its id, and how many brokers it counts as alive."""

    id: str
    brokers: int


def cluster_at(port: int) -> Cluster | None:
    """The cluster of the broker on 127.0.0.1:port; None where no broker answers. Never raises OSError."""
    with contextlib.suppress(OSError, struct.error, UnicodeDecodeError, IndexError):
        return _ask_cluster(port)
    return None


def brokers_alive(port: int) -> int:
    """How many brokers the one on 127.0.0.1:port counts as alive; 0 when it does not answer. Never raises OSError."""
    found = cluster_at(port)
    return found.brokers if found is not None else 0


def _ask_cluster(port: int) -> Cluster | None:
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
        connection.sendall(_REQUEST)
        size, correlation_id = struct.unpack(">ii", _read(connection, 8))
        if correlation_id != CORRELATION_ID or not 4 <= size <= MOST_BYTES:
            return None
        return _cluster(_Answer(_read(connection, size - 4)))


def _cluster(answer: "_Answer") -> Cluster:
    """brokers => [node_id host port rack], cluster_id => NULLABLE_STRING; what follows is not wanted."""
    brokers = answer.int32()
    for _ in range(brokers):
        answer.int32(), answer.string(), answer.int32(), answer.string()
    return Cluster(answer.string(), brokers)


class _Answer:
    """The bytes of an answer, read in their order."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def int32(self) -> int:
        (found,) = struct.unpack_from(">i", self._data, self._at)
        self._at += 4
        return int(found)

    def string(self) -> str:
        """A string; "" where it is null."""
        (size,) = struct.unpack_from(">h", self._data, self._at)
        begin = self._at + 2
        self._at = begin + max(0, size)
        return self._data[begin : self._at].decode()


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            break
        data += part
    return data
