"""Ask a broker on 127.0.0.1 whether it serves, with one hand-made Metadata request and no client library.

An open port says little: after a crash the broker listens seconds before its cluster takes it back. The Metadata
answer lists the brokers that are unfenced, so a list that is not empty means that topics can be read.
"""

import contextlib
import socket
import struct

METADATA_API = 3
METADATA_VERSION = 1
CORRELATION_ID = 7
TIMEOUT_S = 1.0

_HEADER_AND_NO_TOPICS = struct.pack(">hhih", METADATA_API, METADATA_VERSION, CORRELATION_ID, -1) + struct.pack(">i", 0)
_REQUEST = struct.pack(">i", len(_HEADER_AND_NO_TOPICS)) + _HEADER_AND_NO_TOPICS


def broker_is_unfenced(port: int) -> bool:
    """Whether the broker on 127.0.0.1:port answers and its cluster counts it as alive. Never raises OSError."""
    return brokers_alive(port) > 0


def brokers_alive(port: int) -> int:
    """How many brokers the one on 127.0.0.1:port counts as alive; 0 when it does not answer. Never raises OSError."""
    with contextlib.suppress(OSError, struct.error):
        return _counted(port)
    return 0


def _counted(port: int) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
        connection.sendall(_REQUEST)
        _size, correlation_id, brokers = struct.unpack(">iii", _read(connection, 12))
        return int(brokers) if correlation_id == CORRELATION_ID else 0


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            break
        data += part
    return data
