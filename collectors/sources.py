"""Where a catalogue comes from: the sample that is shipped, the synthetic generator, or a file."""

from collections.abc import Callable
from dataclasses import dataclass
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
    """A catalogue that can be read. `path` is None for the synthetic one, which has a size and a seed instead."""

    name: str
    path: Path | None
    songs: int = SONGS
    seed: int = 0

    @property
    def steps(self) -> int:
        """How many steps `read` reports: bytes of the file, or songs."""
        return self.songs if self.path is None else self.path.stat().st_size


@dataclass(frozen=True)
class Found:
    """What a source held. `rows` were read; those that were not rejected became `songs`, several rows one song."""

    songs: list[Song]
    rows: int
    merged_rows: int
    problems: list[Problem]

    @property
    def rejected(self) -> int:
        """Rows that became nothing; cells that were left out of a row do not count."""
        return sum(problem.whole_row for problem in self.problems)


def source_named(name: str, *, songs: int = SONGS, seed: int = 0) -> Source:
    """`sample`, `synthetic`, or the path of a CSV file. Raises FileNotFoundError where there is no such file."""
    if name == "synthetic":
        return Source(name, None, songs, seed)
    path = SAMPLE if name == "sample" else Path(name)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {path}; give the path of a CSV (plain or .gz), `sample` or `synthetic`"
        )
    return Source(name, path)


def read(source: Source, advance_to: Callable[[int], None] = lambda step: None) -> Found:
    """Read a source whole, before anything of it is written. Raises ValueError when the file is not a catalogue."""
    if source.path is None:
        songs = synthetic_songs(source.songs, source.seed)
        return Found(songs, rows=len(songs), merged_rows=0, problems=[])
    file = CsvFile(source.path)
    entries = list(file.entries(advance_to))
    found = merged(entries)
    return Found(found, file.rows, merged_rows=len(entries) - len(found), problems=file.problems)
