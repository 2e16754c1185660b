"""The fast way from a record to columns gives what the contract's way gives, for everything that it accepts."""

from typing import Any
from uuid import UUID

import pytest

from contracts.events import FeedbackEvent, read_event
from contracts.plain_feedback import is_plain
from services.warehouse import rows
from services.warehouse.rebuild_lines import plain_feedback
from services.warehouse.rows import Place
from tests.bench.consumers import feedback
from tests.support.histories import histories

_UUIDS = ("event_id", "play_id", "playlist_id")


def _events() -> list[FeedbackEvent]:
    made = [event for history in histories(41, 400) for event in history.events]
    generated = [read_event(value) for _, value in feedback(300)]
    dressed = [
        event.model_copy(update={"rate": 1.25, "muted": True, "hidden": False, "link": "youtube abc", "p_arm": 1 / 3})
        for event in generated[:50]
    ]
    return [*made, *generated, *dressed]


def _said(table: Any) -> list[dict[str, Any]]:
    """Rows with UUIDs of one form."""
    found: list[dict[str, Any]] = table.to_pylist()
    for row in found:
        for name in _UUIDS:
            value = row[name]
            row[name] = UUID(bytes=value) if isinstance(value, bytes) else None if value is None else UUID(value)
    return found


def test_plain_lines_become_the_columns_that_the_contract_gives() -> None:
    values = [value for event in _events() if is_plain(value := event.log_value())]
    assert len(values) > 500
    places = [Place("0" * 32, number % 8, number, 1) for number in range(len(values))]
    fast = plain_feedback(values, "0" * 32, [place.partition for place in places], [place.offset for place in places])
    slow = rows.feedback([(place, read_event(value)) for place, value in zip(places, values, strict=True)])
    assert set(fast.column_names) == set(slow.column_names)
    assert _said(fast.select(slow.column_names)) == _said(slow)
    differing = [name for name in slow.column_names if name not in _UUIDS and fast[name].type != slow[name].type]
    assert differing == []


@pytest.mark.parametrize(
    "value",
    [
        b"{",
        b'{"schema":2,"event_id":"82f2f59f-6353-4692-8c75-d9f6b0876137"}',
        # Another writer's layout: the contract may accept it, this way does not.
        b'{ "schema":1 }',
    ],
)
def test_anything_else_goes_the_way_of_the_contract(value: bytes) -> None:
    assert not is_plain(value)
