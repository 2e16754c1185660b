"""Generations of profiles for an operator: list them with their lag, and prune them."""

from collections.abc import Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from contracts.placement import SHARDS, shard_tag
from services.common.settings import KafkaSettings
from services.operator.readers.log import offsets
from services.operator.readers.redis import ProfilesReader
from services.operator.replay.lease import holder
from services.operator.status.stores import FOLLOWED
from services.profiles.generations import Generation, Generations

_KEYS_A_CALL = 1_000


@dataclass(frozen=True)
class Listed:
    """One generation. `behind`: records of the log that it does not reflect, of what it should hold."""

    name: str
    noted: Generation
    live: bool
    former: bool
    behind: int


async def listed(settings: KafkaSettings, redis: Redis) -> list[Listed]:
    """All generations, the live one first, then by the time when they were last live or made."""
    generations = Generations(redis)
    known, live = await generations.known(), await generations.live()
    log, back = await offsets(settings, FOLLOWED["profiles"]), former(known, live)
    found = [
        Listed(name, noted, name == live, name == back, log.behind(await ProfilesReader(redis, name).marks(log)))
        for name, noted in known.items()
    ]
    return sorted(found, key=lambda one: (not one.live, -(one.noted.live_until or one.noted.made_at)))


def former(known: dict[str, Generation], live: str) -> str | None:
    """The generation that was live before this one; None when there is none."""
    times = {name: noted.live_until for name, noted in known.items() if noted.live_until and name != live}
    return max(times, key=lambda name: times[name] or 0, default=None)


async def former_generation(redis: Redis) -> str:
    """Where `rollback` goes. Raises LookupError when no generation was live before."""
    generations = Generations(redis)
    live = await generations.live()
    back = former(await generations.known(), live)
    if back is None:
        raise LookupError(f"no generation was live before {live}; `animusic generations list` lists them")
    return back


async def prune(redis: Redis, names: Sequence[str], *, all_of_them: bool) -> dict[str, int]:
    """Delete generations; name -> keys deleted. Without names: all but the live one and its former (`all_of_them`).

    Raises ValueError for the live one and one that a rebuild writes just now, LookupError for one that is not there.
    """
    generations = Generations(redis)
    known, live = await generations.known(), await generations.live()
    kept = {live} | (set() if all_of_them else {former(known, live)})
    now = await holder(redis)
    if now is not None:
        kept.add(now.generation)
    for name in names:
        if name == live:
            raise ValueError(f"generation {name} is live; switch to another one first")
        if now is not None and name == now.generation:
            raise ValueError(f"generation {name} is being written: {now}")
        if name not in known:
            raise LookupError(f"there is no generation {name}; `animusic generations list` lists them")
    gone = names or sorted(known.keys() - kept)
    return {name: await _delete(redis, generations, name) for name in gone}


async def _delete(redis: Redis, generations: Generations, name: str) -> int:
    """Delete the marks first: after a crash the rest is not read, and a new generation of this name has no marks."""
    found: list[str | bytes] = [f"am:{shard_tag(shard)}:{name}:marks" for shard in range(SHARDS)]
    deleted: int = await redis.unlink(*found)
    found.clear()
    async for key in redis.scan_iter(match=f"am:{{s??}}:{name}:*", count=2_000):
        found.append(key)
        if len(found) >= _KEYS_A_CALL:
            deleted += await redis.unlink(*found)
            found.clear()
    if found:
        deleted += await redis.unlink(*found)
    await generations.forget(name)
    return deleted
