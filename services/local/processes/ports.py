"""Ports on 127.0.0.1 that stay the same across restarts."""

import random
import socket
from pathlib import Path

from services.common.http.listening import taken
from services.local.errors import PortTaken

LOWEST, HIGHEST = 20_000, 32_000
"""Below every system's range for outgoing connections: in that range a client that keeps trying a dead server's
port is now and then given this very port as its own, connects to itself, and blocks the server's return."""

# What this process has handed out, and for which file: a port looks free until its server listens, seconds later.
_handed_out: dict[int, Path | None] = {}


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(*, other_than: int = 0) -> int:
    """A free port, never the same twice; drawn at random, so that two programs that ask at once get different ones."""
    for _ in range(200):
        port = random.randint(LOWEST, HIGHEST)
        if port != other_than and port not in _handed_out and is_free(port):
            _handed_out[port] = None
            return port
    raise PortTaken(f"No free port was found between {LOWEST} and {HIGHEST} on 127.0.0.1.")


def settled_port(asked: int, remembered: Path, setting: str = "", *, other_than: int = 0) -> int:
    """The port to use: `asked`, else the one of the last start, else a free one; noted in the file `remembered`.

    Raises PortTaken, which names the port and its `setting`, when another program listens on one that was asked for.
    """
    if asked and not is_free(asked):
        raise PortTaken(taken("127.0.0.1", asked, setting))
    port = asked or _last(remembered)
    anothers = not asked and _handed_out.get(port, remembered) != remembered
    if not port or anothers or not is_free(port):
        port = free_port(other_than=other_than)
    _handed_out[port] = remembered
    if port != _last(remembered):
        remembered.parent.mkdir(parents=True, exist_ok=True)
        remembered.write_text(f"{port}\n", encoding="utf-8")
    return port


def _last(remembered: Path) -> int:
    try:
        return int(remembered.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0
