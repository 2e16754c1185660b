"""Sources of a catalogue: the shipped sample, the synthetic generator, or a file."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from collectors.csv_columns import CsvFile
from collectors.entries import Problem
from collectors.merging import merged
from collectors.synthetic import SONGS, synthetic_songs
from contracts.catalogue import Song

SAMPLE: Final = Path(__file__).with_name("sample") / "songs.csv"


@dataclass(frozen=True)
class Source:
    """A catalogue that can be read. `path` is None for the synthetic one, which has a size and a seed instead.

    `encoding`: of the file; None where it is UTF-8, or its byte-order mark tells.
    """

    name: str
    path: Path | None
    songs: int = SONGS
    seed: int = 0
    encoding: str | None = None

    @property
    def steps(self) -> int:
        """How many steps `read` reports: bytes of the file, or songs."""
        return self.songs if self.path is None else self.path.stat().st_size


@dataclass(frozen=True)
class Found:
    """What a source held. Of `rows`, `rejected` became nothing, `merged_rows` a song of another row, the rest `songs`.

    `unread`: (first, last) of lines that may hold rows that cannot be read: the file was not read to its end.
    """

    songs: list[Song]
    rows: int
    merged_rows: int
    problems: list[Problem]
    unread: list[tuple[int, int]] = field(default_factory=list)

    @property
    def rejected(self) -> int:
        """Rows that became nothing; cells that were left out of a row do not count."""
        return sum(problem.whole_row for problem in self.problems)

    def complaint(self) -> str | None:
        """Why this is not all that the source has; None where it is, but for rows that are bad by themselves."""
        if self.unread:
            where = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in self.unread[:5])
            more = " …" if len(self.unread) > 5 else ""
            return (
                f"the file was not read to its end: rows may be lost in line {where}{more}. Repair and import it again"
            )
        if self.rows and not self.songs:
            return f"none of the {self.rows:,} rows could be read"
        return None


def source_named(name: str, *, songs: int = SONGS, seed: int = 0, encoding: str | None = None) -> Source:
    """`sample`, `synthetic`, or the path of a CSV file. Raises FileNotFoundError where there is no such file."""
    if name == "synthetic":
        return Source(name, None, songs, seed)
    path = SAMPLE if name == "sample" else Path(name)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {path}; give the path of a CSV (plain or .gz), `sample` or `synthetic`"
        )
    return Source(name, path, encoding=encoding)


def read(source: Source, advance_to: Callable[[int], None] = lambda step: None) -> Found:
    """Read a source whole, before anything of it is written. Raises ValueError when the file is not a catalogue."""
    if source.path is None:
        songs = synthetic_songs(source.songs, source.seed)
        return Found(songs, rows=len(songs), merged_rows=0, problems=[])
    file = CsvFile(source.path, source.encoding)
    entries = list(file.entries(advance_to))
    found = merged(entries)
    return Found(found, file.rows, len(entries) - len(found), file.problems, file.unread)
