"""The warehouse process on the real log: killed, started again, asked meanwhile; nothing is lost and nothing twice."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import clickhouse_connect
import httpx
import pytest

from contracts.events import FeedbackEvent
from contracts.fold import fold
from contracts.topics import FEEDBACK
from services.common.settings import KafkaSettings
from services.local.processes.ports import free_port
from services.warehouse.sink import TOPICS
from tests.support.following import dead_letters, producing, put_events
from tests.support.histories import histories
from tests.support.waiting import apoll

pytestmark = pytest.mark.connected

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "contracts" / "examples"


class Process:
    """`animusic serve warehouse` as a child, on a directory and port of its own."""

    def __init__(self, log: KafkaSettings, data_dir: Path, **settings: str) -> None:
        self.port = free_port()
        self.output = data_dir / "warehouse.log"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("ANIMUSIC_")}
        self.environment = {
            **clean, "PYTHONPATH": str(ROOT), "ANIMUSIC_DATA_DIR": str(data_dir),
            "ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS": log.bootstrap_servers, "ANIMUSIC_WAREHOUSE__PORT": str(self.port),
            "ANIMUSIC_WAREHOUSE__GROUP": f"test.{uuid4().hex}",
            "ANIMUSIC_CLICKHOUSE__DSN": f"http://127.0.0.1:{self.port}/animusic", **settings,
        }  # fmt: skip
        self._child: subprocess.Popen[bytes] | None = None

    def start(self, **settings: str) -> None:
        """Start it; it answers a second later."""
        command = [sys.executable, "-m", "services.cli.main", "serve", "warehouse"]
        with self.output.open("ab") as output:
            self._child = subprocess.Popen(
                command, env={**self.environment, **settings}, cwd=ROOT, stdout=output, stderr=output
            )

    @property
    def pid(self) -> int:
        """The process id of the child as it runs now."""
        assert self._child is not None
        return self._child.pid

    def end(self, by: signal.Signals) -> int | None:
        """Signal it, and its exit status."""
        if self._child is None:
            return None
        self._child.send_signal(by)
        status = self._child.wait(timeout=30)
        self._child = None
        return status

    def wait(self) -> int:
        """The exit status, once it ends by itself."""
        assert self._child is not None
        return self._child.wait(timeout=60)

    async def get(self, path: str) -> str:
        """A page of it; "" while it does not answer."""
        async with httpx.AsyncClient() as client:
            try:
                answer = await client.get(f"http://127.0.0.1:{self.port}{path}", timeout=10)
            except httpx.TransportError:
                return ""
            return answer.text if answer.is_success else ""

    async def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows by clickhouse-connect's HTTP client."""

        def rows() -> list[tuple[Any, ...]]:
            client = clickhouse_connect.get_client(host="127.0.0.1", port=self.port)
            found: list[tuple[Any, ...]] = client.query(statement).result_rows
            client.close()
            return found

        return await asyncio.to_thread(rows)

    async def one(self, statement: str) -> int:
        """The one number that a statement answers with."""
        return int((await self.ask(statement))[0][0])

    async def ready(self) -> None:
        """Wait until it follows the log."""
        await apoll(lambda: self.get("/readyz"), timeout=30, what=f"the warehouse is ready; see {self.output}")

    async def marked(self, topic: str, upto: int) -> bool:
        """Whether the marks of a topic's partitions add up to `upto`."""
        return await self.one(f"SELECT sum(mark) FROM animusic.marks_clean WHERE topic = '{topic}'") == upto


@pytest.fixture
def warehouse(log: KafkaSettings, tmp_path: Path) -> Iterator[Process]:
    """A warehouse with small batches, not started yet."""
    process = Process(log, tmp_path, ANIMUSIC_WAREHOUSE__BATCH_RECORDS="400", ANIMUSIC_WAREHOUSE__FLUSH_MS="50")
    yield process
    process.end(signal.SIGKILL)


async def test_killed_in_the_middle_it_ends_with_each_event_once(log: KafkaSettings, warehouse: Process) -> None:
    events = [event for history in histories(11, 400) for event in history.events]
    events += events[::20]
    warehouse.start()
    async with producing(log) as producer:
        await put_events(producer, events[:1_500])
        await warehouse.ready()
        # Killed with some of it in the store and some not, twice, with more coming in meanwhile.
        for part in (events[1_500:3_500], events[3_500:]):
            before = await warehouse.one("SELECT count() FROM animusic.feedback")
            flood = asyncio.create_task(put_events(producer, part))
            more = partial(_more_than, warehouse, before)
            await apoll(more, timeout=20, interval=0.0, what="rows arrive while it is asked")
            assert warehouse.end(signal.SIGKILL) == -signal.SIGKILL
            await flood
            warehouse.start()
            await warehouse.ready()
        await apoll(lambda: warehouse.marked(FEEDBACK.name, len(events)), timeout=60, what="the marks reach the end")
    await _equals_the_fold(warehouse, events)
    assert warehouse.end(signal.SIGTERM) == 0


async def _more_than(warehouse: Process, rows: int) -> bool:
    return await warehouse.one("SELECT count() FROM animusic.feedback") > rows


async def _equals_the_fold(warehouse: Process, events: list[FeedbackEvent]) -> None:
    ids = {(event.user_id, event.event_id) for event in events}
    clean = await warehouse.ask("SELECT user_id, event_id FROM animusic.feedback_clean")
    assert len(clean) == len(ids)
    assert {(user, UUID(str(event))) for user, event in clean} == ids
    folded = fold(events)
    found = await warehouse.ask("SELECT user_id, song_id, liked FROM animusic.listener_songs")
    assert len(found) == len({(row[0], row[1]) for row in found})
    assert {(user, song) for user, song, _ in found} == {
        (user, song) for user, registers in folded.items() for song in (*registers.songs, *registers.exposures)
    }
    liked = {
        (user, song) for user, registers in folded.items() for song, packed in registers.songs.items() if packed[36]
    }
    assert {(user, song) for user, song, value in found if value} == liked
    plays = {(user, *play) for user, registers in folded.items() for play in registers.played}
    assert await warehouse.one("SELECT uniqExact(user_id, song_id, play_id) FROM animusic.played") == len(plays)


async def test_every_topic_arrives_and_poison_goes_to_the_dead_letters(log: KafkaSettings, warehouse: Process) -> None:
    warehouse.start()
    sent = [path for topic in TOPICS for path in sorted((EXAMPLES / topic).glob("*.json"))]
    bad = sum(".bad." in path.name for path in sent)
    async with producing(log) as producer:
        for path in sent:
            await producer.send_and_wait(path.parent.name, path.read_bytes(), key=b"u", partition=0)
    await warehouse.ready()

    async def all_marked() -> bool:
        return await warehouse.one("SELECT sum(mark) FROM animusic.marks_clean") == len(sent)

    await apoll(all_marked, timeout=20, what="the marks reach the end of all topics")
    rows = {
        table: await warehouse.one(f"SELECT count() FROM animusic.{table}")
        for table in ("feedback", "playlists", "catalogue", "model_switches", "forgotten")
    }
    assert rows == {"feedback": 9, "playlists": 1, "catalogue": 2, "model_switches": 1, "forgotten": 1}
    assert await warehouse.one("SELECT count() FROM animusic.served_slots") > 0
    in_dlq = await dead_letters(log)
    assert len(in_dlq) == bad
    assert {headers["step"] for _, headers in in_dlq} == {"warehouse"}


async def test_a_second_warehouse_on_the_same_data_says_so(log: KafkaSettings, warehouse: Process) -> None:
    warehouse.start()
    await warehouse.ready()
    second = Process(log, warehouse.output.parent)
    second.output = second.output.with_name("second.log")
    second.start()
    assert await asyncio.to_thread(second.wait) == 75
    assert "is another warehouse running on it?" in second.output.read_text()


async def test_sigterm_flushes_what_is_held(log: KafkaSettings, warehouse: Process) -> None:
    patient = {"ANIMUSIC_WAREHOUSE__BATCH_RECORDS": "20000", "ANIMUSIC_WAREHOUSE__FLUSH_MS": "60000"}
    events = [event for history in histories(12, 10) for event in history.events]
    warehouse.start(**patient)
    await warehouse.ready()
    async with producing(log) as producer:
        await put_events(producer, events)

    async def held() -> bool:
        return f'animusic_consumer_records_total{{step="warehouse"}} {len(events)}.0' in await warehouse.get("/metrics")

    await apoll(held, timeout=20, what="all records are held")
    assert await warehouse.one("SELECT count() FROM animusic.feedback") == 0
    assert warehouse.end(signal.SIGTERM) == 0
    warehouse.start(**patient)
    await warehouse.ready()
    assert await warehouse.marked(FEEDBACK.name, len(events))
    assert await warehouse.one("SELECT uniqExact(`partition`, `offset`) FROM animusic.feedback") == len(events)
