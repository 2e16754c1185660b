"""Runs one part: starts it, watches it, restarts it when it dies, stops it on request."""

import asyncio
import contextlib
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Final, Literal

import psutil

from services.local.errors import LocalError, PartFailed
from services.local.layout import Layout
from services.local.logs import last_sentence, rotate, tail
from services.local.parts import Part
from services.local.processes.children import ended, spawn

State = Literal["starting", "ready", "not ready", "restarting", "stopped"]

# Between two probes of a part. A probe goes through every part that the part needs, so that they cost an idle system
# more than their count says; Compose's health checks are as far apart.
PROBE_WHEN_STARTING_S: Final = 0.1
PROBE_WHEN_READY_S: Final = 5.0
PROBE_WHEN_NOT_READY_S: Final = 1.0
# Waits before the next start; the last one repeats. A part that stayed up for STEADY_S begins at the first again.
BACKOFF_S: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
STEADY_S: Final = 30.0
# A part that was never ready and ended this often is given up.
EARLY_ENDS: Final = 3
# sysexits.h EX_CONFIG: a setting is wrong, and a retry fails, too.
CONFIG_STATUS: Final = 78


class Keeper:
    """One part and its process.

    `state` is what the last look found, `trouble` why it is not ready, `started` when its process began (seconds since
    the epoch). `changed` is called after each change of them, `say` with sentences for people.
    """

    def __init__(self, part: Part, layout: Layout, say: Callable[[str], None], changed: Callable[[], None]) -> None:
        self.part = part
        self.state: State = "stopped"
        self.restarts = 0
        self.trouble: str | None = None
        self.started: float | None = None
        self._layout = layout
        self._say = say
        self._changed = changed
        self._child: subprocess.Popen[bytes] | None = None
        self._task: asyncio.Task[None] | None = None
        self._ever_ready = False
        self._failure: PartFailed | None = None
        # Set once the part was ready or is given up.
        self._decided = asyncio.Event()
        self._ends_in_a_row = 0

    @property
    def name(self) -> str:
        """The part's name."""
        return self.part.name

    @property
    def pid(self) -> int | None:
        """The process id of the part as it runs now."""
        return self._child.pid if self._child is not None else None

    async def start(self) -> None:
        """Start the part and begin to watch it. Raises what its preparation raises (LocalError)."""
        await self._spawn()
        self._task = asyncio.create_task(self._keep(), name=f"keep {self.name}")

    async def ready(self, seconds: float) -> None:
        """Return once the part has been ready. Raises PartFailed with the end of its log."""
        try:
            await asyncio.wait_for(self._decided.wait(), seconds)
        except TimeoutError:
            why = f": {self.trouble}" if self.trouble else ""
            raise PartFailed(f"{self.name} was not ready within {seconds:.0f} s{why}. {self._tail()}") from None
        if self._failure is not None:
            raise self._failure

    async def stop(self, seconds: float) -> None:
        """Ask the part to end, wait, and kill it when it has not ended after `seconds`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._child is not None and self._child.poll() is None:
            await self._end(self._child, seconds)
        self._child = None
        self._layout.pidfile(self.name).unlink(missing_ok=True)
        self._move_to("stopped")

    def kill(self) -> None:
        """kill -9, at once."""
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.kill()

    async def _end(self, child: subprocess.Popen[bytes], seconds: float) -> None:
        child.terminate()
        try:
            await asyncio.wait_for(ended(child), seconds)
        except TimeoutError:
            self._tell(f"{self.name} did not stop within {seconds:.0f} s and was killed")
            child.kill()
            await ended(child)

    async def _spawn(self) -> None:
        self._move_to("starting")
        rotate(self._layout.log(self.name))
        await asyncio.to_thread(self.part.prepare)
        command, env, pidfile = self.part.command(), self.part.env(), self._layout.pidfile(self.name)
        # Not in a thread: a stop in between would miss the child.
        self._child = spawn(command, env, self._layout.log(self.name), self.part.cwd, pidfile=pidfile)
        self.started = _started(self._child.pid)
        self._notify()

    async def _keep(self) -> None:
        while self._failure is None:
            began = time.monotonic()
            status = await self._watch()
            steady = time.monotonic() - began > STEADY_S
            self._ends_in_a_row = 1 if steady else self._ends_in_a_row + 1
            self._failure = self._hopeless(status)
            if self._failure is None:
                await self._start_again(status)
        self._move_to("stopped")
        self._decided.set()

    async def _watch(self) -> int:
        """Probe the running child until it ends; its exit status."""
        child = self._child
        assert child is not None
        end = asyncio.create_task(ended(child))
        try:
            while not end.done():
                trouble = await asyncio.to_thread(self.part.trouble, child.pid)
                if child.poll() is None:
                    self._note(trouble)
                await asyncio.wait({end}, timeout=self._pause())
            return end.result()
        finally:
            end.cancel()

    def _pause(self) -> float:
        if self.state == "starting":
            return PROBE_WHEN_STARTING_S
        return PROBE_WHEN_READY_S if self.state == "ready" else PROBE_WHEN_NOT_READY_S

    def _note(self, trouble: str | None) -> None:
        self.trouble = trouble
        if trouble is None:
            self._ever_ready = True
            self._move_to("ready")
            self._decided.set()
        elif self.state == "ready":
            self._move_to("not ready")

    def _hopeless(self, status: int) -> PartFailed | None:
        if self._ever_ready or (status != CONFIG_STATUS and self._ends_in_a_row < EARLY_ENDS):
            return None
        if status == CONFIG_STATUS and (sentence := last_sentence(self._layout.log(self.name))):
            return PartFailed(f"{self.name} cannot start. {sentence}")
        return PartFailed(f"{self.name} {how_it_ended(status)}. {self._tail()}")

    async def _start_again(self, status: int) -> None:
        self.restarts += 1
        why = how_it_ended(status)
        if status == CONFIG_STATUS and (sentence := last_sentence(self._layout.log(self.name))):
            why = f"cannot start: {sentence}"
        self.trouble = why
        while True:
            self._move_to("restarting")
            delay = BACKOFF_S[min(self._ends_in_a_row, len(BACKOFF_S)) - 1]
            self._tell(f"{self.name} {why}; starting it again in {delay} s")
            await asyncio.sleep(delay)
            try:
                return await self._spawn()
            except (LocalError, OSError) as error:
                why = self.trouble = f"could not be started: {error}"
                self._ends_in_a_row += 1

    def _move_to(self, state: State) -> None:
        if state == self.state:
            return
        self.state = state
        self._notify()

    def _notify(self) -> None:
        try:
            self._changed()
        except OSError as error:
            # On a full disk the part must still be watched.
            self._tell(f"cannot note that {self.name} is {self.state}: {error}")

    def _tell(self, sentence: str) -> None:
        # Standard output may be a file on the full disk.
        with contextlib.suppress(OSError):
            self._say(sentence)

    def _tail(self) -> str:
        return tail(self._layout.log(self.name))


def _started(pid: int) -> float | None:
    """When a process began, in seconds since the epoch, because pids are reused."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def how_it_ended(status: int) -> str:
    """An exit status in words."""
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-status).name}"
    return f"ended by itself with status {status}"
