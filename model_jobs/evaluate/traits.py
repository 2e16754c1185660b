"""What songs have in common, as boolean matrices: who is relevant to whom.

A franchise is as much as the catalogue knows of one: anime that share a song, and anime whose titles agree up to a
subtitle after ": " or " - " and up to words like "2nd Season", "Movie", "OVA" or a numeral at the end.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from contracts.catalogue import Anime, Song, normalised
from model_jobs.evaluate.withhold import Field

_SUBTITLE: Final = re.compile(r"(: | - |! ).*$")
_SEQUEL: Final = re.compile(
    r"[\s(]+(the |\d+(st|nd|rd|th) )?(season|part|cour|series|movies?|film|gekijouban|ova|oad|ona|tv|specials?|final"
    r"|[ivx]+|\d{1,2})\)?$"
)
# A stem of fewer letters is a word that series of no relation begin with.
_STEM_LETTERS: Final = 4


def stem_of(title: str) -> str:
    """What a title shares with those of its sequels: normalised, without subtitle and sequel words at its end."""
    stem, cut = title.casefold().strip(), ""
    while stem != cut:
        cut, stem = stem, _SEQUEL.sub("", _SUBTITLE.sub("", stem)).strip()
    short = normalised(stem)
    return short if len(short) >= _STEM_LETTERS else normalised(title)


def franchises(songs: Sequence[Song]) -> dict[str, str]:
    """Anime id → franchise, named by one of its anime ids."""
    anime = {each.anime.anime_id: each.anime for song in songs for each in song.appearances}
    leader = {anime_id: anime_id for anime_id in anime}

    def lead(anime_id: str) -> str:
        while leader[anime_id] != anime_id:
            leader[anime_id] = leader[leader[anime_id]]
            anime_id = leader[anime_id]
        return anime_id

    for group in [*_sharing_a_song(songs), *_sharing_a_stem(anime.values())]:
        leaders = {lead(anime_id) for anime_id in group}
        first = min(leaders)
        for each in leaders:
            leader[each] = first
    return {anime_id: lead(anime_id) for anime_id in anime}


def _sharing_a_song(songs: Sequence[Song]) -> Iterable[Collection[str]]:
    return ({each.anime.anime_id for each in song.appearances} for song in songs if len(song.appearances) > 1)


def _sharing_a_stem(anime: Iterable[Anime]) -> Iterable[Collection[str]]:
    by_stem: dict[str, set[str]] = {}
    for each in anime:
        for title in (each.title, each.title_romaji, each.title_en):
            if title:
                by_stem.setdefault(stem_of(title), set()).add(each.anime_id)
    return by_stem.values()


def values_of(songs: Sequence[Song], field: Field | str) -> list[frozenset[str]]:
    """By song, what it has of a field, normalised; a song that has none shares it with no song.

    Beside the fields there are `anime` (ids) and `title` (equal titles: another version of the song, or its namesake).
    """
    series = franchises(songs) if field == "franchise" else {}
    return [frozenset(_values(song, field, series)) for song in songs]


def _values(song: Song, field: str, series: Mapping[str, str]) -> Iterable[str]:
    anime = [each.anime for each in song.appearances]
    if field == "franchise":
        return (series[each.anime_id] for each in anime)
    if field == "anime":
        return (each.anime_id for each in anime)
    if field == "title":
        return (normalised(song.title),)
    if field == "genres":
        return (normalised(genre) for each in anime for genre in each.genres)
    names = {"composer": song.credits.composition, "artist": song.credits.vocals, "tags": song.tags}[field]
    return (normalised(name) for name in names)


class Shared:
    """Which songs share a value of a field: a sparse boolean matrix (songs, values), asked block by block.

    Attributes:
        names: of the values, by column.
        matrix: scipy CSR of float32 ones, (songs, values).
    """

    def __init__(self, values: Sequence[Collection[str]]) -> None:
        self.names: list[str] = sorted(set().union(*values)) if values else []
        column = {name: number for number, name in enumerate(self.names)}
        columns = [column[name] for each in values for name in sorted(each)]
        starts = np.concatenate([[0], np.cumsum([len(each) for each in values])]).astype(np.int64)
        ones = np.ones(len(columns), dtype=np.float32)
        self.matrix: Any = scipy.sparse.csr_array((ones, columns, starts), shape=(len(values), len(self.names)))
        self._columns: Any = self.matrix.T.tocsr()

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(songs,): how many values a song has."""
        return np.asarray(np.diff(self.matrix.indptr), dtype=np.int64)

    def counts(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(rows, songs) float32: how many values each of `rows` shares with each song."""
        return np.asarray((self.matrix[rows] @ self._columns).toarray(), dtype=np.float32)

    def any(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(rows, songs) bool: whether they share a value."""
        return self.counts(rows) > 0

    def jaccard(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(rows, songs) float32: shared values by values of either; 0 where both have none."""
        both = self.counts(rows)
        either = self.sizes[rows][:, None] + self.sizes[None, :] - both
        return np.asarray(both / np.maximum(either, 1), dtype=np.float32)
