"""Reads profiles. The recommender may import this module of `profiles` only.

A read is one script call. Parts that have not changed since the last read are neither sent nor decoded again: `songs`,
`vetoes` and `anime_list` of two profiles with the same `version` are the same objects, so derived values can be cached.
"""

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from redis.asyncio import Redis

from contracts.marks import MarkName
from contracts.placement import SHARDS
from contracts.playlists import ServedPlaylist
from contracts.profiles import AnimeEntry
from services.common.byte_cache import ByteCache
from services.profiles.decoding import HistoryEntry, ProfileState, decode_changes, decode_history, decode_state
from services.profiles.keys import FIRST_GENERATION, LIVE, ShardKeys
from services.profiles.scripts import READ

__all__ = ["HistoryEntry", "ProfileReader", "Reached", "StoredProfile", "empty_profile"]

_POINTER_SECONDS = 1.0
_FIRST_POLL_SECONDS = 0.001
_LONGEST_POLL_SECONDS = 0.010


@dataclass(frozen=True)
class StoredProfile:
    """A profile as it was at one moment.

    Attributes:
        state: everything that `version` names.
        marks: name of a mark (`topic id/partition`) -> mark, of the user's shard; every record before it is reflected.
        history: playlists served to the user, newest last, at most 40.
    """

    state: ProfileState
    marks: dict[str, int]
    history: tuple[HistoryEntry, ...]

    @property
    def user_id(self) -> str:
        return self.state.user_id

    @property
    def generation(self) -> str:
        return self.state.generation

    @property
    def version(self) -> bytes:
        """Changes with songs, vetoes and anime list; empty for an unknown user."""
        return self.state.version

    @property
    def songs(self) -> dict[str, bytes]:
        """Song id -> packed SERVED registers (contracts.registers). Not to be changed."""
        return self.state.songs

    @property
    def vetoes(self) -> dict[str, bytes]:
        """Anime id -> encoded veto register. Not to be changed."""
        return self.state.vetoes

    @property
    def anime_list(self) -> tuple[AnimeEntry, ...]:
        return self.state.anime_list

    @property
    def digest(self) -> str:
        """contracts.fold.user_digest of the stored fields, 32 hex digits."""
        return self.state.digest

    def moved_since(self, state: object) -> Collection[str] | None:
        """The songs that may differ from those of an older state; None if unknown."""
        new = self.state
        if not isinstance(state, ProfileState) or not new.moved_from or state.version != new.moved_from:
            return None
        return new.moved if (state.user_id, state.generation) == (new.user_id, new.generation) else None


def empty_profile(user_id: str) -> StoredProfile:
    """The profile of an unknown user, or of one whose profile cannot be read now."""
    return StoredProfile(decode_state(user_id, "", b"", [], None), {}, ())


class Reached(NamedTuple):
    """Whether the profile reflects a record, the last mark that was read (0: none), and the wait in ms."""

    reached: bool
    mark: int
    waited_ms: float


class _Cached(NamedTuple):
    state: ProfileState
    history_version: bytes
    history: tuple[HistoryEntry, ...]

    def size(self) -> int:
        """Its memory in bytes, about: a song's key, registers and place in the dictionary take 210."""
        songs, vetoes, stored_list = self.state.content
        return 1_000 + 210 * (len(songs) + len(vetoes)) + 8 * len(stored_list) + 700 * len(self.history)


class ProfileReader:
    """Reads the live generation. `cache_bytes`: memory for decoded profiles.

    Every method may raise redis.exceptions.RedisError.
    """

    def __init__(self, redis: Redis, *, cache_bytes: int) -> None:
        self._redis = redis
        self._cache: ByteCache[str, _Cached] = ByteCache("profiles", cache_bytes, _Cached.size)
        self._read = redis.register_script(READ)
        self._generation = FIRST_GENERATION
        self._pointer_read_at = float("-inf")

    async def generation(self, *, now: bool = False) -> str:
        """The live generation; read at most once a second, or at once with `now=True`."""
        if now or time.monotonic() - self._pointer_read_at > _POINTER_SECONDS:
            found: Any = await self._redis.get(LIVE)
            self._generation = FIRST_GENERATION if found is None else str(found, "ascii")
            self._pointer_read_at = time.monotonic()
        return self._generation

    async def read(self, user_id: str) -> StoredProfile:
        """The current profile of a user; empty for an unknown user."""
        generation = await self.generation()
        known = self._cache.get(user_id)
        if known is not None and known.state.generation != generation:
            known = None
        keys = ShardKeys.of_user(generation, user_id)
        versions = (known.state.version, known.history_version) if known else (b"", b"")
        answer: Any = await self._read(keys=[keys.user(user_id), keys.history(user_id), keys.marks], args=versions)
        fresh = _renew(known, user_id, generation, answer)
        self._cache.put(user_id, fresh)
        marks = {name.decode(): int(mark) for name, mark in _pairs(answer[5])}
        return StoredProfile(fresh.state, marks, fresh.history)

    async def wait_for(self, user_id: str, mark: MarkName, offset: int, timeout_ms: int) -> Reached:
        """Wait until the user's profile reflects the record at `offset`, at most `timeout_ms`."""
        began = time.perf_counter()
        key = ShardKeys.of_user(await self.generation(), user_id).marks
        pause = _FIRST_POLL_SECONDS
        while True:
            found = int(await self._redis.hget(key, mark.field()) or 0)
            waited = (time.perf_counter() - began) * 1e3
            if found > offset or waited >= timeout_ms:
                return Reached(found > offset, found, waited)
            await asyncio.sleep(min(pause, (timeout_ms - waited) / 1e3))
            pause = min(pause * 1.5, _LONGEST_POLL_SECONDS)

    async def read_at(
        self, user_id: str, mark: MarkName, offset: int, timeout_ms: int
    ) -> tuple[StoredProfile, Reached]:
        """The profile that reflects the record at `offset`, or the current one when `timeout_ms` has passed.

        The mark is that of the profile itself: another generation may go live after `wait_for`, and be a little behind.
        """
        began, left = time.perf_counter(), float(timeout_ms)
        while True:
            await self.wait_for(user_id, mark, offset, int(left))
            profile = await self.read(user_id)
            found, waited = profile.marks.get(mark.field(), 0), (time.perf_counter() - began) * 1e3
            left = timeout_ms - waited
            if found > offset or left <= 0:
                return profile, Reached(found > offset, found, waited)

    async def marks(self) -> list[dict[str, int]]:
        """Shard -> name of a mark -> mark, of the live generation."""
        generation = await self.generation()
        pipe = self._redis.pipeline(transaction=False)
        for shard in range(SHARDS):
            pipe.hgetall(ShardKeys.of(generation, shard).marks)
        return [{name.decode(): int(mark) for name, mark in found.items()} for found in await pipe.execute()]

    async def playlist(self, user_id: str, playlist_id: object) -> ServedPlaylist | None:
        """The newest revision of a playlist that was served to this user; None if it does not exist (any more)."""
        keys = ShardKeys.of_user(await self.generation(), user_id)
        value: Any = await self._redis.get(keys.playlist(str(playlist_id)))
        if value is None:
            return None
        playlist = ServedPlaylist.model_validate_json(value[2:])
        return playlist if playlist.user_id == user_id else None


def _renew(known: _Cached | None, user_id: str, generation: str, answer: Any) -> _Cached:
    """What the cache holds after an answer of the script: cached parts where the script sent nothing new."""
    version, partial, fields, history_version, history, _ = answer
    if known is not None and fields is None and history is None:
        return known
    if known is not None and fields is None:
        state = known.state
    elif known is not None and partial:
        state = decode_changes(known.state, version, fields)
    else:
        state = decode_state(user_id, generation, version, fields or [], known.state if known else None)
    if known is not None and history is None:
        return _Cached(state, known.history_version, known.history)
    return _Cached(state, history_version, decode_history(history or []))


def _pairs(flat: list[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(flat[::2], flat[1::2], strict=True))
