"""Models change while playlists are being served: switched, gone back from, killed in the making, renewed."""

import asyncio
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import psutil
import pytest

from contracts.catalogue import Anime, Appearance, Song
from contracts.playlists import ServedPlaylist
from contracts.topics import CATALOGUE, PLAYLISTS
from model_jobs.builds import read_builds
from services.common.kafka import producer, read_to_end
from services.common.kafka.catalogue_log import read_catalogue
from services.common.settings import Settings
from services.local.parts import animusic
from tests.bench.http_load import Connection, request
from tests.support.system import Listener, System, event
from tests.support.waiting import poll
from tests.system.conftest import Another

pytestmark = pytest.mark.system

ARM = "node2vec"
CONTENT = {"tfidf", "node2vec"}
CLIENTS = 10
KILLS = 10


@pytest.fixture(scope="module")
def own(another: Another) -> Iterator[System]:
    """A system whose catalogue may change; a rebuild follows half a second later."""
    with another(ANIMUSIC_MODELS__WATCH_QUIET_SECONDS="0.5") as running:
        yield running


@dataclass
class Load:
    """Playlists at a steady rate from a thread of its own, while the block runs."""

    system: System
    per_second: float
    statuses: list[int] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)

    def __enter__(self) -> "Load":
        self._guests = [Listener(self.system.url) for _ in range(CLIENTS)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._fire()))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        for guest in self._guests:
            guest.close()

    @property
    def users(self) -> set[str]:
        """Who asked."""
        return {guest.user_id for guest in self._guests}

    async def _fire(self) -> None:
        port = int(self.system.url.rpartition(":")[2])
        await asyncio.gather(*(self._ask(port, guest, at) for at, guest in enumerate(self._guests)))

    async def _ask(self, port: int, guest: Listener, at: int) -> None:
        raw, connection = request("POST", "/v1/playlists", b"{}", guest.token), Connection(port)
        due = time.monotonic() + at / self.per_second
        while not self._stop.is_set():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += CLIENTS / self.per_second
            began = time.monotonic()
            try:
                status = (await connection.ask(raw))[0]
            except ConnectionError:
                status = 0
            self.statuses.append(status)
            self.latencies_ms.append((time.monotonic() - began) * 1000)
        connection.close()

    def say(self, what: str) -> None:
        """One line with what was seen."""
        ordered = sorted(self.latencies_ms)
        worst = ordered[int(len(ordered) * 0.99)]
        print(f"{what}: {len(ordered)} playlists, p50 {ordered[len(ordered) // 2]:.1f} ms, p99 {worst:.1f} ms")


def models(system: System, *words: str) -> str:
    """`animusic models …`, to its good end; what it said."""
    done = system.command("models", *words, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def version_built(system: System, *words: str) -> tuple[str, float]:
    """Build a version; its name and the seconds that the command took."""
    began = time.monotonic()
    said = models(system, "build", ARM, *words)
    return said.split(f"{ARM}: built ")[1].split()[0], time.monotonic() - began


def live_version(system: System) -> str:
    """What listeners get from the arm."""
    guest = Listener(system.url)
    (found,) = {slot["model_version"] for slot in served_slots(system, guest) if slot["arm"] == ARM}
    guest.close()
    return str(found)


def served_slots(system: System, guest: Listener) -> list[dict[str, object]]:
    guest.playlist()
    (last,) = served(system.settings(), {guest.user_id})[-1:]
    return [{"arm": slot.arm, "model_version": slot.model_version} for slot in last.slots]


def served(settings: Settings, users: set[str]) -> list[ServedPlaylist]:
    """The playlists of these listeners as the log has them, in the order of serving."""

    async def read() -> list[ServedPlaylist]:
        found = [
            ServedPlaylist.model_validate_json(record.value)
            async for batch in read_to_end(settings.kafka, PLAYLISTS.name)
            for record in batch
            if record.key.decode() in users
        ]
        return sorted(found, key=lambda playlist: playlist.served_at)

    return asyncio.run(read())


def test_a_switch_and_a_rollback_fail_no_playlist_and_mix_no_versions(own: System) -> None:
    old = live_version(own)
    new, _ = version_built(own, "--seed", "2", "--no-switch")
    assert live_version(own) == old
    with Load(own, per_second=50) as load:
        for _ in range(2):
            assert f"switched to {new}" in models(own, "switch", ARM, new[:8])
            assert f"back at {old}" in models(own, "rollback", ARM)
        poll(lambda: live_version(own) == old, timeout=10, what="the last rollback is served")
    load.say("two switches and two rollbacks")
    assert set(load.statuses) == {201}
    playlists = served(own.settings(), load.users)
    assert len(playlists) == len(load.statuses)
    for playlist in playlists:
        versions = {(slot.arm, slot.model_version) for slot in playlist.slots}
        assert len(versions) == len({slot.arm for slot in playlist.slots}) == len(playlist.slots)
        assert CONTENT.isdisjoint(playlist.left_out), playlist.left_out
    steps = [slot.model_version for playlist in playlists for slot in playlist.slots if slot.arm == ARM]
    assert set(steps) == {old, new}
    # Each switch is one step for everybody: nobody is served the version before it again.
    assert sum(one != another for one, another in pairwise(steps)) == 4


def test_builds_killed_at_any_moment_leave_serving_alone_and_the_next_one_completes(own: System) -> None:
    before, (_, whole) = live_version(own), version_built(own, "--seed", "3", "--no-switch")
    rng = random.Random(4)
    orphans: set[str] = set()
    with Load(own, per_second=10) as load:
        for seed in range(KILLS):
            # Half of them anywhere, half of them while the directory is being written, which takes a moment only.
            late = seed % 2 == 1
            _killed_build(own, 100 + seed, rng.uniform(0.0, 0.3) if late else rng.uniform(0.2, 1.0) * whole, late=late)
            orphans |= _unfinished(own)
        assert live_version(own) == before
        new, _ = version_built(own, "--seed", "110")
        poll(lambda: live_version(own) == new, timeout=10, what="the build that was not killed is served")
    load.say(f"{KILLS} builds killed within {whole:.1f} s, {len(orphans)} unfinished directories seen")
    assert set(load.statuses) == {201} and orphans
    models(own, "prune")
    assert _unfinished(own) == set()
    left = {path.name for path in own.settings().vectors_dir.iterdir() if path.name.startswith(ARM)}
    assert left == {f"{ARM}-{before}", f"{ARM}-{new}"}
    noted = [build.version for build in asyncio.run(read_builds(own.settings().kafka)) if build.outcome == "failed"]
    assert noted == []


def _killed_build(system: System, seed: int, after: float, *, late: bool) -> None:
    """kill -9 a build some seconds after its start, or after its directory was begun."""
    command, before = animusic("models", "build", ARM, "--seed", str(seed), "--no-switch"), _unfinished(system)
    environment = system.environment()
    environment.pop("ANIMUSIC_PORT")
    build = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if late:
        poll(
            # A directory that is there for less than that is not seen: then the build has ended.
            lambda: _unfinished(system) - before or build.poll() is not None,
            timeout=60, interval=0.002, slowest=0.002, what="the build writes its directory",
        )  # fmt: skip
    try:
        assert build.wait(after) == 0
    except subprocess.TimeoutExpired:
        os.kill(build.pid, signal.SIGKILL)
        build.wait()


def _unfinished(system: System) -> set[str]:
    return {entry.name for entry in os.scandir(system.settings().vectors_dir) if entry.name.startswith(".building-")}


async def _with_a_new_song(settings: Settings) -> tuple[Song, Song]:
    """Write a song to the log that is much like one that is there, of an anime of its own; both."""
    songs = (await read_catalogue(settings.kafka)).songs
    known = songs[sorted(songs)[0]]
    anime = Anime(anime_id="anime-of-tomorrow", title=f"{known.anime.title} Tomorrow", genres=known.anime.genres)
    appearances = (Appearance(anime=anime, relation="opening"),)
    new = known.model_copy(update={"song_id": "song-of-tomorrow", "appearances": appearances, "links": ()})
    client = producer(settings.kafka)
    await client.start()
    try:
        await client.send_and_wait(CATALOGUE.name, new.log_value(), key=new.song_id.encode())
    finally:
        await client.stop()
    return known, new


def test_a_new_song_reaches_the_playlists_of_a_content_arm_without_a_restart(own: System) -> None:
    poll(lambda: own.ready("watch"), timeout=20, what="the watch follows the log")
    watch, guest = own.part("watch"), Listener(own.url)
    memory = psutil.Process(int(watch["pid"])).memory_info().rss
    assert memory < 80 << 20, f"the watch has {memory >> 20} MB"
    known, new = asyncio.run(_with_a_new_song(own.settings()))
    began = time.monotonic()
    receipt = guest.send(event("liked", song_id=known.song_id))

    def brought() -> list[str]:
        return [slot["arm"] for slot in guest.playlist(receipt)["slots"] if slot["song_id"] == new.song_id]

    poll(lambda: CONTENT & set(brought()), timeout=60, interval=0.2, what="a content arm brings the new song")
    took = time.monotonic() - began
    print(f"a new song reached a playlist of a content arm after {took:.1f} s; the watch has {memory >> 20} MB")
    guest.close()
    models(own, "watch", "--once")
    assert "models: all are live and up to date" in models(own, "build")
    assert own.part("watch")["restarts"] == watch["restarts"]
    assert own.part("recommender")["restarts"] == 0
