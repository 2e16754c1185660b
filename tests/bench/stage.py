"""What the sections share: one running system with six arms, the ids of its songs, listeners who heard some."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from services.common.kafka.catalogue_log import read_catalogue
from services.local.parts import animusic
from tests.bench.listeners import Listener, listeners_who_heard
from tests.bench.machine import run_measured
from tests.bench.marks import wait_until_caught_up
from tests.bench.report import say
from tests.bench.system import Measured

ENCODER_ARMS = ("minilm", "mpnet")
# As many as the most clients; fewer would each get more of the flowing events, and change more often.
LISTENERS = 32


@dataclass
class Stage:
    """Made once a run; the system starts with the first section that asks for it."""

    directory: Path
    quick: bool
    scale: list[int]
    _system: Measured | None = None
    _songs: list[str] = field(default_factory=list)
    _listeners: dict[int, list[Listener]] = field(default_factory=dict)

    async def system(self) -> Measured:
        """The running system: 14,885 synthetic songs, six arms."""
        if self._system is None:
            self._system = Measured(self.directory / "system")
            say("starting the system for the first time (catalogue, models)")
            await self._system.begin()
            await load_random(self._system)
        return self._system

    async def songs(self) -> list[str]:
        """The ids of all songs of the running system."""
        if not self._songs:
            self._songs = await song_ids(await self.system())
        return self._songs

    async def listeners(self, heard: int) -> list[Listener]:
        """Listeners who have heard `heard` songs each: enough of them that no two clients ask for the same one."""
        if heard not in self._listeners:
            say(f"{LISTENERS} listeners hear {heard:,} songs each")
            system = await self.system()
            made = await listeners_who_heard(system.port, await self.songs(), heard, LISTENERS, seed=heard)
            await wait_until_caught_up(system.settings())
            self._listeners[heard] = made
        return self._listeners[heard]

    async def close(self) -> None:
        """Stop the system."""
        if self._system is not None:
            await self._system.end()
            self._system = None


async def song_ids(system: Measured) -> list[str]:
    """The ids of all songs that a system's log holds."""
    return sorted((await read_catalogue(system.settings().kafka)).songs)


async def load_random(system: Measured) -> None:
    """Give the arms that need an encoder random clustered vectors of their dimensions."""
    say(f"random clustered vectors for {' and '.join(ENCODER_ARMS)}")
    command = animusic("models", "load-random", *ENCODER_ARMS)
    await asyncio.to_thread(run_measured, command, system.environment(), system.data_dir)
