"""A rebuild that is killed again and again ends with the same bytes; two at once are refused; the live one is left."""

import asyncio
import os
import random
import signal
import subprocess
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from redis.asyncio import Redis

from contracts.topics import FEEDBACK
from services.common.settings import KafkaSettings
from services.local.parts import animusic
from services.local.processes.valkey import ValkeyNode
from services.operator.parity import compare, digest_of
from services.operator.replay.lease import holder
from services.operator.replay.profiles import Rebuild, RebuildOptions
from services.profiles.store import ProfileStore
from tests.bench.consumers import feedback, write
from tests.bench.system import clean_environment
from tests.support.following import at_end, following, settings_for
from tests.support.waiting import apoll

pytestmark = pytest.mark.connected

EVENTS = 30_000
KILLS = 10
# Slow enough that ten kills fall into it, with flushes small enough to be in the middle of.
ARGUMENTS = ("replay", "profiles", "--keep", "--rate", "6000", "--batch", "300", "--nice", "0")


def started(log: KafkaSettings, url: str, data_dir: Path, *, workers: int) -> subprocess.Popen[str]:
    """`animusic replay profiles` as a process."""
    addresses = {"ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS": log.bootstrap_servers, "ANIMUSIC_REDIS__URL": url}
    environment = clean_environment(data_dir, addresses)
    return subprocess.Popen(
        animusic(*ARGUMENTS, "--workers", str(workers)),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


async def flushed(redis: Redis) -> int:
    """Records that the shadow generation reflects: of each mark the lowest of its shards."""
    lowest: dict[str, int] = {}
    for marks in await ProfileStore(redis, "g2").marks():
        for name, mark in marks.items():
            lowest[name] = min(mark, lowest.get(name, mark))
    return sum(lowest.values())


def kill(child: subprocess.Popen[str], *, a_worker: bool) -> None:
    """kill -9 of the whole command, or of one of its workers, at which the command ends by itself."""
    workers = psutil.Process(child.pid).children()
    if a_worker and workers:
        os.kill(workers[0].pid, signal.SIGKILL)
    else:
        child.kill()
    said, _ = child.communicate(timeout=60)
    assert child.returncode != 0, said


async def test_killed_at_ten_random_moments_it_ends_with_the_same_bytes(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path
):
    settings = settings_for(log, valkey.url, tmp_path, group=f"test.{uuid4().hex}")
    await write(log, FEEDBACK.name, feedback(EVENTS))
    async with following(settings, redis):
        await at_end(log, redis)
    before = await digest_of(redis, "g1"), await ProfileStore(redis, "g1").marks()
    rng = random.Random(5)
    seen = [0]
    for number in range(KILLS):
        child = started(log, valkey.url, tmp_path, workers=1 + number % 2)
        # On average as far as leaves a like step for each kill to come, and some for what a slow kill lets through.
        moment = seen[-1] + rng.randrange(2 * (EVENTS - seen[-1]) // (KILLS + 5 - number))

        async def reached(moment: int = moment, child: subprocess.Popen[str] = child) -> bool:
            assert child.poll() is None, child.communicate()[0]
            return await flushed(redis) >= moment and await holder(redis) is not None

        try:
            await apoll(reached, timeout=60, interval=0.01, what=f"{moment} records are flushed")
            if number == 0:
                with pytest.raises(RuntimeError, match=f"one rebuild at a time.*process {child.pid} on"):
                    await Rebuild(settings, redis, RebuildOptions()).run()
        finally:
            kill(child, a_worker=bool(number % 3 == 1))
        seen.append(await flushed(redis))
    assert 0 < seen[1] < seen[-1] < EVENTS, seen
    child = started(log, valkey.url, tmp_path, workers=2)
    said, _ = await asyncio.to_thread(child.communicate, timeout=60)
    print(f"killed at {seen[1:]} of {EVENTS} records\n{said}")
    assert child.returncode == 0, said
    assert "went on in generation g2" in said
    assert "equal at equal marks in all 64 shards" in said
    parity = await compare(redis, "g1", "g2", {})
    assert parity.equal
    assert parity.digests() == (before[0], before[0])
    assert (await digest_of(redis, "g1"), await ProfileStore(redis, "g1").marks()) == before
    assert await holder(redis) is None
