"""The warehouse rebuilt beside the live tables: equal, exchanged without a lost event, killed and resumed."""

import asyncio
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.events import FeedbackEvent
from contracts.topics import CATALOGUE, FEEDBACK, MODELS, PLAYLISTS, PROFILES
from services.common.settings import ClickhouseSettings, KafkaSettings, Settings
from services.operator.replay.warehouse import WarehouseRebuild
from services.warehouse.rebuild_status import RebuildRequest, Status
from tests.connected.warehouse.test_service import EXAMPLES, Process
from tests.support.following import producing, put_events
from tests.support.histories import histories
from tests.support.waiting import apoll

pytestmark = pytest.mark.connected

_VIEWS = ("exposure_curve", "arm_engagement", "listener_songs", "feedback_clean", "songs", "live_models", "slots")


@pytest.fixture
def warehouse(log: KafkaSettings, tmp_path: Path) -> Iterator[Process]:
    """A warehouse with small batches, not started yet."""
    process = Process(log, tmp_path, ANIMUSIC_WAREHOUSE__BATCH_RECORDS="400", ANIMUSIC_WAREHOUSE__FLUSH_MS="50")
    yield process
    process.end(signal.SIGKILL)


def _rebuild(log: KafkaSettings, process: Process) -> WarehouseRebuild:
    dsn = f"http://127.0.0.1:{process.port}/animusic"
    data_dir = Path(process.environment["ANIMUSIC_DATA_DIR"])
    return WarehouseRebuild(Settings(data_dir=data_dir, kafka=log, clickhouse=ClickhouseSettings(dsn=dsn)))


async def _views(process: Process) -> dict[str, list[tuple[Any, ...]]]:
    columns = {"feedback_clean": "* EXCEPT inserted_at"}
    return {
        view: sorted(await process.ask(f"SELECT {columns.get(view, '*')} FROM animusic.{view}"), key=repr)
        for view in _VIEWS
    }


async def _put_examples(log: KafkaSettings) -> None:
    """Every good example of every topic: the parts that feedback alone does not reach."""
    async with producing(log) as producer:
        for topic in (FEEDBACK.name, PLAYLISTS.name, CATALOGUE.name, MODELS.name, PROFILES.name):
            for path in sorted((EXAMPLES / topic).glob("*.json")):
                await producer.send_and_wait(topic, path.read_bytes(), key=b"u", partition=0)


def _events(seed: int, listeners: int) -> list[FeedbackEvent]:
    return [event for history in histories(seed, listeners) for event in history.events]


async def test_rebuilt_while_events_arrive_it_is_equal_and_loses_none(log: KafkaSettings, warehouse: Process) -> None:
    warehouse.start()
    await _put_examples(log)
    events, more = _events(21, 150), _events(22, 150)
    async with producing(log) as producer:
        await put_events(producer, [*events, *events[::10]])
        await warehouse.ready()
        async with _rebuild(log, warehouse) as rebuild:
            task = asyncio.create_task(rebuild.watch(RebuildRequest(rate=2_000, hold_records=200, keep=True)))
            said = set()
            for start in range(0, len(more), 50):
                await put_events(producer, more[start : start + 50])
                said.add(await _doing(warehouse))
            while not task.done():
                said.add(await _doing(warehouse))
                await asyncio.sleep(0.02)
            status = await task
    told = re.compile(r"(starting|reading|catching up|comparing|switching): [\d,]+ of [\d,]+ records, [\d,]+ records/s")
    assert all(told.fullmatch(words) for words in said if words), said
    assert {"starting", "reading"} <= {words.partition(":")[0] for words in said}, said
    assert "rebuild" not in json.loads(await warehouse.get("/readyz"))
    assert status.switched, status
    assert status.equal
    assert {table.table for table in status.compared if table.live_rows} >= {"feedback", "registers", "catalogue"}
    total = len(events) + len(events[::10]) + len(more)
    await apoll(lambda: _holds(warehouse, total), timeout=20, what="the live consumer goes on in the new tables")
    rebuilt = await _views(warehouse)
    # What was live before is still there, and a second rebuild of the whole log finds nothing else.
    assert await warehouse.one("SELECT count() FROM animusic_before.feedback") > len(events)
    async with _rebuild(log, warehouse) as rebuild:
        again = await rebuild.watch(RebuildRequest())
    assert again.switched
    assert await _views(warehouse) == rebuilt
    assert await warehouse.one("SELECT count() FROM system.databases WHERE name = 'animusic_next'") == 0


async def _doing(warehouse: Process) -> str:
    return json.loads(await warehouse.get("/readyz")).get("rebuild", "")


async def _says(warehouse: Process, words: str) -> bool:
    return await _doing(warehouse) == words


async def _holds(warehouse: Process, events: int) -> bool:
    counted = "SELECT uniqExact(topic_id, `partition`, `offset`) FROM animusic.feedback WHERE length(user_id) > 0"
    examples = len([path for path in (EXAMPLES / FEEDBACK.name).glob("*.json") if ".bad." not in path.name])
    return await warehouse.one(counted) == events + examples


async def test_killed_in_the_middle_it_goes_on(log: KafkaSettings, warehouse: Process) -> None:
    events = _events(23, 120)
    warehouse.start()
    async with producing(log) as producer:
        await put_events(producer, events)
    await warehouse.ready()
    await apoll(lambda: warehouse.marked(FEEDBACK.name, len(events)), timeout=30, what="the live tables hold all")
    before = await _views(warehouse)
    async with _rebuild(log, warehouse) as rebuild:
        seen: list[Status] = []
        task = asyncio.create_task(rebuild.watch(RebuildRequest(rate=400, hold_records=200), seen.append))
        starts = f"starting: 0 of {len(events):,} records, 0 records/s"
        await apoll(lambda: _says(warehouse, starts), what="it says how much there is before it reads")
        await apoll(lambda: _some(seen, 300), timeout=30, what="a part of the log is in the new tables")
        with pytest.raises(RuntimeError, match="goes on already"):
            await rebuild.start(RebuildRequest())
        assert warehouse.end(signal.SIGKILL) == -signal.SIGKILL
        warehouse.start()
        # The watcher waits for the warehouse, and asks it to go on.
        status = await task
    assert status.went_on
    assert status.switched
    assert status.equal
    assert 0 < status.records < len(events), "it began where the killed one had come to"
    assert await _views(warehouse) == before


async def _some(seen: list[Status], records: int) -> bool:
    return bool(seen) and seen[-1].records >= records


async def test_tables_that_are_wrong_are_replaced_only_when_told(log: KafkaSettings, warehouse: Process) -> None:
    events = _events(24, 60)
    warehouse.start()
    async with producing(log) as producer:
        await put_events(producer, events)
    await warehouse.ready()
    await apoll(lambda: warehouse.marked(FEEDBACK.name, len(events)), timeout=30, what="the live tables hold all")
    right = await _views(warehouse)
    assert warehouse.end(signal.SIGTERM) == 0
    _lose_a_row(Path(warehouse.environment["ANIMUSIC_DATA_DIR"]))
    warehouse.start()
    await warehouse.ready()
    async with _rebuild(log, warehouse) as rebuild:
        refused = await rebuild.watch(RebuildRequest())
        assert not refused.switched
        assert {table.table for table in refused.compared if not table.equal} == {"feedback"}
        assert await _views(warehouse) != right
        mended = await rebuild.watch(RebuildRequest(even_if_different=True))
        assert mended.switched
        assert mended.went_on
    assert await _views(warehouse) == right


def _lose_a_row(data_dir: Path) -> None:
    """With an engine in a process of its own: this one's has another directory."""
    import subprocess
    import sys

    script = (
        "from pathlib import Path; from services.common.clickhouse import ChdbEngine; "
        f"c = ChdbEngine(Path({str(data_dir / 'clickhouse')!r}), 500).connect(); "
        "c.command('DELETE FROM animusic.feedback WHERE (`partition`, `offset`) IN "
        "(SELECT `partition`, `offset` FROM animusic.feedback ORDER BY `partition`, `offset` LIMIT 1)'); c.close()"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[3])
