"""Tables or a whole database dropped under a running warehouse: made again and filled again, and said in the log."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from contracts.events import FeedbackEvent
from services.common.clickhouse import ChdbConnection, ClickhouseError
from services.common.settings import KafkaSettings
from tests.connected.recovery.test_log_and_tables import _healthy
from tests.connected.warehouse import engine as shared
from tests.support.following import producing, put_events, warehousing
from tests.support.histories import histories
from tests.support.waiting import apoll

pytestmark = [pytest.mark.connected, pytest.mark.usefixtures("watchful")]

EVENTS: list[FeedbackEvent] = [event for history in histories(33, 40) for event in history.events]
_UNFOLDED = (
    "feedback WHERE kind = 'liked' AND (user_id, song_id) NOT IN (SELECT user_id, song_id FROM animusic.registers)"
)
_MENDED_SECONDS = 20.0


@pytest.mark.parametrize(
    "dropped", ["DATABASE animusic", "TABLE animusic.registers", "VIEW animusic.registers_of_feedback"], ids=str
)
async def test_what_is_dropped_is_made_and_filled_again_without_a_restart(
    log: KafkaSettings,
    clickhouse: ChdbConnection,
    caplog: pytest.LogCaptureFixture,
    dropped: str,
):
    half = len(EVENTS) // 2
    async with producing(log) as to, warehousing(log, clickhouse) as consumer, _asking() as asking:
        await put_events(to, EVENTS[:half])
        await apoll(lambda: _holds(asking, half), timeout=15, interval=0.2, what="the warehouse has come to the end")
        registers = await _counted(asking, "registers FINAL")
        with caplog.at_level(logging.WARNING, "animusic.warehouse"):
            began = asyncio.get_running_loop().time()
            await asyncio.to_thread(asking.command, f"DROP {dropped} SYNC")
            await put_events(to, EVENTS[half:])
            await apoll(lambda: _holds(asking, len(EVENTS)), timeout=_MENDED_SECONDS, interval=0.2, what=dropped)
        assert consumer.not_ready() is None
        assert await _counted(asking, "registers FINAL") >= registers
    said = [record.message for record in caplog.records if record.name == "animusic.warehouse"]
    assert any(line.startswith("dropped: ") for line in said), said
    assert any("the tables are there again" in line for line in said), said
    _healthy(f"DROP {dropped}", began)


@asynccontextmanager
async def _asking() -> AsyncIterator[ChdbConnection]:
    connection = shared.engine().connect()
    yield connection
    connection.close()


async def _counted(asking: ChdbConnection, table: str) -> int:
    found = await asyncio.to_thread(asking.query, f"SELECT count() AS n FROM animusic.{table}")
    return int(found["n"][0].as_py())


async def _holds(asking: ChdbConnection, events: int) -> bool:
    """Whether all is there: rows, what was folded of them, and marks that say so."""
    try:
        rows = await _counted(asking, "feedback_clean")
        found = await asyncio.to_thread(asking.query, "SELECT sum(mark) AS n FROM animusic.marks_clean")
        marks = found["n"][0].as_py()
        missing = await _counted(asking, _UNFOLDED)
    except ClickhouseError:
        return False
    return (rows, marks, missing) == (len({(e.user_id, e.event_id) for e in EVENTS[:events]}), events, 0)
