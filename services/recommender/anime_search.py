"""Finds anime by a part of any of their titles: romaji, English, Japanese."""

from collections.abc import Sequence

from contracts.catalogue import normalised
from services.recommender.catalogue_song import AnimeNames

_EXACT, _PREFIX, _INSIDE = range(3)
_UNRANKED = 1 << 30


class AnimeSearch:
    """Normalised substring search; whole titles first, then prefixes, then the others, each by popularity.

    `songs`: the number of songs of each anime, by the same index.
    """

    def __init__(self, anime: Sequence[AnimeNames], songs: Sequence[int]) -> None:
        self._order = sorted(range(len(anime)), key=lambda row: (anime[row].popularity or _UNRANKED, -songs[row]))
        self._titles = [_titles(anime[row]) for row in self._order]

    def find(self, query: str, limit: int) -> list[int]:
        """Anime rows, best first, at most `limit`. An empty query gives the most popular."""
        wanted = normalised(query)
        if not wanted:
            return self._order[:limit]
        ranked = sorted(
            (min(_rank(title, wanted) for title in titles if wanted in title), at)
            for at, titles in enumerate(self._titles)
            if any(wanted in title for title in titles)
        )
        return [self._order[at] for _, at in ranked[:limit]]


def _titles(anime: AnimeNames) -> tuple[str, ...]:
    named = (anime.title, anime.romaji, anime.english, anime.japanese)
    return tuple(dict.fromkeys(normalised(title) for title in named if title))


def _rank(title: str, wanted: str) -> int:
    if title == wanted:
        return _EXACT
    return _PREFIX if title.startswith(wanted) else _INSIDE
