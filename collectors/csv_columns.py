"""AniMusic's public CSV columns → entries.

Quirks that are met in the wild and taken as they are: leading unnamed index columns, plain or gzip, a byte-order mark,
commas, semicolons or tabs between cells, columns in any order, missing or unknown columns, cells
that are empty, `nan`, or padded.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar, cast

from collectors import csv_cells as cells
from collectors.counts import shortened
from collectors.csv_rows import CsvLines, Lost
from collectors.csv_text import read_text
from collectors.entries import Entry, Problem
from contracts.catalogue import Anime, Credits, Link, anime_id_of
from contracts.ranges import ANIDB_ID, OF_COLUMN, Range

_LONGEST_TITLE: Final = 500
# A record of the log may have 1 MB, and a character up to 4 bytes.
_LONGEST_ROW: Final = 100_000
_COLUMNS: Final = frozenset(
    {
        *("relation", "song", "song_url", "episodes", "tags", "anime", "MAL_Title", "MAL_Title_JP", "MAL_Title_EN"),
        *("MAL_Status", "MAL_Genres", "MAL_Studios", "MAL_Source", "MAL_Start_Date"),
        *("youtube_video_id", "full_youtube_uri", *Credits.model_fields, *OF_COLUMN),
    }
)
_N = TypeVar("_N", int, float)


class CsvFile:
    """A catalogue file, read once from its start. `problems` fills while `entries` runs.

    `rows` counts every row: each gives an entry or a problem. `unread`: lines that may hold rows that cannot be
    read, as (first, last); a file that has any was not read to its end.
    """

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.rows = 0
        self.unread: list[tuple[int, int]] = []
        self._encoding = encoding

    def entries(self, advance: Callable[[int], None] = lambda read: None) -> Iterator[Entry]:
        """Every row that could be read. After each row, `advance` gets the number of bytes read so far.

        Raises FileNotFoundError, and ValueError when it isn't a CSV with at least `song` and `anime` (or `MAL_Title`),
        is damaged, or is in another encoding.
        """
        lines = self._lines()
        names = [name.strip() for name in lines.header]
        size, step = self.path.stat().st_size, (0, 0)
        for found in lines.rows(lambda row: _looks_like_a_row(names, row)):
            step = found.upto, lines.read_upto(found.upto, step)
            advance(size * step[1] // lines.length)
            if isinstance(found, Lost):
                self._lose(found)
                continue
            self.rows += 1
            entry = _Row(names, found.cells, found.line, self.problems).entry()
            if entry is not None:
                yield entry

    def _lines(self) -> CsvLines:
        try:
            lines = CsvLines(read_text(self.path, self._encoding), _is_header)
        except LookupError as seen:
            raise ValueError(
                f"{self.path} is not in AniMusic's columns: it needs at least `song` and `anime` (or `MAL_Title`) in "
                f"its first line, and has: {seen.args[0]}"
            ) from None
        names = [name.strip() for name in lines.header]
        twice = sorted({name for name in names if name in _COLUMNS and names.count(name) > 1})
        if twice:
            raise ValueError(f"{self.path} has several columns named {', '.join(twice)}: keep one of each")
        return lines

    def _lose(self, found: Lost) -> None:
        self.rows += len(found.texts)
        self.problems += [Problem(line, found.reason, text=text) for line, text in found.texts]
        if found.unread:
            self.unread.append((found.line, found.upto))


class _Row:
    """One row while it is read. A cell that cannot be read is left out and noted; the row is taken without it."""

    def __init__(self, names: list[str], row: list[str], line: int, problems: list[Problem]) -> None:
        self._cells = row
        self._line, self._problems = line, problems
        self._row: Mapping[str, str] = {name: cell for name, cell in zip(names, row, strict=False) if name in _COLUMNS}
        self._has_uri_column = "full_youtube_uri" in names
        self._surplus = len(row) > len(names)

    def entry(self) -> Entry | None:
        reason = self._reason_to_refuse()
        if reason:
            self._note(reason, whole_row=True)
            return None
        self._leave_out_what_is_no_text()
        song_url = self._row.get("song_url")
        return Entry(
            title=cast(str, self._text("song")),
            anidb_id=self._within("the AniDB id of song_url", cells.anidb_song(song_url), ANIDB_ID),
            anime=self._anime(),
            relation=(self._text("relation") or "theme song").lower(),
            episodes=self._text("episodes"),
            credits=Credits(**{role: self._names(role) for role in Credits.model_fields}),
            tags=tuple(dict.fromkeys(tag.lower() for tag in self._names("tags"))),
            rating=self._number("rating", cells.decimal),
            source_url=cells.source_url(song_url),
            link=self._link(),
        )

    def _reason_to_refuse(self) -> str | None:
        title, anime = self._text("song"), self._text("anime") or self._text("MAL_Title")
        if self._surplus:
            return "more cells than the header has columns"
        if title is None:
            return "no song title"
        if anime is None:
            return "no anime"
        if len(title) > _LONGEST_TITLE or len(anime) > _LONGEST_TITLE:
            return f"a title of more than {_LONGEST_TITLE} characters"
        if sum(map(len, self._cells)) > _LONGEST_ROW:
            return f"more than {_LONGEST_ROW:,} characters"
        for name, cell in (("title", title), ("anime", anime)):
            if (what := cells.unreadable(cell)) is not None:
                return f"the {name} is no text: it has {what}"
        return None

    def _leave_out_what_is_no_text(self) -> None:
        """Nothing of a song is kept, and nothing is merged, by what an earlier conversion lost."""
        unreadable = {
            name: what for name in self._row if (what := cells.unreadable(self._text(name) or "")) is not None
        }
        for name, what in unreadable.items():
            self._note(f"{name} left out: it is no text, it has {what}")
        self._row = {name: cell for name, cell in self._row.items() if name not in unreadable}

    def _anime(self) -> Anime:
        title = cast(str, self._text("anime") or self._text("MAL_Title"))
        mal_id = self._number("MAL_ID", cells.whole)
        return Anime(
            anime_id=anime_id_of(mal_id, title),
            title=title,
            mal_id=mal_id,
            title_romaji=self._text("MAL_Title"),
            title_jp=self._text("MAL_Title_JP"),
            title_en=self._text("MAL_Title_EN"),
            score=self._number("MAL_Score", cells.decimal),
            rank=self._number("MAL_Rank", cells.count),
            popularity=self._number("MAL_Popularity", cells.count),
            status=self._text("MAL_Status"),
            genres=self._names("MAL_Genres"),
            studios=self._names("MAL_Studios"),
            source=self._text("MAL_Source"),
            start_date=self._text("MAL_Start_Date"),
        )

    def _link(self) -> Link | None:
        try:
            video = cells.youtube_id(
                self._row.get("youtube_video_id"),
                self._row.get("full_youtube_uri"),
                has_uri_column=self._has_uri_column,
            )
        except ValueError as error:
            self._note(str(error))
            return None
        if video is None:
            return None
        views, likes = self._number("youtube_views", cells.count), self._number("youtube_likes", cells.count)
        return Link(site="youtube", id=video, views=views, likes=likes)

    def _text(self, column: str) -> str | None:
        return cells.text(self._row.get(column))

    def _names(self, column: str) -> tuple[str, ...]:
        return cells.names(self._row.get(column))

    def _number(self, column: str, parse: Callable[[str | None], _N | None]) -> _N | None:
        try:
            return self._within(column, parse(self._row.get(column)), OF_COLUMN[column])
        except ValueError as error:
            self._note(f"{column} left out: {error}")
            return None

    def _within(self, what: str, number: _N | None, range_: Range) -> _N | None:
        if number is None or range_.holds(number):
            return number
        why = "0 means that there is none" if number == 0 else f"{shortened(str(number))} is not within {range_}"
        self._note(f"{what} left out: {why}")
        return None

    def _note(self, reason: str, *, whole_row: bool = False) -> None:
        title, anime = self._text("song") or "", self._text("anime") or self._text("MAL_Title") or ""
        text = " ".join(self._cells) if whole_row else ""
        self._problems.append(
            Problem(self._line, reason, title[:_LONGEST_TITLE], anime[:_LONGEST_TITLE], whole_row, text)
        )


def _is_header(row: list[str]) -> bool:
    names = {name.strip() for name in row}
    return "song" in names and bool({"anime", "MAL_Title"} & names)


def _looks_like_a_row(names: list[str], row: list[str]) -> bool:
    """Whether cells look like a row: a title, an anime, and a MAL id that is a number."""
    found = dict(zip(names, row, strict=False))
    try:
        cells.whole(found.get("MAL_ID"))
    except ValueError:
        return False
    return bool(
        cells.text(found.get("song")) and (cells.text(found.get("anime")) or cells.text(found.get("MAL_Title")))
    )
