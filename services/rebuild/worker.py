"""One process of a rebuild: `python -m services.rebuild.worker`, started by `workers`, never by hand.

Its standard input and output are told in `job`. It ends when its standard input closes: a killed parent leaves no child
behind, and what was not flushed is read again.
"""

import signal

# Ctrl-C goes to the whole group, also while this imports; the parent decides when a worker stops.
signal.signal(signal.SIGINT, signal.SIG_IGN)

import asyncio
import gc
import os
import pkgutil
import sys
from collections.abc import Sequence
from typing import Any, Final

from aiokafka.errors import KafkaError
from pydantic import TypeAdapter
from redis.exceptions import RedisError

from contracts.evolution.versions import NewerSchema
from services.common.kafka.consuming.retry import OutageTooLong
from services.common.process.loop import run
from services.common.process.startup import configure_logging, lower_priority
from services.rebuild.job import Block, Job, Report
from services.rebuild.reading import Reader

_SAY_SECONDS: Final = 0.25
_EXPLAINED: Final = (NewerSchema, OutageTooLong, KafkaError, RedisError, ConnectionError, LookupError, OSError)
_LIMITS: Final[TypeAdapter[dict[str, int]]] = TypeAdapter(dict[str, int])
_out = asyncio.Lock()


async def main() -> None:
    """The process."""
    lines = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    job = Job.model_validate_json(await lines.readline())
    lower_priority(job.nice)
    # Thousands of records are held until they are flushed: looking for cycles among them is a quarter of the work.
    gc.set_threshold(100_000)

    async def hand_over(blocks: Sequence[tuple[str, bytes]]) -> None:
        named = tuple(Block(name=name, size=len(block)) for name, block in blocks)
        await _say(reader.report().model_copy(update={"blocks": named}), *(block for _, block in blocks))

    reader: Reader[Any] = Reader(job, pkgutil.resolve_name(job.sink)(job.options, hand_over))
    listening = asyncio.create_task(_listen(lines, reader))
    saying = asyncio.create_task(_keep_saying(reader))
    try:
        await reader.run()
    except _EXPLAINED as error:
        await _say(Report(error=str(error) or type(error).__name__))
    finally:
        listening.cancel()
        saying.cancel()


async def _listen(lines: asyncio.StreamReader, reader: Reader[Any]) -> None:
    while line := await lines.readline():
        reader.limit(_LIMITS.validate_json(line))
    os._exit(0)


async def _keep_saying(reader: Reader[Any]) -> None:
    while True:
        await asyncio.sleep(_SAY_SECONDS)
        await _say(reader.report())


async def _say(report: Report, *blocks: bytes) -> None:
    async with _out:
        await asyncio.to_thread(_write, report, blocks)


def _write(report: Report, blocks: Sequence[bytes]) -> None:
    out = sys.stdout.buffer
    out.write(report.model_dump_json().encode() + b"\n")
    for block in blocks:
        out.write(block)
    out.flush()


if __name__ == "__main__":
    configure_logging(os.environ.get("ANIMUSIC_LOG_LEVEL", "WARNING"))
    run(main())
