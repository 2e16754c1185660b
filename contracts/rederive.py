"""What is derived from a profile, brought up to date from the songs that changed instead of from all of them.

`contracts.derive.derive` is the law; `derive_again` gives what it gives (a property test holds them together) at the
cost of the change: of 2,000 songs usually one did.
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
        songs, vetoes, anime_of: what it was derived from. Not to be changed.
        counted: anime id -> its settled songs, wherever there are any.
    """

    songs: Mapping[str, bytes]
    vetoes: Mapping[str, bytes]
    anime_of: AnimeOf
    listener_state: ListenerState
    counted: Mapping[str, int]


class _Tally(NamedTuple):
    scores: dict[str, int]
    counted: dict[str, int]


class _Alone(NamedTuple):
    """What a song is, whatever the others are: the same as in a profile that has no other."""

    heard: bool
    liked: bool
    favoured: bool
    settled: bool
    started: bytes

    @classmethod
    def of(cls, packed: bytes) -> "_Alone":
        alone = derive({"": packed}, {}, {})
        started = packed[SERVED_SLICES["started"]]
        settled = bool(alone.settled) or started != STARTED.identity
        return cls(bool(alone.heard), bool(alone.liked), bool(alone.favoured), settled, started)


def derive_anew(songs: Mapping[str, bytes], vetoes: Mapping[str, bytes], anime_of: AnimeOf) -> Derived:
    """Derive from everything; the arguments are those of `derive`."""
    listener_state = derive(songs, vetoes, anime_of)
    counted = Counter(anime for song in listener_state.settled for anime in anime_of.get(song, ()))
    return Derived(songs, vetoes, anime_of, listener_state, counted)


def derive_again(
    before: Derived, songs: Mapping[str, bytes], vetoes: Mapping[str, bytes], moved: Collection[str] | None = None
) -> Derived:
    """Derive from what changed since `before`, with the same `anime_of`.

    A set of the state that did not change is the same object. `moved`: all songs that may have changed, where the
    caller knows them; looked for otherwise.
    """
    changed = _differing(before.songs, songs) if moved is None else moved
    if 2 * len(changed) > len(songs) or _latest_went_back(before, songs):
        return derive_anew(songs, vetoes, before.anime_of)
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
    """Registers only rise, but a store may be wiped: then any other song may have been started last."""
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
    now = {song: _Alone.of(songs.get(song, SERVED_IDENTITY)) for song in changed}
    latest = _latest(old.latest_started, songs, now)
    settled_now = {song: alone.settled for song, alone in now.items()}
    settled_now.update(
        (song, _settles(song, songs, latest)) for song in (old.latest_started, latest) if song is not None
    )
    settled = _moved(old.settled, settled_now)
    favoured = _moved(old.favoured, {song: alone.favoured for song, alone in now.items()})
    tally = _Tally(dict(old.favourability), dict(before.counted))
    touched = now.keys() | settled_now.keys()
    _count(tally, touched & old.settled, old.favoured, before.anime_of, -1)
    _count(tally, touched & settled, favoured, before.anime_of, 1)
    anime = {each for song in touched for each in before.anime_of.get(song, ())}
    for each in anime:
        if not tally.counted.get(each):
            tally.counted.pop(each, None)
            tally.scores.pop(each, None)
    listener_state = ListenerState(
        heard=_moved(old.heard, {song: alone.heard for song, alone in now.items()}),
        liked=_moved(old.liked, {song: alone.liked for song, alone in now.items()}),
        favoured=favoured,
        settled=settled,
        vetoed=old.vetoed,
        favourability=tally.scores,
        blacklisted=_moved(old.blacklisted, {each: tally.scores.get(each, 0) < 0 for each in anime}),
        latest_started=latest,
    )
    return Derived(songs, vetoes, before.anime_of, listener_state, tally.counted)


def _latest(before: str | None, songs: Mapping[str, bytes], now: Mapping[str, _Alone]) -> str | None:
    """The song that was started last; of two with the same register the higher id."""
    at = SERVED_SLICES["started"]
    found = [(alone.started, song) for song, alone in now.items() if alone.started != STARTED.identity]
    if before is not None:
        found.append((songs[before][at], before))
    return max(found)[1] if found else None


def _settles(song: str, songs: Mapping[str, bytes], latest: str | None) -> bool:
    """Whether a song counts for favourability, the latest started one known."""
    packed = songs[song]
    alone = _Alone.of(packed)
    return alone.settled and (song != latest or any(packed[SERVED_SLICES["settled"]]))


def _moved(members: frozenset[str], belongs: Mapping[str, bool]) -> frozenset[str]:
    """The set after these have joined it or left it; the same object where none did."""
    moves = {each for each, inside in belongs.items() if inside != (each in members)}
    return members ^ moves if moves else members


def _count(tally: _Tally, songs: Iterable[str], favoured: frozenset[str], anime_of: AnimeOf, sign: int) -> None:
    """Count settled songs in (`sign` 1) or out (-1)."""
    for song in songs:
        for anime in anime_of.get(song, ()):
            tally.counted[anime] = tally.counted.get(anime, 0) + sign
            tally.scores[anime] = tally.scores.get(anime, 0) + (sign if song in favoured else -sign)
