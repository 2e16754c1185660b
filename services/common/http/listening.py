"""Listens on a port; the error of a taken port names the program that has it."""

import errno
import socket
from typing import Final

BACKLOG: Final = 2048


class CannotListen(OSError):
    """A port is not available. `str()` says why and what to do. A retry fails, too."""

    def __str__(self) -> str:
        return str(self.args[1])


def listen(host: str, port: int, setting: str) -> socket.socket:
    """A listening socket; 0 lets the system choose the port. `setting`: the variable that chooses another one.

    Raises CannotListen.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise CannotListen(error.errno, sentence(error, host, port, setting)) from error


def sentence(error: OSError, host: str, port: int, setting: str) -> str:
    """Why `port` cannot be had on `host`, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return taken(host, port, setting)
    if error.errno == errno.EACCES:
        return f"Port {port} needs more rights than you have. Set {setting} to one above 1023."
    where = setting.replace("PORT", "HOST")
    return f"AniMusic cannot listen on {host}:{port}: {error.strerror}. Set {where} to an address of this machine."


def taken(host: str, port: int, setting: str) -> str:
    """That a port is taken, by whom, and what to do. `setting`: the variable that chooses another one."""
    remedy = f"choose another port, as in {setting}={port + 1}" if setting else "ask for another port"
    return f"Port {port} on {host} is taken by {who_listens(port)}. Stop that program, or {remedy}."


def who_listens(port: int) -> str:
    """The program that listens on a port of this machine, as far as the system tells: others' may be hidden."""
    # Imported here: a process that gets its port never needs it.
    import psutil

    try:
        listening = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
        pid = next((one.pid for one in listening if one.laddr.port == port and one.pid), None)
        return f"{psutil.Process(pid).name()} (process {pid})" if pid else "another program"
    except (psutil.Error, OSError):
        return "another program"
