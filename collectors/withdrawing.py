"""Which songs of the log an import may withdraw because its source does not have them. Pure.

A song is missing only where the source was read whole: not by a file without a row that can be read, and not by one
with lines that cannot be read. A rejected row is in the source, but its song is unknown,
so the songs that it may be stay. Many missing songs hint at the wrong file: above a share, the user must confirm.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from collectors.entries import Problem
from collectors.sources import Found
from contracts.catalogue import Song

_TITLES_SAID: Final = 5


@dataclass(frozen=True)
class Withdrawal:
    """What an import was asked to withdraw.

    Attributes:
        songs: those that the source does not have, in the order of their titles.
        served: how many songs the log serves.
        spared: how many more stay because a rejected row may be them.
        rejected: rows of the source that could not be read.
        refusal: why this source may withdraw nothing, even with --yes; None when it may.
    """

    songs: tuple[Song, ...]
    served: int
    spared: int
    rejected: int
    refusal: str | None

    @property
    def share(self) -> float:
        """Of the songs that are served, those that would go, and the rows that may be more than they seem."""
        return (len(self.songs) + self.rejected) / self.served if self.songs else 0.0

    def described(self) -> str:
        """How many, of how many, and the first titles."""
        named = ", ".join(f"{song.title} ({song.anime.title})" for song in self.songs[:_TITLES_SAID])
        more = " …" if len(self.songs) > _TITLES_SAID else ""
        unsure = f"; {self.rejected:,} of its rows could not be read" if self.rejected else ""
        kept = f", and songs that they may be stay ({self.spared:,})" if self.spared else ""
        what = f"{len(self.songs):,} of {self.served:,} songs ({len(self.songs) / self.served:.1%})"
        return f"the source does not have {what}: {named}{more}{unsure}{kept}"


def withdrawal(found: Found, songs: Mapping[str, Song], missing: Iterable[str], spared: int) -> Withdrawal:
    """What withdrawing these songs of the log would be. `missing`: their ids; `spared`: see `that_may_be_rejected`."""
    gone = sorted((songs[song_id] for song_id in missing), key=lambda song: (song.title, song.song_id))
    return Withdrawal(tuple(gone), len(songs), spared, found.rejected, _refusal(found))


def _refusal(found: Found) -> str | None:
    if found.unread:
        first, last = found.unread[0]
        where = f"line {first}" if first == last else f"lines {first} to {last}"
        return f"the source was not read to its end ({where}), so its missing songs are unknown"
    if not found.songs:
        return "the source has no row that could be read"
    return None


def that_may_be_rejected(problems: Iterable[Problem], songs: Iterable[Song]) -> frozenset[str]:
    """The ids of songs whose title, or the title of an anime of theirs, stands in a row that was rejected."""
    texts = "\n".join(_plain(problem.text) for problem in problems if problem.whole_row)
    return frozenset(song.song_id for song in songs if texts and any(name in texts for name in _names(song)))


def _names(song: Song) -> set[str]:
    anime = [use.anime for use in song.appearances]
    titles = [title for one in anime for title in (one.title, one.title_romaji, one.title_en, one.title_jp)]
    return {plain for title in (song.title, *titles) if title and (plain := _plain(title))}


def _plain(text: str) -> str:
    """Without what a damaged row may have too many of, or lack: quotes, and space."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().replace('"', "").split())
