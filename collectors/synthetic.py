"""A made-up catalogue with the shape of the original: 14,885 songs of 1,235 anime.

Every anime belongs to a taste cluster, from which its tags, genres, artists and composers mostly come; how often an
artist or a composer is asked follows Zipf's law; views are log-normal and unknown for two in five. A seed and a size
give one catalogue. Nothing in it is real, and it says so: titles and names read "made up", each song is marked
`made_up`, MyAnimeList's ids lie far above the real ones, and a link's id is no YouTube id.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.catalogue import Anime, Appearance, Credits, Link, Song

SONGS: Final = 14_885
ANIME: Final = 1_235
CLUSTERS: Final = 24
SMALLEST: Final = 50

_FIRST_MAL_ID: Final = 900_000_000
_STUDIO: Final = "Made-up Studio "
_RELATIONS: Final = ("opening", "ending", "insert song")
_GENRES: Final = (
    ("Action", "Shounen"), ("Romance", "Drama"), ("Comedy", "Slice of Life"), ("Sci-Fi", "Mecha"),
    ("Fantasy", "Adventure"), ("Horror", "Mystery"), ("Sports", "School"), ("Music", "Idol"),
)  # fmt: skip
_TAGS: Final = (
    "amber", "basalt", "cedar", "dawn", "ember", "fjord", "garnet", "harbor", "indigo", "juniper", "krill", "lake",
    "meadow", "nectar", "opal", "prairie", "quartz", "rowan", "saffron", "tundra", "umber", "violet", "wheat", "yarrow",
)  # fmt: skip
_WORDS: Final = (
    "Blue", "Clear", "Distant", "Endless", "Early", "Gentle", "Hidden", "Inner", "Late", "Little", "Lonely", "Morning",
    "Paper", "Quiet", "Red", "Second", "Silent", "Silver", "Summer", "Winter",
)  # fmt: skip
_THINGS: Final = (
    "Bridge", "Circle", "Door", "Echo", "Flight", "Garden", "Heart", "Island", "Journey", "Kite", "Letter", "Mirror",
    "Night", "Ocean", "Parade", "Rain", "Sky", "Song", "Star", "Train",
)  # fmt: skip
_SYLLABLES: Final = tuple(consonant + vowel for consonant in "bdfghjkmnprstwyz" for vowel in "aeiou")
_NAMES: Final = len(_SYLLABLES) ** 3
# What a name is given to; each has 100,000 names of its own, so that a singer shares no word with a composer.
_SINGER, _COMPOSER, _LYRICIST, _ARRANGER, _ANIME = range(5)


def synthetic_songs(songs: int = SONGS, seed: int = 0) -> list[Song]:
    """`songs` made-up songs, ordered by song id. Raises ValueError below 50: too few for clusters of taste."""
    if songs < SMALLEST:
        raise ValueError(f"a synthetic catalogue needs at least {SMALLEST} songs, not {songs}")
    maker = _Maker(_Shape(songs), np.random.default_rng([seed, 1]))
    return [maker.song(number) for number in range(songs)]


def cluster_of(song: Song) -> int:
    """The taste cluster of a synthetic song, in [0, CLUSTERS). Raises ValueError for a song that is not from here."""
    studio = next(iter(song.anime.studios), "")
    if not song.made_up or not studio.startswith(_STUDIO):
        raise ValueError(f"{song.song_id} is not a song of the synthetic catalogue")
    return int(studio.removeprefix(_STUDIO)) - 1


def _name(role: int, number: int) -> str:
    """A unique word: 7919 has no factor in common with the number of names."""
    rest, parts = (role * 100_000 + number) * 7_919 % _NAMES, []
    for _ in range(3):
        rest, syllable = divmod(rest, len(_SYLLABLES))
        parts.append(_SYLLABLES[syllable])
    return "".join(parts).capitalize()


@dataclass(frozen=True)
class _Shape:
    """How many of each there are in a catalogue of a given size; at 14,885 songs: 1,235 anime, 2,600 artists …"""

    songs: int

    def _scaled(self, at_full_size: int) -> int:
        return max(CLUSTERS, round(at_full_size * self.songs / SONGS))

    @property
    def anime(self) -> int:
        return min(self.songs, self._scaled(ANIME))

    @property
    def artists(self) -> int:
        return self._scaled(2_600)

    @property
    def composers(self) -> int:
        return self._scaled(1_300)


class _Maker:
    """Draws everything up front as arrays, so that one song costs a few look-ups."""

    def __init__(self, shape: _Shape, rng: np.random.Generator) -> None:
        self._rng, self._shape = rng, shape
        self._anime_cluster = rng.integers(0, CLUSTERS, shape.anime)
        self._popularity = rng.permutation(shape.anime) + 1
        self._score = np.round(np.clip(rng.normal(7.4, 0.6, shape.anime), 4.5, 9.3), 2)
        self._anime_of = self._songs_to_anime()
        self._cluster = self._anime_cluster[self._anime_of]
        self._singer = self._people(shape.artists, 1.05)
        self._composer, self._lyricist, self._arranger = (self._people(shape.composers, 1.1) for _ in range(3))
        self._views = self._view_counts()
        self._tags = self._tag_numbers()
        self._word = rng.integers(0, len(_WORDS), shape.songs)
        self._thing = rng.integers(0, len(_THINGS), shape.songs)
        self._relation = rng.choice(len(_RELATIONS), shape.songs, p=(0.42, 0.45, 0.13))
        self._anime = [self._make_anime(number) for number in range(shape.anime)]

    def _songs_to_anime(self) -> NDArray[np.int64]:
        """Every anime has a song; the others go to few anime, as long series have many songs."""
        weights = self._rng.lognormal(0.0, 0.9, self._shape.anime)
        extra = self._shape.songs - self._shape.anime
        more = self._rng.choice(self._shape.anime, extra, p=weights / weights.sum())
        return np.sort(np.concatenate([np.arange(self._shape.anime), more]))

    def _people(self, count: int, exponent: float) -> NDArray[np.int64]:
        """Who did it, by song: Zipf over the people of the song's cluster, and one in ten times over everybody."""
        everybody = self._zipf(count, exponent, self._shape.songs)
        at_home = self._zipf(count // CLUSTERS, exponent, self._shape.songs) * CLUSTERS + self._cluster
        anywhere = self._rng.random(self._shape.songs) < 0.1
        return np.where(anywhere, everybody, at_home)

    def _zipf(self, count: int, exponent: float, draws: int) -> NDArray[np.int64]:
        weights = 1.0 / np.arange(1, count + 1) ** exponent
        return self._rng.choice(count, draws, p=weights / weights.sum())

    def _view_counts(self) -> NDArray[np.int64]:
        """-1 = unknown, for two in five; else log-normal, higher in popular anime."""
        fame = 1.5 - np.log10(self._popularity[self._anime_of])
        views = np.exp(self._rng.normal(11.0 + fame, 2.0, self._shape.songs)).astype(np.int64)
        return np.where(self._rng.random(self._shape.songs) < 0.4, -1, views)

    def _tag_numbers(self) -> NDArray[np.int64]:
        """(songs, 4): three of the cluster's six words, and one from anywhere; clusters share words, as in life."""
        chosen = np.argsort(self._rng.random((self._shape.songs, 6)), axis=1)[:, :3]
        own = (self._cluster[:, None] * 5 + chosen) % len(_TAGS)
        anywhere = self._rng.integers(0, len(_TAGS), (self._shape.songs, 1))
        return np.concatenate([own, anywhere], axis=1)

    def _make_anime(self, number: int) -> Anime:
        cluster = int(self._anime_cluster[number])
        title = f"{_name(_ANIME, number)} (made up)"
        return Anime(
            anime_id=f"mal-{_FIRST_MAL_ID + number}",
            title=title,
            mal_id=_FIRST_MAL_ID + number,
            title_en=title,
            score=float(self._score[number]),
            popularity=int(self._popularity[number]),
            status="finished_airing",
            genres=_GENRES[cluster % len(_GENRES)],
            studios=(f"{_STUDIO}{cluster + 1}",),
            source="original",
        )

    def song(self, number: int) -> Song:
        """Song number `number`, counted from 0."""
        anime = self._anime[int(self._anime_of[number])]
        word, thing = _WORDS[int(self._word[number])], _THINGS[int(self._thing[number])]
        return Song(
            song_id=f"synthetic-{number:06d}",
            title=f"{word} {thing} no. {number + 1} (made up)",
            appearances=(Appearance(anime=anime, relation=_RELATIONS[int(self._relation[number])]),),
            credits=self._credits(number),
            tags=tuple(dict.fromkeys(_TAGS[int(position)] for position in self._tags[number])),
            links=self._links(number),
            made_up=True,
        )

    def _credits(self, number: int) -> Credits:
        return Credits(
            vocals=(f"{_name(_SINGER, int(self._singer[number]))} (made up)",),
            lyrics=(f"{_name(_LYRICIST, int(self._lyricist[number]))} (made up)",),
            composition=(f"{_name(_COMPOSER, int(self._composer[number]))} (made up)",),
            arrangement=(f"{_name(_ARRANGER, int(self._arranger[number]))} (made up)",),
        )

    def _links(self, number: int) -> tuple[Link, ...]:
        views = int(self._views[number])
        if views < 0:
            return ()
        return (Link(site="youtube", id=f"made-up-{number:06d}", views=views, likes=views // 60),)
