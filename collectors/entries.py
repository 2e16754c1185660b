"""One row of a catalogue file, read: what is said of one use of one song in one anime."""

from dataclasses import dataclass, field

from contracts.catalogue import Anime, Credits, Link, normalised, song_id_of


@dataclass(frozen=True)
class Entry:
    """One row. `anidb_id` is AniDB's id of the song, `link` where it can be played, if anywhere."""

    title: str
    anidb_id: int | None
    anime: Anime
    relation: str
    episodes: str | None = None
    credits: Credits = field(default_factory=Credits)
    tags: tuple[str, ...] = ()
    rating: float | None = None
    source_url: str | None = None
    link: Link | None = None

    @property
    def song_id(self) -> str:
        """The id that the song has by this row alone."""
        return song_id_of(self.anidb_id, self.anime.anime_id, self.title)

    @property
    def performance(self) -> tuple[str, tuple[str, ...]] | None:
        """What tells one recording from another across anime: title and singers; None when the singers are unknown."""
        singers = tuple(sorted({normalised(name) for name in self.credits.vocals}))
        return (normalised(self.title), singers) if singers else None


@dataclass(frozen=True)
class Problem:
    """A rejected part of a file: a whole row, or one cell of a row that is kept without it.

    `line` is the row's first. `text` is what stands in a row that was not taken: a song that it may be is not missing.
    """

    line: int
    reason: str
    title: str = ""
    anime: str = ""
    whole_row: bool = True
    text: str = ""
