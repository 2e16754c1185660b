"""Processes of a rebuild stand back, never forward."""

import os
import platform
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from services.common.process.priority import _sessions_matter, give_way
from services.common.settings import REPO_ROOT
from tests.support.waiting import poll

OWN = Path("/proc/self/autogroup")

_TOLD = """
import os
from services.common.process.priority import stand_back
{calls}
print(os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0) == os.SCHED_IDLE)
"""


@pytest.mark.parametrize(
    ("calls", "nice", "idle"),
    [
        ("stand_back(0)", 0, False),
        ("stand_back(7)", 7, False),
        ("stand_back(12); stand_back(5)", 12, False),
        ("stand_back(19)", 19, True),
    ],
)
def test_a_process_stands_back_and_never_comes_forward(calls: str, nice: int, idle: bool):
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    done = subprocess.run(
        [sys.executable, "-c", _TOLD.format(calls=calls)], cwd=REPO_ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(max(nice, mine)), str(idle)]


def test_giving_way_leaves_the_processor_for_a_moment():
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    for _ in range(20):
        give_way()
    assert resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before >= 20


def test_a_module_stands_back_before_it_is_imported(tmp_path: Path):
    (tmp_path / "told.py").write_text(
        "import os, sys\nprint(os.getpriority(os.PRIO_PROCESS, 0), __name__, sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-m", "services.common.process.priority", "11", "told", "more"],
        cwd=REPO_ROOT, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split(maxsplit=2) == ["11", "__main__", "['more']\n"]


_SLICES = """
import ctypes, struct
from services.common.process.priority import stand_back
def slice_ns():
    answer = ctypes.create_string_buffer(48)
    assert ctypes.CDLL(None).syscall({number}, 0, answer, 48, 0) == 0
    return struct.unpack("=IIQiIQQQ", answer.raw)[5]
before = slice_ns()
stand_back({nice})
print(before == slice_ns(), slice_ns())
"""


@pytest.mark.parametrize("nice", [0, 7, 19])
def test_whoever_stands_back_takes_long_slices_so_that_a_woken_process_goes_first(nice: int):
    """Told by the kernel itself (sched_getattr), where it has slices of one's own: Linux 6.12 on x86-64 or ARM."""
    number = {"x86_64": 315, "aarch64": 275}.get(platform.machine())
    release = tuple(map(int, re.findall(r"\d+", platform.release())[:2]))
    told = sys.platform == "linux" and number is not None
    calls = _SLICES.format(number=number, nice=nice) if told else _TOLD.format(calls=f"stand_back({nice})")
    done = subprocess.run([sys.executable, "-c", calls], cwd=REPO_ROOT, capture_output=True, text=True, check=True)
    if told and release >= (6, 12):
        unchanged, slice_ns = done.stdout.split()
        back = max(nice, os.getpriority(os.PRIO_PROCESS, 0)) > 0
        assert (int(slice_ns) == 10_000_000, unchanged == "True") == (back, not back)


_LED = """
import os, sys, time
from services.common.process.priority import lead_a_session, stand_back
lead_a_session()
stand_back(7)
group = open("/proc/self/autogroup").read().split() if os.path.exists("/proc/self/autogroup") else ["none"]
print(os.getpid(), os.getsid(0) == os.getpid(), group[-1], flush=True)
{then}
"""


def _begun(then: str, *, leads: bool = False) -> tuple["subprocess.Popen[str]", list[str]]:
    running = subprocess.Popen(
        [sys.executable, "-c", _LED.format(then=then)],
        cwd=REPO_ROOT, stdout=subprocess.PIPE, text=True, start_new_session=leads,
    )  # fmt: skip
    assert running.stdout is not None
    return running, running.stdout.readline().split()


@pytest.mark.parametrize("leads", [True, False])
def test_its_session_stands_back_with_it_and_the_shells_does_not(leads: bool):
    """Else a nice value counts only among processes of one session."""
    shells = OWN.read_text(encoding="ascii") if OWN.exists() else ""
    running, (pid, is_leader, nice) = _begun("sys.exit(5)", leads=leads)
    assert running.wait(10) == 5
    if _sessions_matter():
        assert (is_leader, nice) == ("True", "7")
        assert (int(pid) == running.pid) == leads
        assert OWN.read_text(encoding="ascii") == shells


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_is_sent_to_the_process_that_the_shell_knows_reaches_the_work(number: signal.Signals):
    running, (pid, *_) = _begun("time.sleep(60)")
    running.send_signal(number)
    assert running.wait(10) == -number
    poll(lambda: not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == "zombie", what="it is gone")
