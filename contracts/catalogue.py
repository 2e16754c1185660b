"""Records of `animusic.catalogue.v1`, keyed by song: what a song is, where it appears, how it can be played.

A song has its own identity; playback links belong to it. Only the kind of a link names YouTube.
"""

import re
import unicodedata
from collections.abc import Mapping
from hashlib import blake2b
from typing import Annotated, Literal
from urllib.parse import quote_plus

from pydantic import BaseModel, ConfigDict, Field

from contracts.events import Id
from contracts.ranges import ANIDB_ID, LIKES, MAL_ID, POPULARITY, RANK, RATING, SCORE, VIEWS

_NOT_WORD = re.compile(r"[\W_]+", re.UNICODE)
# Typed variants of the apostrophe and the prime count as one mark.
_APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc\u2032\u00b4`", "'"))
# At a title's end these only close or separate; they do not distinguish titles.
_NO_MARK = frozenset('",;:。~〜≪≫')
_OF_ANIDB = re.compile(r"anidb-(\d{1,15})")


def normalised(title: str) -> str:
    """A title for comparing: compatibility-folded, case-folded, letters and digits only.

    A title without any letter or digit (say "!!!") keeps its characters, so that it can still be identified.
    """
    folded = unicodedata.normalize("NFKC", title).casefold()
    return _NOT_WORD.sub("", folded) or folded.strip()


def marks_of(title: str) -> str:
    """The marks at a title's end. Only they distinguish K-On! from K-On!!, and Gintama from Gintama' and Gintama°.

    Brackets, quotes, dashes and commas are not marks. A title without a letter or digit has none.
    """
    # Compatibility folding would turn an ellipsis into three full stops.
    folded = unicodedata.normalize("NFKC", title.replace("…", " ")).translate(_APOSTROPHES).rstrip()
    end = len(folded)
    while end and _is_mark(folded[end - 1]):
        end -= 1
    return folded[end:].replace(" ", "") if _NOT_WORD.sub("", folded) else ""


def _is_mark(char: str) -> bool:
    kind = unicodedata.category(char)
    return char == " " or (char not in _NO_MARK and (kind == "Po" or kind.startswith("S")))


def anime_key(title: str) -> str:
    """An anime's title for comparing: `normalised`, with the marks that it ends with."""
    return normalised(title) + marks_of(title)


def _hash_id(prefix: str, *parts: str) -> str:
    return prefix + blake2b("\x1f".join(parts).encode(), digest_size=8).hexdigest()


def anime_id_of(mal_id: int | None, title: str) -> str:
    """The id of a new anime: `mal-<id>` if it has a MyAnimeList id, else a hash of its title."""
    return f"mal-{mal_id}" if mal_id else _hash_id("anime-", anime_key(title))


def earlier_anime_id(title: str) -> str:
    """The former id of an anime without a MyAnimeList id, from before the marks at a title's end counted."""
    return _hash_id("anime-", normalised(title))


def song_id_of(anidb_id: int | None, anime_id: str, title: str) -> str:
    """The id of a new song: `anidb-<id>` if it has an AniDB id, else a hash of its anime and normalised title.

    A song keeps its id: a later correction changes the record, never the id.
    """
    return f"anidb-{anidb_id}" if anidb_id else _hash_id("song-", anime_id, normalised(title))


def point_id_of(song_id: str) -> int:
    """The id of a song's point in a Qdrant collection: 63 bits of its hash."""
    return int.from_bytes(blake2b(song_id.encode(), digest_size=8).digest(), "big") >> 1


def catalogue_digest(values: Mapping[str, bytes]) -> str:
    """32 hex digits that identify a catalogue: record values by song id, in any order."""
    digest = blake2b(digest_size=16)
    for song_id in sorted(values):
        for part in (song_id.encode(), values[song_id]):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


# Omitted from a record when empty, which keeps most records short.
Aliases = Annotated[tuple[Id, ...], Field(exclude_if=lambda ids: not ids)]


class Anime(BaseModel):
    """An anime in which a song appears, with what MyAnimeList says of it.

    `anime_id` never changes. `aliases`: other ids of this anime, after corrections.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    anime_id: Id
    aliases: Aliases = ()
    title: str
    mal_id: Annotated[int | None, MAL_ID] = None
    title_romaji: str | None = None
    title_jp: str | None = None
    title_en: str | None = None
    score: Annotated[float | None, SCORE] = None
    rank: Annotated[int | None, RANK] = None
    popularity: Annotated[int | None, POPULARITY] = None
    status: str | None = None
    genres: tuple[str, ...] = ()
    studios: tuple[str, ...] = ()
    source: str | None = None
    start_date: str | None = None


class Appearance(BaseModel):
    """One use of a song: opening, ending, insert song …, and in which episodes."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    anime: Anime
    relation: str
    episodes: str | None = None


class Credits(BaseModel):
    """Who made a song, by role; empty where unknown."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    vocals: tuple[str, ...] = ()
    lyrics: tuple[str, ...] = ()
    composition: tuple[str, ...] = ()
    arrangement: tuple[str, ...] = ()
    chorus: tuple[str, ...] = ()


class Link(BaseModel):
    """A place where the song can be played. `id` is the site's own; counts are as of the import, None = unknown."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    site: Literal["youtube"]
    id: Annotated[str, Field(min_length=1, max_length=64)]
    views: Annotated[int | None, VIEWS] = None
    likes: Annotated[int | None, LIKES] = None

    @property
    def url(self) -> str:
        """The page that plays it."""
        return f"https://www.youtube.com/watch?v={self.id}"


class Song(BaseModel):
    """One song. `appearances` has at least one entry; the first is the one that it is shown with.

    `song_id` never changes. `aliases`: other ids of this song: those of records merged into it, and those that its
    corrected title, anime or AniDB id would have given. `anidb_id` is set only if `song_id` does not contain it.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    song_id: Id
    aliases: Aliases = ()
    anidb_id: Annotated[int | None, ANIDB_ID] = None
    title: Annotated[str, Field(min_length=1)]
    appearances: Annotated[tuple[Appearance, ...], Field(min_length=1)]
    credits: Credits = Credits()
    tags: tuple[str, ...] = ()
    rating: Annotated[float | None, RATING] = None
    source_url: str | None = None
    links: tuple[Link, ...] = ()
    made_up: bool = False

    @property
    def anime(self) -> Anime:
        """The anime that the song is shown with."""
        return self.appearances[0].anime

    @property
    def anidb(self) -> int | None:
        """AniDB's id of the song; None if unknown."""
        named = _OF_ANIDB.fullmatch(self.song_id)
        return self.anidb_id or (int(named[1]) if named and ANIDB_ID.holds(int(named[1])) else None)

    @property
    def url(self) -> str:
        """Where to play it; without a link, or with a made-up one, a search for its title and anime."""
        if self.links and not self.made_up:
            return self.links[0].url
        return f"https://www.youtube.com/results?search_query={quote_plus(f'{self.title} {self.anime.title}')}"

    @property
    def youtube_id(self) -> str | None:
        """The id of a real YouTube video of it; None where none is known, and for a made-up song."""
        return None if self.made_up else next((link.id for link in self.links if link.site == "youtube"), None)

    def log_value(self) -> bytes:
        """The record value: compact JSON, the same bytes for the same content."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


class WithdrawnSong(BaseModel):
    """A song that left the catalogue. It is not served any more; what listeners heard of it stays.

    `merged_into`: the song of which this one is a duplicate; that song's `aliases` contain this id. `aliases`: its own.
    If the song returns under one of them, it gets its id back.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    song_id: Id
    withdrawn: Literal[True]
    merged_into: Id | None = None
    aliases: Aliases = ()
