"""One supervisor for each data directory, and one program on the public port."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from services.common.listening import sentence
from services.common.settings import Settings
from services.local.errors import AlreadyRunning, PortTaken
from services.local.layout import Layout, read_json
from services.local.processes.ports import settled_port


@contextmanager
def claimed(layout: Layout) -> Iterator[None]:
    """Hold the data directory. Raises AlreadyRunning, which says where. The kernel lets go when the process ends."""
    lock = FileLock(layout.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise AlreadyRunning(_where(layout)) from None
    try:
        yield
    finally:
        lock.release()


def _where(layout: Layout) -> str:
    status = read_json(layout.status)
    where = f" at {status['url']} (process {status['pid']})" if "url" in status else ""
    return (
        f"AniMusic is already running on {layout.root}{where}. Stop it with Ctrl-C where it was started, or run "
        "another one beside it: set ANIMUSIC_DATA_DIR to another directory and ANIMUSIC_PORT to another port."
    )


def public_port(settings: Settings, layout: Layout) -> int:
    """The one public port; 0 in the settings chooses a free one and keeps it. Raises PortTaken."""
    if settings.port == 0:
        return settled_port(0, layout.port("gateway"), "ANIMUSIC_PORT")
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
            # Two sockets with SO_REUSEADDR may be bound to a port, but only one may listen.
            probe.listen(1)
        except OSError as error:
            said = sentence(error, settings.host, settings.port, "ANIMUSIC_PORT")
            raise PortTaken(said) from None
    return settings.port
