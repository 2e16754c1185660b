"""The catalogue as arrays: one immutable snapshot that every request of a moment shares.

A song is a row, in the order of song ids. A snapshot is built beside the old one and swapped in whole.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count

import numpy as np
from numpy.typing import NDArray

from services.recommender.anime_search import AnimeSearch
from services.recommender.entries import AnimeNames, Entry

Rows = NDArray[np.int32]
Mask = NDArray[np.bool_]

_serials = count(1)


@dataclass(frozen=True)
class Groups:
    """Members by group, one flat array: group g has `members[starts[g]:starts[g + 1]]`."""

    starts: NDArray[np.int64]
    members: Rows

    def of(self, group: int) -> Rows:
        """The members of one group, ascending; a view."""
        return self.members[self.starts[group] : self.starts[group + 1]]

    @classmethod
    def of_pairs(cls, groups: Rows, members: Rows, n_groups: int) -> "Groups":
        """From (group, member) pairs in any order."""
        order = np.lexsort((members, groups))
        starts = np.searchsorted(groups[order], np.arange(n_groups + 1))
        return cls(starts.astype(np.int64), members[order])


@dataclass(frozen=True)
class Catalogue:
    """Songs as rows.

    Attributes:
        entries: by row. `row_of`: song id -> row.
        points: (n,) uint64, ids in the vector collections.
        anime: by anime row; `anime_row_of`: anime id -> anime row.
        anime_of_song: rows of all anime in which a song appears; `songs_of_anime`: the inverse.
        by_popularity: rows; YouTube views descending, unknown last, then MAL popularity rank, then song id.
        serial: tells snapshots of this process apart.
    """

    entries: tuple[Entry, ...]
    row_of: Mapping[str, int]
    points: NDArray[np.uint64]
    anime: tuple[AnimeNames, ...]
    anime_row_of: Mapping[str, int]
    anime_of_song: Groups
    songs_of_anime: Groups
    by_popularity: Rows
    serial: int

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def anime_of(self) -> Mapping[str, Sequence[str]]:
        """Song id -> ids of all its anime, as the derived profile wants it."""
        return {entry.song_id: tuple(each.anime_id for each in entry.anime) for entry in self.entries}

    @cached_property
    def by_youtube(self) -> Mapping[str, int]:
        """YouTube id -> row; where several songs share a video, the first by song id."""
        pairs = [(link, row) for row, entry in enumerate(self.entries) for link in entry.youtube_ids]
        return dict(reversed(pairs))

    @cached_property
    def by_mal_id(self) -> Mapping[int, int]:
        """MyAnimeList id -> anime row."""
        return {each.mal_id: row for row, each in enumerate(self.anime) if each.mal_id is not None}

    @cached_property
    def search(self) -> AnimeSearch:
        """The index of anime titles."""
        return AnimeSearch(self.anime, np.diff(self.songs_of_anime.starts).tolist())

    @cached_property
    def _points_sorted(self) -> tuple[NDArray[np.uint64], Rows]:
        order = np.argsort(self.points).astype(np.int32)
        return self.points[order], order

    def rows_of_points(self, points: NDArray[np.uint64]) -> Rows:
        """The row of each point id; -1 for a point of no song here."""
        if not len(self.entries):
            return np.full(len(points), -1, dtype=np.int32)
        ordered, rows = self._points_sorted
        at = np.minimum(np.searchsorted(ordered, points), len(ordered) - 1)
        return np.where(ordered[at] == points, rows[at], np.int32(-1))

    def rows_of(self, song_ids: Iterable[str]) -> Rows:
        """The rows of those of the songs that are in the catalogue."""
        found = map(self.row_of.get, song_ids)
        return np.fromiter((row for row in found if row is not None), dtype=np.int32)

    def find(self, reference: str) -> Entry | None:
        """The song with this song id, or else this YouTube id."""
        row = self.row_of.get(reference, self.by_youtube.get(reference))
        return None if row is None else self.entries[row]

    def block_anime(self, mask: Mask, anime_row: int) -> None:
        """Set `mask` false for every song that appears in an anime."""
        mask[self.songs_of_anime.of(anime_row)] = False

    def block_with_its_anime(self, mask: Mask, row: int) -> None:
        """Set `mask` false for a song and for every song that shares an anime with it."""
        mask[row] = False
        for anime_row in self.anime_of_song.of(row):
            self.block_anime(mask, anime_row)

    def warm(self) -> "Catalogue":
        """Build what is built on first use, so that no request pays for it."""
        _ = self.anime_of, self.by_youtube, self.by_mal_id, self.search, self._points_sorted
        return self


def build_catalogue(songs: Iterable[Entry]) -> Catalogue:
    """A snapshot of these songs (any order, ids unique)."""
    entries = tuple(sorted(songs, key=lambda entry: entry.song_id))
    anime = {each.anime_id: each for entry in entries for each in entry.anime}
    names = tuple(anime[anime_id] for anime_id in sorted(anime))
    anime_row_of = {each.anime_id: row for row, each in enumerate(names)}
    pairs = [(row, anime_row_of[each.anime_id]) for row, entry in enumerate(entries) for each in entry.anime]
    song_rows, anime_rows = np.array(pairs, dtype=np.int32).reshape(-1, 2).T
    return Catalogue(
        entries=entries,
        row_of={entry.song_id: row for row, entry in enumerate(entries)},
        points=np.array([entry.point_id for entry in entries], dtype=np.uint64),
        anime=names,
        anime_row_of=anime_row_of,
        anime_of_song=Groups.of_pairs(song_rows, anime_rows, len(entries)),
        songs_of_anime=Groups.of_pairs(anime_rows, song_rows, len(names)),
        by_popularity=_by_popularity(entries),
        serial=next(_serials),
    )


def _by_popularity(entries: Sequence[Entry]) -> Rows:
    """Entries come in the order of ids, and sorting is stable: the id decides last."""
    unknown = float("inf")

    def key(row: int) -> tuple[float, float]:
        entry = entries[row]
        return (
            unknown if entry.views is None else -float(entry.views),
            unknown if entry.rank is None else float(entry.rank),
        )

    return np.array(sorted(range(len(entries)), key=key), dtype=np.int32)
