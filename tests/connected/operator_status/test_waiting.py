"""Whoever answers from ClickHouse waits for what the log has already, and says what is missing."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.model_builds import ModelBuild
from contracts.topics import MODEL_BUILDS
from services.common.process.clock import now_ms
from services.common.settings import ClickhouseSettings, KafkaSettings, Settings
from services.local.processes.ports import free_port
from services.operator.readers.clickhouse import warehouse_lacks
from tests.connected.warehouse.test_service import Process
from tests.support.following import producing

pytestmark = pytest.mark.connected


@pytest.fixture
def warehouse(log: KafkaSettings, tmp_path: Path) -> Iterator[Process]:
    """A warehouse that holds what it reads for two seconds, started."""
    process = Process(log, tmp_path, ANIMUSIC_WAREHOUSE__FLUSH_MS="2000")
    process.start()
    yield process
    process.end(signal.SIGKILL)


async def _build(log: KafkaSettings) -> None:
    built = ModelBuild(arm="tfidf", version="0" * 16, outcome="built", went_live=True, started_at=now_ms(), songs=1)
    async with producing(log) as to:
        await to.send_and_wait(MODEL_BUILDS.name, built.log_value(), key=b"tfidf", partition=0)


async def test_what_was_just_written_is_waited_for(log: KafkaSettings, warehouse: Process, tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path, kafka=log, clickhouse=ClickhouseSettings(dsn=f"http://127.0.0.1:{warehouse.port}/animusic")
    )
    # Not even its endpoint is there yet.
    await _build(log)
    said: list[str] = []
    assert await warehouse_lacks(settings, [MODEL_BUILDS.name], 60, said.append) == 0
    behind = f"waiting for the warehouse: 1 records of {MODEL_BUILDS.name} are not in it yet"
    assert said == [f"waiting for the warehouse: nothing answers at 127.0.0.1:{warehouse.port} yet", behind]
    assert (await warehouse.ask("SELECT count() FROM animusic.model_builds"))[0][0] == 1
    assert await warehouse_lacks(settings, [MODEL_BUILDS.name], 60, said.append) == 0
    assert len(said) == 2


async def test_what_does_not_answer_is_said_where_the_log_does(log: KafkaSettings, tmp_path: Path) -> None:
    nowhere = ClickhouseSettings(dsn=f"http://127.0.0.1:{free_port()}/animusic")
    await _build(log)
    settings = Settings(data_dir=tmp_path, kafka=log, clickhouse=nowhere)
    with pytest.raises(ConnectionError, match="the warehouse did not answer at"):
        await warehouse_lacks(settings, [MODEL_BUILDS.name], 0.5, lambda line: None)
    away = KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}")
    unasked = Settings(data_dir=tmp_path, kafka=away, clickhouse=nowhere)
    assert await warehouse_lacks(unasked, [MODEL_BUILDS.name], 0.5, lambda line: None) == 0
