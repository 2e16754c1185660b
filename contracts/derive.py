"""What is derived from a profile's registers and never stored: favoured, settled, favourability, out of favour.

Works on packed values as stored (see `contracts.registers`), since comparing encoded bytes is comparing values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from contracts.registers import LIKED, SERVED_SLICES, SETTLED, STARTED, VETO, WATCHED

# More than half watched: progress in ppm is the first field of the watched register.
_HALF: Final = (500_000).to_bytes(4, "big")
_WATCHED, _STARTED, _SETTLED = SERVED_SLICES["watched"], SERVED_SLICES["started"], SERVED_SLICES["settled"]
_PPM: Final = slice(_WATCHED.start, _WATCHED.start + len(_HALF))
# The value is the last field of liked and of veto; a boolean, so the last byte.
_LIKED_VALUE: Final = SERVED_SLICES["liked"].stop - 1
assert LIKED.fields[-1] == VETO.fields[-1] == ("value", "B"), "liked and veto end with their value"


@dataclass(frozen=True)
class Standing:
    """What the system believes about a listener.

    Attributes:
        heard: songs that were watched, started or settled, however long.
        liked: songs whose last word was a like.
        favoured: liked, or more than half watched.
        settled: songs that count for favourability: settled, or started and not the latest started.
        vetoed: anime whose last word was a veto.
        favourability: anime id -> favoured - not favoured, over its settled songs; only anime with a settled song.
        out_of_favour: anime with a negative favourability.
        latest_started: the song that may still be playing; of two with the same register the higher id.
    """

    heard: frozenset[str]
    liked: frozenset[str]
    favoured: frozenset[str]
    settled: frozenset[str]
    vetoed: frozenset[str]
    favourability: dict[str, int]
    out_of_favour: frozenset[str]
    latest_started: str | None


def derive(songs: Mapping[str, bytes], vetoes: Mapping[str, bytes], anime_of: Mapping[str, Sequence[str]]) -> Standing:
    """Derive a listener's standing.

    Args:
        songs: song id -> packed SERVED registers.
        vetoes: anime id -> encoded veto register.
        anime_of: song id -> ids of its anime, each once; songs that the catalogue does not know may be missing.
    """
    latest = _latest_started(songs)
    heard, liked, favoured, settled = set(), set(), set(), set()
    for song, packed in songs.items():
        is_settled, was_started = packed[_SETTLED] > SETTLED.identity, packed[_STARTED] > STARTED.identity
        if is_settled or was_started or packed[_WATCHED] > WATCHED.identity:
            heard.add(song)
        if packed[_LIKED_VALUE]:
            liked.add(song)
            favoured.add(song)
        elif packed[_PPM] > _HALF:
            favoured.add(song)
        if is_settled or (was_started and song != latest):
            settled.add(song)
    scores = _favourability(settled, favoured, anime_of)
    return Standing(
        heard=frozenset(heard),
        liked=frozenset(liked),
        favoured=frozenset(favoured),
        settled=frozenset(settled),
        vetoed=frozenset(anime for anime, value in vetoes.items() if value[-1]),
        favourability=scores,
        out_of_favour=frozenset(anime for anime, score in scores.items() if score < 0),
        latest_started=latest,
    )


def _latest_started(songs: Mapping[str, bytes]) -> str | None:
    latest, when = None, STARTED.identity
    for song, packed in songs.items():
        started = packed[_STARTED]
        if started > when or (started == when and latest is not None and song > latest):
            latest, when = song, started
    return latest


def _favourability(settled: set[str], favoured: set[str], anime_of: Mapping[str, Sequence[str]]) -> dict[str, int]:
    scores: dict[str, int] = {}
    for song in settled:
        change = 1 if song in favoured else -1
        for anime in anime_of.get(song, ()):
            scores[anime] = scores.get(anime, 0) + change
    return scores
