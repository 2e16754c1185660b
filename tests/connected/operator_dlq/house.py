"""Profiles and warehouse in this process, on one log; records for them; what they know; the letters that they wrote."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis
from typer.testing import CliRunner

from contracts.placement import partition_of
from contracts.topics import FEEDBACK
from services.cli.errors import explain
from services.cli.main import app
from services.common.clickhouse import ChdbConnection
from services.common.settings import KafkaSettings
from services.operator.dlq.log import read_dead_letters
from services.operator.dlq.model import DeadLetter
from tests.support.following import at_end, ends, following, producing, settings_for, warehousing
from tests.support.waiting import apoll


@dataclass
class House:
    """A log with its two consumers running."""

    log: KafkaSettings
    redis: Redis
    clickhouse: ChdbConnection
    producer: AIOKafkaProducer
    data_dir: Path

    async def put(self, values: Iterable[tuple[str, bytes | None]], topic: str = FEEDBACK.name) -> None:
        """Append (user, value) records where they belong; all are durable at the end."""
        partitions = len(await self.producer.partitions_for(topic))
        sending = [
            await self.producer.send(topic, value, key=user.encode(), partition=partition_of(user, partitions))
            for user, value in values
        ]
        await asyncio.gather(*sending)

    async def settled(self) -> None:
        """Wait until both stores' marks are at the end of the log as of now."""
        await at_end(self.log, self.redis, timeout=240)
        wanted = {name: end for name, (end, _) in (await ends(self.log)).items() if end}

        async def there() -> bool:
            found = self.ask("SELECT topic_id, `partition`, mark FROM animusic.marks_clean")
            marks = {(row["topic_id"], row["partition"]): row["mark"] for row in found}
            return all(marks.get(name, 0) >= end for name, end in wanted.items())

        await apoll(there, timeout=240, interval=0.1, what="the warehouse's marks are at the end of the log")

    def ask(self, statement: str) -> list[dict[str, Any]]:
        """Rows of ClickHouse."""
        found: list[dict[str, Any]] = self.clickhouse.query(statement).to_pylist()
        return found

    async def clickhouse_holds(self, rows: int) -> bool:
        """Whether the log's feedback lies in ClickHouse, each record once; what it holds otherwise is an error."""
        (found,) = self.ask("SELECT uniqExact(`partition`, `offset`) AS n FROM animusic.feedback")
        assert found["n"] == rows, found
        return True

    async def dead_letters(self) -> list[DeadLetter]:
        """Every letter, in the order in which they were first found."""
        return list((await read_dead_letters(self.log)).by_id.values())

    async def animusic(self, *words: str, status: int = 0) -> str:
        """What a command prints on both channels; its exit status must be `status`. It runs in this process."""
        clean = {name: None for name in os.environ if name.startswith("ANIMUSIC_")}
        environment: dict[str, str | None] = {
            **clean, "ANIMUSIC_DATA_DIR": str(self.data_dir), "COLUMNS": "250",
            "ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS": self.log.bootstrap_servers,
        }  # fmt: skip
        done = await asyncio.to_thread(CliRunner().invoke, app, words, env=environment)
        printed, code = done.output, done.exit_code
        if isinstance(done.exception, Exception):
            sentence, code, _ = explain(done.exception)
            printed += sentence
        assert code == status, printed
        return printed


@contextlib.asynccontextmanager
async def house(
    log: KafkaSettings, redis: Redis, redis_url: str, clickhouse: ChdbConnection, data_dir: Path
) -> AsyncIterator[House]:
    """Start both consumers, and stop them at the end."""
    settings = settings_for(log, redis_url, data_dir)
    async with producing(log) as producer, following(settings, redis), warehousing(log, clickhouse, hold_seconds=0.2):
        yield House(log, redis, clickhouse, producer, data_dir)
