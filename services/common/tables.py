"""Tables on a terminal or in a file: an id or a name that is copied from one is whole, however narrow it is."""

from collections.abc import Collection

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

# More columns than any row of ours takes.
_UNLIMITED = 100_000


def print_table(table: Table, folding: Collection[str] = (), console: Console | None = None) -> None:
    """Print a table with every cell whole.

    A file or a pipe gets each row as one line. So does a terminal, unless it is too narrow: then the columns in
    `folding` (headers of columns of free text) are folded, and what is too wide still is left to the terminal to wrap.
    """
    # Cells are data: a title or an error may hold square brackets.
    console = console or Console(highlight=False, markup=False)
    width = _width(console, table, folding)
    if width > console.width:
        table.width = width
    console.print(table, crop=False)


def print_block(block: Text | Table, folding: Collection[str] = ()) -> None:
    """Print one part of a page: a table with every cell whole, or text that only the terminal wraps."""
    if isinstance(block, Table):
        print_table(block, folding)
    else:
        Console(highlight=False).print(block, soft_wrap=True)


def _width(console: Console, table: Table, folding: Collection[str]) -> int:
    """The columns that the table takes on this console; it also sets which columns may be folded."""
    widths = console.options.update(max_width=_UNLIMITED)
    for column in table.columns:
        column.overflow = "fold"
        column.no_wrap = column.header not in folding
        if column.no_wrap:
            cells = (column.header, *column.cells)
            column.min_width = max(Measurement.get(console, widths, cell).maximum for cell in cells)
    needed = Measurement.get(console, widths, table)
    return needed.minimum if console.is_terminal else needed.maximum
