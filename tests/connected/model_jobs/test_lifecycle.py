"""Forth and back between versions on a real log, and what may be removed."""

import asyncio
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from collectors.importing import planned, write
from collectors.synthetic import synthetic_songs
from contracts.models import LiveModel
from model_jobs.build import build
from model_jobs.builds import read_builds
from model_jobs.lifecycle import prune, roll_back, switch_to
from model_jobs.live import live_models
from model_jobs.publishing import ArmBusyError, arm_lock
from model_jobs.random_vectors import RandomVectors
from services.common.kafka.catalogue_log import read_catalogue
from services.common.settings import Settings
from tests.support.waiting import poll

pytestmark = pytest.mark.connected

ARM = "minilm"
SONGS = synthetic_songs(60)


async def versions(settings: Settings, *seeds: int, switch: bool = True) -> list[LiveModel]:
    """Build a version a seed, in order."""
    await write(settings.kafka, planned(SONGS, await read_catalogue(settings.kafka)).records)
    return [(await build(settings, RandomVectors(ARM, seed=seed), switch=switch)).record for seed in seeds]


async def live(settings: Settings) -> str:
    return (await live_models(settings.kafka))[ARM].version


def there(settings: Settings) -> set[str]:
    return {path.name for path in settings.vectors_dir.iterdir() if path.is_dir()}


async def test_a_rollback_goes_back_and_back_again_never_forth(settings: Settings) -> None:
    a, b = await versions(settings, 1, 2)
    back = await roll_back(settings, ARM)
    assert (back.record, back.before, await live(settings)) == (a, b.version, a.version)
    with pytest.raises(LookupError, match=f"no version of {ARM} was live before .* models build {ARM}"):
        await roll_back(settings, ARM)
    await switch_to(settings, ARM, b.version[:6])
    assert await live(settings) == b.version
    assert (await roll_back(settings, ARM)).record == a
    outcomes = [(noted.outcome, noted.version, noted.replaced) for noted in await read_builds(settings.kafka)]
    assert outcomes[2:] == [
        ("rolled back", a.version, b.version),
        ("switched", b.version, a.version),
        ("rolled back", a.version, b.version),
    ]


async def test_what_is_built_without_a_switch_waits_for_one(settings: Settings) -> None:
    (a,) = await versions(settings, 1)
    (b,) = await versions(settings, 2, switch=False)
    assert await live(settings) == a.version
    assert (await build(settings, RandomVectors(ARM, seed=2), switch=False)).outcome == "already built"
    assert (await build(settings, RandomVectors(ARM, seed=2))).outcome == "switched to"
    assert await live(settings) == b.version
    assert (await roll_back(settings, ARM)).record == a


async def test_a_candidate_outlives_other_builds_until_somebody_prunes(settings: Settings) -> None:
    (candidate,) = await versions(settings, 1, switch=False)
    with pytest.raises(LookupError, match="no live model to go back from"):
        await roll_back(settings, ARM)
    _, b, c = await versions(settings, 2, 3, 4)
    assert there(settings) == {candidate.collection, b.collection, c.collection}
    assert [removed.name for removed in (await prune(settings)).removed] == [candidate.collection]


async def test_a_wrong_version_or_a_broken_directory_is_refused_with_what_to_do(settings: Settings) -> None:
    a, b = await versions(settings, 1, 2)
    with pytest.raises(LookupError, match="animusic models list"):
        await switch_to(settings, ARM, "zzz")
    with pytest.raises(LookupError, match="give more digits"):
        await switch_to(settings, ARM, "")
    with pytest.raises(LookupError, match="animusic models build node2vec"):
        await roll_back(settings, "node2vec")
    np.save(settings.vectors_dir / a.collection / "raw.npy", np.ones((60, 7), dtype=np.float32))
    with pytest.raises(ValueError, match="not fit to be served"):
        await roll_back(settings, ARM)
    assert await live(settings) == b.version


async def test_prune_keeps_the_live_one_and_the_one_before_it_unless_told(settings: Settings) -> None:
    a, b = await versions(settings, 1, 2)
    (candidate,) = await versions(settings, 3, switch=False)
    orphan = settings.vectors_dir / f".building-{ARM}-0123456789abcdef-17"
    orphan.mkdir()
    (orphan / "raw.npy").write_bytes(b"x" * 1000)
    would = await prune(settings, dry_run=True)
    assert [(r.name, r.why) for r in would.removed] == [
        (orphan.name, "left behind by a job that died"),
        (candidate.collection, "old"),
    ]
    assert 1000 <= would.removed[0].size_bytes <= 64 << 10 and orphan.is_dir()
    assert (await prune(settings)).removed == would.removed
    assert there(settings) == {a.collection, b.collection}
    # The live one is the older of the two now, and still the one that stays.
    await roll_back(settings, ARM)
    assert [removed.name for removed in (await prune(settings, keep=1)).removed] == [b.collection]
    assert there(settings) == {a.collection}
    assert (await prune(settings, keep=1)).removed == []


_HOLD = """
import sys, pathlib, time
from model_jobs.publishing import arm_lock
with arm_lock(pathlib.Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    time.sleep(60)
"""


async def test_while_a_job_builds_an_arm_others_wait_and_prune_passes_it_over(settings: Settings) -> None:
    await versions(settings, 1)
    building = settings.vectors_dir / f".building-{ARM}-0123456789abcdef-17"
    building.mkdir()
    other = _holder(settings.vectors_dir)
    try:
        assert (await prune(settings)).busy == [ARM] and building.is_dir()
        with pytest.raises(ArmBusyError, match="another job builds minilm"), arm_lock(settings.vectors_dir, ARM):
            pass
        said: list[str] = []
        waiting = asyncio.create_task(
            build(settings, RandomVectors(ARM, seed=2), lambda what, done, steps: said.append(what))
        )
        while not said:
            await asyncio.sleep(0.01)
        assert said[0].startswith("waiting")
    finally:
        # kill -9: the lock ends with its process.
        other.kill()
        other.wait()
    assert (await waiting).outcome == "built"
    assert not building.exists()


def _holder(vectors_dir: Path) -> "subprocess.Popen[bytes]":
    other = subprocess.Popen([sys.executable, "-c", _HOLD, str(vectors_dir), ARM], stdout=subprocess.PIPE)
    assert other.stdout is not None
    poll(lambda: other.stdout.readline() == b"held\n", timeout=20, what="the other process has the lock")
    return other
