"""Songs without one field, so that a model can be asked for what it was not built of.

Withholding is done to the songs, before a model is built of them, so every model is evaluated the same way, also one
whose texts are encoded. What is withheld is withheld wherever it stands: a composer who also sings the song leaves its
vocals, a tag that names a genre goes with the genres. Titles are left as they are, but for the anime's.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final, Literal

from contracts.catalogue import Anime, Appearance, Credits, Song, normalised

Field = Literal["franchise", "composer", "artist", "tags", "genres"]
FIELDS: Final[tuple[Field, ...]] = ("franchise", "composer", "artist", "tags", "genres")

# The role in which a person of the field is credited.
_ROLE: Final = {"composer": "composition", "artist": "vocals"}


def withhold(songs: Sequence[Song], field: Field | None) -> list[Song]:
    """The songs without `field`, in the same order and under the same ids; None withholds nothing.

    - franchise: the anime of a song becomes one of its own, without id, titles, score, rank, popularity or date; it
      keeps genres, studios and kind of source. What else an anime's songs have in common stays: its tags, say.
    - composer, artist: the names of that role leave every credit of the song.
    - tags: all tags, and the genres that some song has as a tag.
    - genres: all genres, and the tags that name a genre of some anime.

    Raises ValueError for an unknown field.
    """
    if field is None:
        return list(songs)
    if field == "franchise":
        return [_without_franchise(song) for song in songs]
    if field in _ROLE:
        return [_without_people(song, _ROLE[field]) for song in songs]
    if field not in FIELDS:
        raise ValueError(f"no field is named {field!r}; there are {', '.join(FIELDS)}")
    words = _all_tags(songs) if field == "tags" else _all_genres(songs)
    return [_without_words(song, field, words) for song in songs]


def _without_franchise(song: Song) -> Song:
    genres = tuple(dict.fromkeys(genre for each in song.appearances for genre in each.anime.genres))
    alone = Anime(
        anime_id=f"withheld-{song.song_id}"[:64],
        title="",
        status=song.anime.status,
        genres=genres,
        studios=song.anime.studios,
        source=song.anime.source,
    )
    return song.model_copy(update={"appearances": (Appearance(anime=alone, relation=song.appearances[0].relation),)})


def _without_people(song: Song, role: str) -> Song:
    withheld = {normalised(name) for name in getattr(song.credits, role)}
    if not withheld:
        return song
    left = {
        each: tuple(name for name in getattr(song.credits, each) if normalised(name) not in withheld)
        for each in Credits.model_fields
    }
    return song.model_copy(update={"credits": Credits(**left)})


def _without_words(song: Song, field: Field, words: Collection[str]) -> Song:
    tags = () if field == "tags" else _others(song.tags, words)
    appearances = tuple(
        each.model_copy(
            update={"anime": each.anime.model_copy(update={"genres": _genres_left(each.anime, field, words)})}
        )
        for each in song.appearances
    )
    return song.model_copy(update={"tags": tags, "appearances": appearances})


def _genres_left(anime: Anime, field: Field, words: Collection[str]) -> tuple[str, ...]:
    return () if field == "genres" else _others(anime.genres, words)


def _others(names: Iterable[str], words: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in names if normalised(name) not in words)


def _all_tags(songs: Sequence[Song]) -> set[str]:
    return {normalised(tag) for song in songs for tag in song.tags}


def _all_genres(songs: Sequence[Song]) -> set[str]:
    return {normalised(g) for song in songs for each in song.appearances for g in each.anime.genres}
