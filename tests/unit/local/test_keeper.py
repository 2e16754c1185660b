"""A part is started again when it dies, with growing waits, and given up only when it never was ready."""

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from services.local import keeper as module
from services.local.errors import PartFailed
from services.local.keeper import Keeper, how_it_ended
from services.local.layout import Layout
from services.local.parts import Part
from tests.support.waiting import apoll

SLEEPS = "import time; time.sleep(60)"


class Scene:
    """A part that runs a line of Python, and what its keeper says of it."""

    def __init__(self, layout: Layout, line: str, *, ready: bool = True) -> None:
        self.said: list[str] = []
        self.states: list[str] = []
        self.is_ready = ready
        part = Part(
            name="part",
            address="nowhere",
            prepare=lambda: None,
            command=lambda: [sys.executable, "-c", line],
            env=lambda: dict(os.environ),
            trouble=lambda pid: None if self.is_ready and pid == self.keeper.pid else "it does not serve",
        )
        self.keeper = Keeper(part, layout, self.said.append, self._changed)

    def _changed(self) -> None:
        if self.states[-1:] != [self.keeper.state]:
            self.states.append(self.keeper.state)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout.of(tmp_path)


async def test_it_runs_says_so_and_stops(layout) -> None:
    scene = Scene(layout, SLEEPS)
    await scene.keeper.start()
    await scene.keeper.ready(10)
    pid = scene.keeper.pid
    assert layout.pidfile("part").exists()
    await scene.keeper.stop(10)
    assert scene.states == ["starting", "ready", "stopped"]
    assert not psutil.pid_exists(pid)
    assert not layout.pidfile("part").exists()
    assert scene.said == []


async def test_killed_it_comes_back_with_another_process(layout) -> None:
    scene = Scene(layout, SLEEPS)
    await scene.keeper.start()
    await scene.keeper.ready(10)
    first = scene.keeper.pid
    os.kill(first, signal.SIGKILL)

    async def back() -> bool:
        return scene.keeper.pid != first and scene.keeper.state == "ready"

    await apoll(back, what="the part is back")
    assert scene.keeper.restarts == 1
    assert scene.said == ["part was killed by SIGKILL; starting it again in 0.1 s"]
    assert scene.states == ["starting", "ready", "restarting", "starting", "ready"]
    await scene.keeper.stop(10)


async def test_what_cannot_be_noted_on_a_full_disk_is_looked_after_all_the_same(layout) -> None:
    scene = Scene(layout, SLEEPS)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    scene.keeper._changed = full
    await scene.keeper.start()
    await scene.keeper.ready(10)
    assert any("No space left" in sentence for sentence in scene.said)
    scene.keeper._say = full
    first = scene.keeper.pid
    os.kill(first, signal.SIGKILL)

    async def back() -> bool:
        return scene.keeper.pid != first and scene.keeper.state == "ready"

    await apoll(back, what="the part is back")
    await scene.keeper.stop(10)


async def test_waits_grow_and_a_steady_run_begins_anew(layout, monkeypatch) -> None:
    monkeypatch.setattr(module, "BACKOFF_S", (0.01, 0.02, 0.03))
    scene = Scene(layout, "")
    scene.keeper._ever_ready = True
    await scene.keeper.start()

    async def four() -> bool:
        return len(scene.said) >= 4

    await apoll(four, what="four restarts")
    waits = [line.rsplit(" in ", 1)[1] for line in scene.said]
    assert waits[:4] == ["0.01 s", "0.02 s", "0.03 s", "0.03 s"]
    monkeypatch.setattr(module, "STEADY_S", 0.0)
    said = len(scene.said)

    async def anew() -> bool:
        return any("0.01 s" in line for line in scene.said[said:])

    await apoll(anew, what="the first wait again")
    await scene.keeper.stop(10)


async def test_what_never_was_ready_and_keeps_ending_is_given_up_with_its_log(layout, monkeypatch) -> None:
    monkeypatch.setattr(module, "BACKOFF_S", (0.01,))
    scene = Scene(layout, "print('cannot find my hat'); raise SystemExit(3)", ready=False)
    await scene.keeper.start()
    with pytest.raises(PartFailed, match=r"(?s)part ended by itself with status 3.*cannot find my hat"):
        await scene.keeper.ready(20)
    assert scene.keeper.restarts == module.EARLY_ENDS - 1
    await scene.keeper.stop(10)


async def test_a_wrong_setting_is_not_tried_again(layout) -> None:
    scene = Scene(layout, f"raise SystemExit({module.CONFIG_STATUS})", ready=False)
    await scene.keeper.start()
    with pytest.raises(PartFailed):
        await scene.keeper.ready(20)
    assert scene.keeper.restarts == 0


async def test_a_taken_port_is_one_sentence(layout) -> None:
    line = "print('a line before'); print('animusic: Port 8080 on 127.0.0.1 is taken by x.'); raise SystemExit(78)"
    scene = Scene(layout, line, ready=False)
    await scene.keeper.start()
    with pytest.raises(PartFailed) as failure:
        await scene.keeper.ready(20)
    assert str(failure.value) == "part cannot start. Port 8080 on 127.0.0.1 is taken by x."
    await scene.keeper.stop(10)


async def test_what_answers_in_place_of_the_part_does_not_make_it_ready(layout) -> None:
    scene = Scene(layout, SLEEPS)
    scene.keeper.part = replace(scene.keeper.part, trouble=lambda pid: "another program answers there")
    await scene.keeper.start()
    with pytest.raises(PartFailed, match="another program answers there"):
        await scene.keeper.ready(0.2)
    assert scene.keeper.state == "starting"
    await scene.keeper.stop(10)


async def test_not_ready_in_time_is_an_error_with_its_log(layout) -> None:
    scene = Scene(layout, SLEEPS, ready=False)
    await scene.keeper.start()
    with pytest.raises(PartFailed, match="part was not ready within 0 s"):
        await scene.keeper.ready(0.2)
    await scene.keeper.stop(10)


async def test_readiness_that_is_lost_shows(layout, monkeypatch) -> None:
    monkeypatch.setattr(module, "PROBE_WHEN_READY_S", 0.01)
    monkeypatch.setattr(module, "PROBE_WHEN_NOT_READY_S", 0.01)
    scene = Scene(layout, SLEEPS)
    await scene.keeper.start()
    await scene.keeper.ready(10)
    scene.is_ready = False

    async def red() -> bool:
        return scene.keeper.state == "not ready"

    await apoll(red, what="red")
    scene.is_ready = True
    await apoll(_is(scene, "ready"), what="green")
    await scene.keeper.stop(10)


def _is(scene: Scene, state: str):
    async def now() -> bool:
        return scene.keeper.state == state

    return now


async def test_one_that_does_not_stop_is_killed(layout) -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    scene = Scene(layout, deaf)
    await scene.keeper.start()

    async def deaf_now() -> bool:
        return "deaf" in layout.log("part").read_text()

    await apoll(deaf_now, what="the child ignores SIGTERM")
    await scene.keeper.stop(0.2)
    assert scene.said == ["part did not stop within 0 s and was killed"]


async def test_a_stop_while_it_waits_to_start_again_leaves_nothing(layout, monkeypatch) -> None:
    monkeypatch.setattr(module, "BACKOFF_S", (30.0,))
    scene = Scene(layout, "")
    scene.keeper._ever_ready = True
    await scene.keeper.start()
    await apoll(_is(scene, "restarting"), what="waiting to start again")
    await asyncio.wait_for(scene.keeper.stop(10), 5)
    assert scene.keeper.pid is None


@pytest.mark.parametrize(
    ("status", "words"),
    [(-9, "was killed by SIGKILL"), (-15, "was killed by SIGTERM"), (3, "ended by itself with status 3")],
)
def test_an_exit_status_in_words(status, words) -> None:
    assert how_it_ended(status) == words
