"""A warehouse that has just been started does not listen yet: it is waited for, and what is missing is said."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from services.common.settings import ClickhouseSettings, Settings
from services.local.processes.ports import free_port
from services.operator.readers import clickhouse
from services.operator.readers.clickhouse import warehouse_answers, warehouse_lacks
from services.operator.readers.log import Offsets

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: close\r\n\r\n{"data":[]}'


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(asyncio.IncompleteReadError):
        await reader.readuntil(b"marks_clean")
    writer.write(ANSWER)
    await writer.drain()
    writer.close()


async def later(port: int) -> asyncio.Server:
    await asyncio.sleep(0.5)
    return await asyncio.start_server(answer, "127.0.0.1", port)


def at(port: int) -> ClickhouseSettings:
    return ClickhouseSettings(dsn=f"http://somebody:secret@127.0.0.1:{port}/animusic")


async def empty_log(*_: object) -> Offsets:
    at = {TopicPartition("t", 0): 0}
    return Offsets(0.0, {"t": "0" * 32}, at, at)


async def test_a_warehouse_that_listens_late_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(clickhouse, "offsets", empty_log)
    port, said = free_port(), list[str]()
    settings = Settings(data_dir=tmp_path, clickhouse=at(port))
    starting = asyncio.create_task(later(port))
    lacks = await warehouse_lacks(settings, ["t"], 30, said.append)
    assert starting.done()
    assert (lacks, said) == (0, [f"waiting for the warehouse: nothing answers at 127.0.0.1:{port} yet"])
    await warehouse_answers(settings.clickhouse, 30, said.append)
    assert len(said) == 1
    starting.result().close()


async def test_one_that_never_listens_is_said_with_its_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(clickhouse, "offsets", empty_log)
    port, said = free_port(), list[str]()
    with pytest.raises(ConnectionError, match=f"the warehouse did not answer at 127.0.0.1:{port} within 1 s"):
        await warehouse_lacks(Settings(data_dir=tmp_path, clickhouse=at(port)), ["t"], 1, said.append)
    assert len(said) == 1
