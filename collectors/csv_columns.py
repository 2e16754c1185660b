"""AniMusic's public CSV columns → entries.

Quirks that are met in the wild and taken as they are: leading unnamed index columns, plain or gzip, a byte-order mark,
columns in any order, columns that are missing or that nobody knows, cells that are empty, `nan`, or padded.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO, TypeVar, cast

from collectors import csv_cells as cells
from collectors.entries import Entry, Problem
from contracts.catalogue import Anime, Credits, Link, anime_id_of

_GZIP: Final = b"\x1f\x8b"
_LONGEST_TITLE: Final = 500
_T = TypeVar("_T")


class CsvFile:
    """A catalogue file, read once from its start. `problems` fills while `entries` runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.rows = 0

    def entries(self, advance: Callable[[int], None] = lambda read: None) -> Iterator[Entry]:
        """Every row that could be taken. `advance` is told after each row how many bytes of the file are read by now.

        Raises FileNotFoundError, and ValueError when it isn't a CSV with at least `song` and `anime` (or `MAL_Title`).
        """
        with _opened(self.path) as (text, raw):
            reader = csv.DictReader(text, strict=True)
            columns = _checked_columns(self.path, reader)
            while (row := self._next(reader)) is not None:
                self.rows += 1
                advance(raw.tell())
                entry = _Row(row, reader.line_num, columns, self.problems).entry()
                if entry is not None:
                    yield entry

    def _next(self, reader: "csv.DictReader[str]") -> dict[Any, Any] | None:
        while True:
            try:
                return cast("dict[Any, Any] | None", next(reader, None))
            except csv.Error as error:
                self.rows += 1
                self.problems.append(Problem(reader.line_num, f"not a CSV row: {error}"))
            except (EOFError, OSError, zlib.error) as error:
                raise ValueError(f"{self.path} is damaged after line {reader.line_num}: {error}") from error


class _Row:
    """One row while it is read. A cell that cannot be read is left out and noted; the row is taken without it."""

    def __init__(self, row: Mapping[Any, Any], line: int, columns: frozenset[str], problems: list[Problem]) -> None:
        self._row, self._line, self._columns, self._problems = row, line, columns, problems

    def entry(self) -> Entry | None:
        reason = self._reason_to_refuse()
        if reason:
            self._note(reason, whole_row=True)
            return None
        song_url = self._row.get("song_url")
        return Entry(
            title=cast(str, self._text("song")),
            anidb_id=cells.anidb_song(song_url),
            anime=self._anime(),
            relation=(self._text("relation") or "theme song").lower(),
            episodes=self._text("episodes"),
            credits=Credits(**{role: self._names(role) for role in Credits.model_fields}),
            tags=tuple(dict.fromkeys(tag.lower() for tag in self._names("tags"))),
            rating=self._read("rating", cells.decimal),
            source_url=cells.source_url(song_url),
            link=self._link(),
        )

    def _reason_to_refuse(self) -> str | None:
        title, anime = self._text("song"), self._text("anime") or self._text("MAL_Title")
        if None in self._row:
            return "more cells than the header has columns"
        if title is None:
            return "no song title"
        if anime is None:
            return "no anime"
        if len(title) > _LONGEST_TITLE or len(anime) > _LONGEST_TITLE:
            return f"a title of more than {_LONGEST_TITLE} characters"
        if any("\ufffd" in str(cell) for cell in (title, anime)):
            return "the title is not UTF-8"
        return None

    def _anime(self) -> Anime:
        title = cast(str, self._text("anime") or self._text("MAL_Title"))
        mal_id = self._read("MAL_ID", cells.whole)
        return Anime(
            anime_id=anime_id_of(mal_id, title),
            title=title,
            mal_id=mal_id,
            title_romaji=self._text("MAL_Title"),
            title_jp=self._text("MAL_Title_JP"),
            title_en=self._text("MAL_Title_EN"),
            score=self._read("MAL_Score", cells.decimal),
            rank=self._read("MAL_Rank", cells.whole),
            popularity=self._read("MAL_Popularity", cells.whole),
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
                has_uri_column="full_youtube_uri" in self._columns,
            )
        except ValueError as error:
            self._note(str(error))
            return None
        if video is None:
            return None
        views, likes = self._read("youtube_views", cells.count), self._read("youtube_likes", cells.count)
        return Link(site="youtube", id=video, views=views, likes=likes)

    def _text(self, column: str) -> str | None:
        return cells.text(self._row.get(column))

    def _names(self, column: str) -> tuple[str, ...]:
        return cells.names(self._row.get(column))

    def _read(self, column: str, parse: Callable[[str | None], _T | None]) -> _T | None:
        try:
            return parse(self._row.get(column))
        except ValueError as error:
            self._note(f"{column} left out: {error}")
            return None

    def _note(self, reason: str, *, whole_row: bool = False) -> None:
        title, anime = self._text("song") or "", self._text("anime") or ""
        self._problems.append(Problem(self._line, reason, title, anime, whole_row))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[TextIO, BinaryIO]]:
    """The text of the file and, to tell how far it is read, its raw bytes."""
    with path.open("rb") as raw:
        zipped = raw.read(2) == _GZIP
        raw.seek(0)
        plain = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if zipped else raw
        # Bytes that are not UTF-8 become U+FFFD: one bad row must not end the import of ten thousand.
        yield io.TextIOWrapper(plain, encoding="utf-8-sig", errors="replace", newline=""), raw


def _checked_columns(path: Path, reader: "csv.DictReader[str]") -> frozenset[str]:
    try:
        header = [(name or "").strip() for name in reader.fieldnames or ()]
    except (csv.Error, OSError, EOFError) as error:
        raise ValueError(f"{path} is not a CSV file, plain or gzip: {error}") from error
    if "song" not in header or not {"anime", "MAL_Title"} & set(header):
        seen = ", ".join(name for name in header if name)[:200] or "none"
        raise ValueError(
            f"{path} is not in AniMusic's columns: it needs at least `song` and `anime` (or `MAL_Title`) in its first "
            f"line, and has: {seen}"
        )
    # Unnamed columns get names of their own: DictReader would let the last one win, and none of them is read.
    reader.fieldnames = [name or f"unnamed {position}" for position, name in enumerate(header)]
    return frozenset(header)
