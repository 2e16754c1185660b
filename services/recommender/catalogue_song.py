"""A catalogue record as serving needs it: decoded once, and small."""

from dataclasses import dataclass
from sys import intern

from pydantic import ValidationError

from contracts.catalogue import Anime, Credits, Link, Song, point_id_of
from contracts.evolution.versions import NewerSchema
from contracts.records import CATALOGUE_VERSIONS


class UnreadableSong(ValueError):
    """A catalogue record that is neither a song nor a withdrawal; `str()` says what is wrong."""


@dataclass(frozen=True, slots=True)
class AnimeNames:
    """An anime with its searchable names. `popularity` is MyAnimeList's rank, 1 = most popular.

    `aliases`: its other ids.
    """

    anime_id: str
    aliases: tuple[str, ...]
    mal_id: int | None
    title: str
    romaji: str | None
    english: str | None
    japanese: str | None
    popularity: int | None


@dataclass(frozen=True, slots=True)
class CatalogueSong:
    """One song.

    Attributes:
        aliases: other ids of this song, after corrections and merges.
        anime: every anime in which it appears, each once; the first is the one that it is shown with.
        views: YouTube views, None = unknown. `rank`: the best MAL popularity rank of its anime, None = unknown.
        youtube_id: of a real video, None for a made-up song. `youtube_ids`: the ids of all its links.
        traits: its credits and tags as `role: name` and `tag: name`, credits first.
        value: the record's bytes.
    """

    song_id: str
    aliases: tuple[str, ...]
    point_id: int
    title: str
    anime: tuple[AnimeNames, ...]
    url: str
    youtube_id: str | None
    youtube_ids: tuple[str, ...]
    views: int | None
    rank: int | None
    traits: tuple[str, ...]
    value: bytes


def read_song(value: bytes) -> CatalogueSong | None:
    """Decode a record of the catalogue; None for a song that was withdrawn. Raises UnreadableSong."""
    try:
        song = CATALOGUE_VERSIONS.read(value)
    except (ValidationError, NewerSchema) as problem:
        raise UnreadableSong(str(problem)) from None
    return catalogue_song(song, value) if isinstance(song, Song) else None


def catalogue_song(song: Song, value: bytes) -> CatalogueSong:
    """A song for serving; `value` is its record."""
    anime = {appearance.anime.anime_id: appearance.anime for appearance in song.appearances}
    ranks = [each.popularity for each in anime.values() if each.popularity]
    return CatalogueSong(
        song_id=song.song_id,
        aliases=song.aliases,
        point_id=point_id_of(song.song_id),
        title=song.title,
        anime=tuple(_names(each) for each in anime.values()),
        url=song.url,
        youtube_id=song.youtube_id,
        youtube_ids=tuple(link.id for link in song.links if link.site == "youtube"),
        views=_views(song.links),
        rank=min(ranks, default=None),
        traits=_traits(song.credits, song.tags),
        value=value,
    )


def _names(anime: Anime) -> AnimeNames:
    return AnimeNames(
        intern(anime.anime_id),
        anime.aliases,
        anime.mal_id,
        intern(anime.title),
        anime.title_romaji,
        anime.title_en,
        anime.title_jp,
        anime.popularity,
    )


def _views(links: tuple[Link, ...]) -> int | None:
    return max((link.views for link in links if link.views is not None), default=None)


def _traits(credited: Credits, tags: tuple[str, ...]) -> tuple[str, ...]:
    people = ((role, name) for role in Credits.model_fields for name in getattr(credited, role))
    named = [*people, *(("tag", tag) for tag in tags)]
    return tuple(dict.fromkeys(intern(f"{role}: {name}") for role, name in named))
