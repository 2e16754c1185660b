"""What somebody copies out of a table is whole, on a terminal of any width and in a pipe."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from services.common.tables import print_table

NAME = "animusic.model-builds.v1"
ID = "g-53935c5576b58cc1-53935c5576b58cc1"
TEXT = "Input should be a valid number, [type=float_parsing] unable to parse the string as a number [/b]"


def printed(*, terminal: bool, width: int) -> str:
    table = Table("name", "id", "why", box=None)
    table.add_row(NAME, ID, TEXT)
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=width, color_system=None, highlight=False, markup=False)
    print_table(table, folding=("why",), console=console)
    return out.getvalue()


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_a_pipe_gets_a_row_as_one_line(width) -> None:
    header, row = printed(terminal=False, width=width).splitlines()
    assert header.split() == ["name", "id", "why"]
    assert row.split(maxsplit=2)[:2] == [NAME, ID]
    assert TEXT in row


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_a_terminal_folds_free_text_only(width) -> None:
    shown = printed(terminal=True, width=width)
    assert NAME in shown
    assert ID in shown
    assert "…" not in shown
    said = " ".join(line.replace(NAME, "").replace(ID, "").strip() for line in shown.splitlines()[1:])
    assert said.split() == TEXT.split()


def test_a_wide_terminal_is_left_as_wide_as_it_is() -> None:
    assert len(printed(terminal=True, width=200).splitlines()) == 2
