"""A listener's state, updated from the songs that changed instead of derived from all songs.

The result equals that of `contracts.derive.derive`; a property test compares the two. The cost is that of the change:
usually one song of 2,000.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from contracts.derive import ListenerState, derive
from contracts.registers import SERVED_IDENTITY, SERVED_SLICES, STARTED

AnimeOf = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Derived:
    """A listener's state, and what the next one is derived from.

    Attributes:
        songs, vetoes, anime_of: the inputs. Do not change them.
        counted: anime id -> the number of its settled songs; anime without any are absent.
    """

    songs: Mapping[str, bytes]
    vetoes: Mapping[str, bytes]
    anime_of: AnimeOf
    listener_state: ListenerState
    counted: Mapping[str, int]


class _Counts(NamedTuple):
    scores: dict[str, int]
    counted: dict[str, int]


class _SongState(NamedTuple):
    """What a song's own registers say, whatever the other songs are."""

    heard: bool
    liked: bool
    favoured: bool
    settled: bool
    started: bytes

    @classmethod
    def of(cls, packed: bytes) -> "_SongState":
        alone = derive({"": packed}, {}, {})
        started = packed[SERVED_SLICES["started"]]
        settled = bool(alone.settled) or started != STARTED.identity
        return cls(bool(alone.heard), bool(alone.liked), bool(alone.favoured), settled, started)


def derive_full(songs: Mapping[str, bytes], vetoes: Mapping[str, bytes], anime_of: AnimeOf) -> Derived:
    """Derive from everything; the arguments are those of `derive`."""
    listener_state = derive(songs, vetoes, anime_of)
    counted = Counter(anime for song in listener_state.settled for anime in anime_of.get(song, ()))
    return Derived(songs, vetoes, anime_of, listener_state, counted)


def derive_incrementally(
    before: Derived,
    songs: Mapping[str, bytes],
    vetoes: Mapping[str, bytes],
    changed_songs: Collection[str] | None = None,
) -> Derived:
    """Derive from what changed since `before`, with the same `anime_of`.

    A set of the state that did not change is the same object. `changed_songs`: every song that may
    have changed, if the caller knows; None compares all songs.
    """
    changed = _differing(before.songs, songs) if changed_songs is None else changed_songs
    if 2 * len(changed) > len(songs) or _latest_went_back(before, songs):
        return derive_full(songs, vetoes, before.anime_of)
    old = before.listener_state
    vetoed = old.vetoed
    if vetoes != before.vetoes:
        vetoed = frozenset(anime for anime, value in vetoes.items() if value[-1])
    listener_state = replace(old, vetoed=vetoed)
    if not changed:
        return replace(before, songs=songs, vetoes=vetoes, listener_state=listener_state)
    return _changed(before, listener_state, changed, songs, vetoes)


def _differing(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> list[str]:
    changed = [song for song, packed in new.items() if old.get(song) != packed]
    return [*changed, *(old.keys() - new.keys())]


def _latest_went_back(before: Derived, songs: Mapping[str, bytes]) -> bool:
    """Registers only rise, but a store may be emptied: then any other song may have been started last."""
    latest = before.listener_state.latest_started
    at = SERVED_SLICES["started"]
    return latest is not None and songs.get(latest, SERVED_IDENTITY)[at] < before.songs[latest][at]


def _changed(
    before: Derived,
    old: ListenerState,
    changed: Collection[str],
    songs: Mapping[str, bytes],
    vetoes: Mapping[str, bytes],
) -> Derived:
    now = {song: _SongState.of(songs.get(song, SERVED_IDENTITY)) for song in changed}
    latest = _latest(old.latest_started, songs, now)
    settled_now = {song: alone.settled for song, alone in now.items()}
    settled_now.update(
        (song, _settles(song, songs, latest)) for song in (old.latest_started, latest) if song is not None
    )
    settled = _with_changes(old.settled, settled_now)
    favoured = _with_changes(old.favoured, {song: alone.favoured for song, alone in now.items()})
    tally = _Counts(dict(old.favourability), dict(before.counted))
    touched = now.keys() | settled_now.keys()
    _count(tally, touched & old.settled, old.favoured, before.anime_of, -1)
    _count(tally, touched & settled, favoured, before.anime_of, 1)
    anime = {each for song in touched for each in before.anime_of.get(song, ())}
    for each in anime:
        if not tally.counted.get(each):
            tally.counted.pop(each, None)
            tally.scores.pop(each, None)
    listener_state = ListenerState(
        heard=_with_changes(old.heard, {song: alone.heard for song, alone in now.items()}),
        liked=_with_changes(old.liked, {song: alone.liked for song, alone in now.items()}),
        favoured=favoured,
        settled=settled,
        vetoed=old.vetoed,
        favourability=tally.scores,
        blacklisted=_with_changes(old.blacklisted, {each: tally.scores.get(each, 0) < 0 for each in anime}),
        latest_started=latest,
    )
    return Derived(songs, vetoes, before.anime_of, listener_state, tally.counted)


def _latest(before: str | None, songs: Mapping[str, bytes], now: Mapping[str, _SongState]) -> str | None:
    """The song that was started last; of two with the same register the higher id."""
    at = SERVED_SLICES["started"]
    found = [(alone.started, song) for song, alone in now.items() if alone.started != STARTED.identity]
    if before is not None:
        found.append((songs[before][at], before))
    return max(found)[1] if found else None


def _settles(song: str, songs: Mapping[str, bytes], latest: str | None) -> bool:
    """Whether a song counts for favourability. `latest`: the song that was started last."""
    packed = songs[song]
    alone = _SongState.of(packed)
    return alone.settled and (song != latest or any(packed[SERVED_SLICES["settled"]]))


def _with_changes(members: frozenset[str], belongs: Mapping[str, bool]) -> frozenset[str]:
    """The set with these members added or removed; the same object when nothing changes."""
    moves = {each for each, inside in belongs.items() if inside != (each in members)}
    return members ^ moves if moves else members


def _count(tally: _Counts, songs: Iterable[str], favoured: frozenset[str], anime_of: AnimeOf, sign: int) -> None:
    """Count settled songs in (`sign` 1) or out (-1)."""
    for song in songs:
        for anime in anime_of.get(song, ()):
            tally.counted[anime] = tally.counted.get(anime, 0) + sign
            tally.scores[anime] = tally.scores.get(anime, 0) + (sign if song in favoured else -sign)
