"""How far a process stands back where it shares processors with what serves.

Where Linux groups processes by session (`sched_autogroup_enabled`, the default of most distributions), a nice value
counts inside of a session only, and sessions share the processors equally: a rebuild from a shell would never stand
back behind a system that was started elsewhere, whatever its nice value. A session has a nice value of its own.

`python -m services.common.process.priority NICE MODULE` lowers the priority and becomes the
module: what a process imports costs a second of a core, too.
"""

import ctypes
import os
import platform
import runpy
import signal
import struct
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Final

IDLE: Final = 19
_GROUPED: Final = Path("/proc/sys/kernel/sched_autogroup_enabled")
_OWN_GROUP: Final = Path("/proc/self/autogroup")
# Linux takes one such wish in a tenth of a second from all of those who are not root, and refuses others.
_TRIES, _AGAIN_SECONDS = 10, 0.12
_PR_SET_PDEATHSIG: Final = 1
# By processor: the number of the system call, which Python does not have.
_SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274}
_SCHED_NORMAL: Final = 0
# The default is 1 to 3 ms, by processors. Not much more: who had to wait may then run for two slices on end, and at
# 100 ms others were seen to wait for 60.
_LONG_SLICE_NS: Final = 10_000_000
# Linux makes some 50 µs of it.
_INSTANT_SECONDS: Final = 1e-6


def stand_back(nice: int) -> None:
    """Let others go first: `nice` 0 to 19, never less than it is; at 19 run only while nobody else wants to (Linux).

    Not for a process that has threads already. The leader of a session takes it along.
    """
    nice = max(nice, os.getpriority(os.PRIO_PROCESS, 0))
    _stand_back(0, nice)
    if _sessions_matter() and _leads():
        _session_stands_back(nice)


def let_stand_back(pid: int) -> None:
    """Let another process of ours, that has no threads, run only while nobody else of its session wants to.

    Raises ProcessLookupError, PermissionError.
    """
    _stand_back(pid, IDLE)


def give_way() -> None:
    """Sleep for an instant: who works without a break should do it every few milliseconds.

    Linux takes over who waits for a busy processor when another one falls idle; one that always has something to do, of
    whatever priority, takes nobody over for long. Blocks the thread.
    """
    time.sleep(_INSTANT_SECONDS)


def _stand_back(pid: int, nice: int) -> None:
    os.setpriority(os.PRIO_PROCESS, pid, nice)
    if nice:
        _take_long_slices(pid, nice)
    if nice >= IDLE and hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))


def _take_long_slices(pid: int, nice: int) -> None:
    """Ask for slices longer than those of others, so that whoever wakes goes first at once.

    Linux (from 6.12 on) lets a running process end its slice before a woken one gets the processor, whatever their
    weights, unless the woken one's slices are shorter: without this a step of a playlist may wait for the next tick of
    the clock, 1 to 4 ms. Where it cannot be asked for, nothing is lost but that.
    """
    number = _SCHED_SETATTR.get(platform.machine()) if sys.platform == "linux" else None
    if number is not None:
        wish = struct.pack("=IIQiIQQQ", 48, _SCHED_NORMAL, 0, nice, 0, _LONG_SLICE_NS, 0, 0)
        ctypes.CDLL(None).syscall(number, pid, wish, 0)


def go_behind(nice: int) -> None:
    """Stand back with all that this command does, in a session of its own; at 0 nothing changes. See both."""
    if nice:
        lead_a_session()
        stand_back(nice)


def lead_a_session() -> None:
    """Go on as the leader of a session of its own, so that `stand_back` counts for others, too.

    A command of a shell may not begin a session: it goes on in a child, and the process that the shell knows only hands
    signals on, and ends as the child does. Not for processes that have threads or an event loop. Does nothing where
    sessions do not matter.
    """
    if not _sessions_matter() or _leads():
        return
    sys.stdout.flush()
    sys.stderr.flush()
    mine = os.getpid()
    child = os.fork()
    if child:
        _be_represented_by(child)
    os.setsid()
    # Whoever kills the process that they know means the work.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != mine:
        os._exit(1)


def _sessions_matter() -> bool:
    try:
        return _GROUPED.read_text(encoding="ascii").strip() == "1"
    except OSError:
        return False


def _leads() -> bool:
    return os.getsid(0) == os.getpid()


def _session_stands_back(nice: int) -> None:
    for _ in range(_TRIES):
        try:
            _OWN_GROUP.write_text(f"{nice}\n", encoding="ascii")
        except BlockingIOError:
            time.sleep(_AGAIN_SECONDS)
            continue
        except OSError:
            # A container may not let us; then it stands back as far as it may.
            return
        return


def _be_represented_by(child: int) -> None:
    def hand_on(number: int, _frame: FrameType | None) -> None:
        os.kill(child, number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, hand_on)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    stand_back(int(sys.argv.pop(1)))
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
