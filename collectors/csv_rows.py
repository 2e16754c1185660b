"""Splits a CSV text into rows with line numbers, and reports every line that gives no row.

Quoting is standard: a cell in quotes may hold separators, line ends and doubled quotes. One quote too many therefore
makes one cell of all that follows, up to the next quote or the end of the file. So a record of several lines is looked
at twice: where lines within it are rows by themselves, that one quote is what is wrong, and reading starts again at the
first of those lines. What lies before it is lost, and said.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

SEPARATORS: Final = (",", ";", "\t")
# In a table of two columns, half a cell looks like a row soon.
_FEWEST_COLUMNS: Final = 3
# So many rows with all their cells, and none without, make one without the end of a file that was cut off.
_USUAL: Final = 5


@dataclass(frozen=True)
class CsvRow:
    """One record that is a row by the standard. `line` is its first, `upto` its last, both counted from 1."""

    line: int
    upto: int
    cells: list[str]


@dataclass(frozen=True)
class Lost:
    """Lines of which no row was made. `texts`: (line, what stands there) of each row that they may have been.

    `unread`: rows may be among them that cannot be read. Then the file was not read to its end.
    """

    line: int
    upto: int
    reason: str
    texts: tuple[tuple[int, str], ...]
    unread: bool


class CsvLines:
    """The lines of a text, and the separator that its header tells. `header` is the first record that is not empty.

    Raises LookupError with the names that were found when no separator makes a header that `is_header` takes.
    """

    def __init__(self, text: str, is_header: Callable[[list[str]], bool]) -> None:
        self._lines = list(io.StringIO(text, newline=""))
        self._first = next((n for n, line in enumerate(self._lines) if line.strip("\r\n")), 0)
        self.length = len(text)
        headers = {by: self._record(self._first, by) for by in SEPARATORS} if self._lines else {}
        fitting = [by for by, (cells, _, _) in headers.items() if is_header(cells)]
        if not fitting:
            most = max((cells for cells, _, _ in headers.values()), key=len, default=[])
            raise LookupError(", ".join(name.strip() for name in most if name.strip())[:200] or "nothing")
        self._by = fitting[0]
        cell = rf'(?:"[^"]*(?:""[^"]*)*"|[^"{self._by}\r\n]*)'
        # csv itself takes a quote in the midst of a cell for a letter.
        self._exact = re.compile(rf"{cell}(?:{self._by}{cell})*[\r\n]*")
        self.header, self._second, _ = headers[self._by]

    def read_upto(self, line: int, before: tuple[int, int]) -> int:
        """Characters up to the end of a line, given those up to an earlier one as (line, characters)."""
        earlier, characters = before
        return characters + sum(map(len, self._lines[earlier:line]))

    def rows(self, is_row: Callable[[list[str]], bool]) -> Iterator[CsvRow | Lost]:
        """All that follows the header, in order; empty lines are none. `is_row` tells whether cells look like a row."""
        at, full, short = self._second, 0, 0
        while at < len(self._lines):
            cells, end, error = self._record(at, self._by)
            found: CsvRow | Lost
            if end - at > 1:
                found = self._judged(at, end, cells, error, is_row)
            elif error:
                found = self._lost(at, end, f"not a CSV row: {error}", unread=self._ends_the_file(at))
            elif not cells:
                at = end
                continue
            elif len(cells) < len(self.header) and full >= _USUAL and not short and self._ends_the_file(at):
                found = self._lost(at, end, "the file ends inside this row: it may be cut off", unread=True)
            else:
                found = CsvRow(at + 1, end, cells)
            full, short = full + (len(cells) == len(self.header)), short + (len(cells) < len(self.header))
            at = found.upto
            yield found

    def _ends_the_file(self, line: int) -> bool:
        """Whether the file ends in the midst of this line."""
        return line == len(self._lines) - 1 and not self._lines[line].endswith(("\n", "\r"))

    def _judged(
        self, at: int, end: int, cells: list[str], error: str, is_row: Callable[[list[str]], bool]
    ) -> CsvRow | Lost:
        """A record of several lines."""
        width = len(self.header)
        again = next((line for line in range(at + 1, end) if self._is_whole(line, is_row)), None)
        if not error and (again is None or len(cells) == width < _FEWEST_COLUMNS):
            return CsvRow(at + 1, end, cells)
        if not error and len(cells) == width:
            reason = (
                f'one of its cells holds what look like rows (to line {end}): a quote (") is too many, or line ends'
            )
            return self._lost(at, end, reason, unread=True, one=True)
        if again is None:
            return self._lost(at, end, f'a quote (") in line {at + 1} is never closed', unread=True)
        return self._lost(at, again, f'a quote (") in line {at + 1} is never closed', unread=again > at + 1)

    def _is_whole(self, line: int, is_row: Callable[[list[str]], bool]) -> bool:
        """Whether a row begins at this line. The end of a cell of several lines has a quote too many for one."""
        cells, end, error = self._record(line, self._by)
        if error or len(cells) != len(self.header) or not is_row(cells):
            return False
        return self._exact.fullmatch("".join(self._lines[line:end])) is not None

    def _lost(self, at: int, end: int, reason: str, *, unread: bool, one: bool = False) -> Lost:
        texts = tuple((n + 1, self._lines[n]) for n in range(at, end) if self._lines[n].strip("\r\n"))
        if one:
            texts = ((at + 1, "".join(text for _, text in texts)),)
        return Lost(at + 1, end, reason, texts, unread)

    def _record(self, start: int, by: str) -> tuple[list[str], int, str]:
        """The record that begins at a line (counted from 0): its cells, the line behind it, and what is wrong."""
        reader = csv.reader((self._lines[n] for n in range(start, len(self._lines))), delimiter=by, strict=True)
        try:
            cells = next(reader, [])
        except csv.Error as error:
            return [], start + max(1, reader.line_num), str(error)
        return cells, start + max(1, reader.line_num), ""
