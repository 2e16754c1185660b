"""Finds pairs of songs that may be one song."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from collectors.likeness import anime_ids, likeness
from contracts.catalogue import Song, normalised


@dataclass(frozen=True)
class Doubt:
    """Two songs that may be one, and why."""

    one: Song
    other: Song
    reason: str


def doubtful(songs: Collection[Song], about: Collection[str] | None = None) -> list[Doubt]:
    """Songs of one catalogue that may be one, each pair once, ordered by their ids.

    `about`: only pairs with one of these ids; all where it is None.
    """
    index = Candidates(songs)
    asked = [song for song in songs if about is None or song.song_id in about]
    found: dict[tuple[str, str], Doubt] = {}
    for song in asked:
        for other in index.of(song):
            one, two = sorted((song, other), key=lambda each: each.song_id)
            if (one.song_id, two.song_id) not in found and (verdict := likeness(one, two)).likeness != "apart":
                found[one.song_id, two.song_id] = Doubt(one, two, verdict.reason)
    return [found[pair] for pair in sorted(found)]


class Candidates:
    """Songs that are worth comparing with another: of its anime, with its video, or with its title."""

    def __init__(self, songs: Iterable[Song]) -> None:
        self._by_key: dict[object, list[Song]] = defaultdict(list)
        for song in songs:
            for key in _likeness_keys(song):
                self._by_key[key].append(song)

    def of(self, song: Song) -> list[Song]:
        """Ordered by id; the song itself is not among them."""
        found = {other.song_id: other for key in _likeness_keys(song) for other in self._by_key.get(key, ())}
        return [found[each] for each in sorted(found) if each != song.song_id]


def _likeness_keys(song: Song) -> set[tuple[str, str]]:
    keys = {("anime", each) for use in song.appearances for each in anime_ids(use.anime)}
    keys |= {(link.site, link.id) for link in song.links}
    return keys | {("title", normalised(song.title))} | ({("anidb", str(song.anidb))} if song.anidb else set())
