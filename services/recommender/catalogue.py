"""The catalogue as arrays: one immutable snapshot that concurrent requests share.

A song is a row, in the order of song ids. A new snapshot replaces the old one as a whole.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count

import numpy as np
from numpy.typing import NDArray

from services.recommender.anime_search import AnimeSearch
from services.recommender.catalogue_song import AnimeNames, CatalogueSong

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
        entries: by row. `row_of`: song id or alias -> row.
        points: (n,) uint64, ids in the vector collections.
        anime: by anime row; `anime_row_of`: anime id or alias -> anime row.
        anime_of_song: rows of all anime in which a song appears; `songs_of_anime`: the inverse.
        by_popularity: rows; YouTube views descending, unknown last, then MAL popularity rank, then song id.
        serial: identifies the snapshot in this process.
    """

    songs: tuple[CatalogueSong, ...]
    row_of: Mapping[str, int]
    points: NDArray[np.uint64]
    anime: tuple[AnimeNames, ...]
    anime_row_of: Mapping[str, int]
    anime_of_song: Groups
    songs_of_anime: Groups
    by_popularity: Rows
    serial: int

    def __len__(self) -> int:
        return len(self.songs)

    @cached_property
    def anime_of(self) -> Mapping[str, Sequence[str]]:
        """Song id -> ids of all its anime, as `contracts.derive` needs them."""
        return {song.song_id: tuple(each.anime_id for each in song.anime) for song in self.songs}

    @cached_property
    def aliases(self) -> Mapping[str, str]:
        """Alias -> the id of the song that it means."""
        return {each: self.songs[row].song_id for each, row in self.row_of.items() if each != self.songs[row].song_id}

    @cached_property
    def anime_aliases(self) -> Mapping[str, str]:
        """Alias -> the id of the anime that it means."""
        return {
            each: self.anime[row].anime_id
            for each, row in self.anime_row_of.items()
            if each != self.anime[row].anime_id
        }

    def own_ids(self, song_ids: Iterable[str]) -> tuple[str, ...]:
        """The ids with aliases resolved; unknown ids are unchanged."""
        return tuple(self.aliases.get(each, each) for each in song_ids)

    @cached_property
    def by_youtube(self) -> Mapping[str, tuple[int, ...]]:
        """YouTube id -> rows, ascending; songs may share a video."""
        found: dict[str, list[int]] = {}
        for row, song in enumerate(self.songs):
            for video in song.youtube_ids:
                found.setdefault(video, []).append(row)
        return {video: tuple(rows) for video, rows in found.items()}

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
        """The row of each point id; -1 for a point outside the catalogue."""
        if not len(self.songs):
            return np.full(len(points), -1, dtype=np.int32)
        ordered, rows = self._points_sorted
        at = np.minimum(np.searchsorted(ordered, points), len(ordered) - 1)
        return np.where(ordered[at] == points, rows[at], np.int32(-1))

    def rows_of(self, song_ids: Iterable[str]) -> Rows:
        """The rows of those of the songs that are in the catalogue."""
        found = map(self.row_of.get, song_ids)
        return np.fromiter((row for row in found if row is not None), dtype=np.int32)

    def find(self, reference: str) -> CatalogueSong | None:
        """The song with this song id or alias, or else this YouTube id; of songs that share a video, the first."""
        return next(iter(self.find_all(reference)), None)

    def find_all(self, reference: str) -> tuple[CatalogueSong, ...]:
        """The song with this song id or alias, or else all songs with this YouTube id, ordered by id."""
        row = self.row_of.get(reference)
        rows = self.by_youtube.get(reference, ()) if row is None else (row,)
        return tuple(self.songs[each] for each in rows)

    def block_anime(self, mask: Mask, anime_row: int) -> None:
        """Set `mask` false for every song that appears in an anime."""
        mask[self.songs_of_anime.of(anime_row)] = False

    def block_with_its_anime(self, mask: Mask, row: int) -> None:
        """Set `mask` false for a song and for every song that shares an anime with it."""
        mask[row] = False
        for anime_row in self.anime_of_song.of(row):
            self.block_anime(mask, anime_row)

    def warm(self) -> "Catalogue":
        """Compute the cached properties now, so that no request waits for them."""
        _ = (
            self.anime_of,
            self.aliases,
            self.anime_aliases,
            self.by_youtube,
            self.by_mal_id,
            self.search,
            self._points_sorted,
        )
        return self


def build_catalogue(songs: Iterable[CatalogueSong]) -> Catalogue:
    """A snapshot of these songs (any order, ids unique)."""
    ordered = tuple(sorted(songs, key=lambda song: song.song_id))
    names = _anime_of(ordered)
    anime_row_of = _rows_by_id([(each.anime_id, each.aliases) for each in names])
    pairs = [(row, anime_row_of[each.anime_id]) for row, song in enumerate(ordered) for each in song.anime]
    song_rows, anime_rows = np.array(pairs, dtype=np.int32).reshape(-1, 2).T
    return Catalogue(
        songs=ordered,
        row_of=_rows_by_id([(song.song_id, song.aliases) for song in ordered]),
        points=np.array([song.point_id for song in ordered], dtype=np.uint64),
        anime=names,
        anime_row_of=anime_row_of,
        anime_of_song=Groups.of_pairs(song_rows, anime_rows, len(ordered)),
        songs_of_anime=Groups.of_pairs(anime_rows, song_rows, len(names)),
        by_popularity=_by_popularity(ordered),
        serial=next(_serials),
    )


def _anime_of(songs: Sequence[CatalogueSong]) -> tuple[AnimeNames, ...]:
    """Every anime once, ordered by id. Each song has a copy of its anime; an alias may be in only one of them."""
    anime: dict[str, AnimeNames] = {}
    for each in (each for song in songs for each in song.anime):
        known = anime.get(each.anime_id)
        both = () if known is None or known.aliases == each.aliases else known.aliases
        anime[each.anime_id] = replace(each, aliases=tuple(sorted({*each.aliases, *both}))) if both else each
    return tuple(anime[anime_id] for anime_id in sorted(anime))


def _rows_by_id(ids: Sequence[tuple[str, tuple[str, ...]]]) -> dict[str, int]:
    """Own ids and aliases -> row. An own id comes before an equal alias; of equal aliases the first counts."""
    rows = {own: row for row, (own, _) in enumerate(ids)}
    for row, (_, aliases) in enumerate(ids):
        for alias in aliases:
            rows.setdefault(alias, row)
    return rows


def _by_popularity(songs: Sequence[CatalogueSong]) -> Rows:
    """Songs are in the order of ids and sorting is stable, so the id decides last."""
    unknown = float("inf")

    def key(row: int) -> tuple[float, float]:
        song = songs[row]
        return (
            unknown if song.views is None else -float(song.views),
            unknown if song.rank is None else float(song.rank),
        )

    return np.array(sorted(range(len(songs)), key=key), dtype=np.int32)
