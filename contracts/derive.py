"""What is derived from a profile's registers and never stored: favoured, settled, favourability, blacklisted anime.

Works on packed values as stored (see `contracts.registers`), because encoded bytes compare as values do.
It unpacks all songs of a profile in one call, because it runs for every playlist.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from contracts.registers import LIKED, SERVED, SERVED_WIDTH, SETTLED, STARTED, VETO, WATCHED

# More than half watched: progress in ppm is the first field of the watched register.
_HALF: Final = (500_000).to_bytes(4, "big")
_NO_PROGRESS: Final = bytes(len(_HALF))
_NO_LENGTHS: Final = bytes(WATCHED.width - len(_HALF))
_NOT_STARTED, _NOT_SETTLED = STARTED.identity, SETTLED.identity
# watched: progress, the two lengths; liked: only its value, the last byte; started; settled
_PACKED: Final = struct.Struct(f">4s{len(_NO_LENGTHS)}s{LIKED.width - 1}xB{STARTED.width}s{SETTLED.width}s")
assert SERVED == (WATCHED, LIKED, STARTED, SETTLED), "_PACKED reads these registers, in this order"
assert _PACKED.size == SERVED_WIDTH
assert LIKED.fields[-1] == VETO.fields[-1] == ("value", "B"), "liked and veto end with their value"


@dataclass(frozen=True)
class ListenerState:
    """What follows from a listener's registers.

    Attributes:
        heard: songs that were watched, started or settled, for any length of time.
        liked: songs whose latest like or unlike is a like.
        favoured: liked, or more than half watched.
        settled: songs that count for favourability: settled, or started and not the latest started.
        vetoed: anime whose latest veto or unveto is a veto.
        favourability: anime id -> favoured - not favoured, over its settled songs; only anime with a settled song.
        blacklisted: anime with a negative favourability.
        latest_started: the song that may still be playing; of two with the same register the higher id.
    """

    heard: frozenset[str]
    liked: frozenset[str]
    favoured: frozenset[str]
    settled: frozenset[str]
    vetoed: frozenset[str]
    favourability: dict[str, int]
    blacklisted: frozenset[str]
    latest_started: str | None


def derive(
    songs: Mapping[str, bytes], vetoes: Mapping[str, bytes], anime_of: Mapping[str, Sequence[str]]
) -> ListenerState:
    """Derive the state of a listener from the registers.

    Args:
        songs: song id -> packed SERVED registers.
        vetoes: anime id -> encoded veto register.
        anime_of: song id -> ids of its anime, each once; songs outside the catalogue may be missing.
    """
    heard, liked, favoured, settled = set(), set(), set(), set()
    latest, latest_when, latest_is_settled = None, _NOT_STARTED, False
    rows = _PACKED.iter_unpack(b"".join(songs.values()))
    for song, (progress, lengths, value, started, finished) in zip(songs, rows, strict=True):
        is_settled, was_started = finished != _NOT_SETTLED, started != _NOT_STARTED
        if is_settled or was_started:
            settled.add(song)
        elif progress != _NO_PROGRESS or lengths != _NO_LENGTHS:
            heard.add(song)
        if value:
            liked.add(song)
        elif progress > _HALF:
            favoured.add(song)
        if was_started and (started > latest_when or (started == latest_when and song > (latest or ""))):
            latest, latest_when, latest_is_settled = song, started, is_settled
    heard |= settled
    favoured |= liked
    if latest is not None and not latest_is_settled:
        settled.discard(latest)
    scores = _favourability(settled, favoured, anime_of)
    return ListenerState(
        heard=frozenset(heard),
        liked=frozenset(liked),
        favoured=frozenset(favoured),
        settled=frozenset(settled),
        vetoed=frozenset(anime for anime, value in vetoes.items() if value[-1]),
        favourability=scores,
        blacklisted=frozenset(anime for anime, score in scores.items() if score < 0),
        latest_started=latest,
    )


def _favourability(settled: set[str], favoured: set[str], anime_of: Mapping[str, Sequence[str]]) -> dict[str, int]:
    scores: dict[str, int] = {}
    for songs, change in ((settled & favoured, 1), (settled - favoured, -1)):
        for song in songs:
            for anime in anime_of.get(song, ()):
                scores[anime] = scores.get(anime, 0) + change
    return scores
