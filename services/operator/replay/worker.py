"""One process of a rebuild: `python -m services.operator.replay.worker`, started by `workers`, never by hand.

It reads a Job as one line of JSON from standard input and writes a Report as one line of JSON four times a second. It
ends when its job is done, at the line `stop`, and when standard input closes: a killed parent leaves no child behind.
At the line `hurry` it takes each record as it comes.
"""

import asyncio
import os
import signal
import sys
from typing import Final

from services.common.process.loop import run
from services.common.process.telemetry import configure_logging
from services.common.redis import connect
from services.operator.replay.job import Job, Report
from services.operator.replay.reading import Reader

_SAY_SECONDS: Final = 0.25


async def main() -> None:
    """The process."""
    # Ctrl-C goes to the whole group; the parent decides when a worker stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lines = await _standard_input()
    job = Job.model_validate_json(await lines.readline())
    redis = connect(job.redis)
    reader = Reader(job, redis)
    told = asyncio.create_task(_do_as_told(lines, reader))
    saying = asyncio.create_task(_keep_saying(reader))
    try:
        _say(await reader.whole())
    finally:
        told.cancel()
        saying.cancel()
        await redis.aclose()


async def _standard_input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=1 << 24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def _do_as_told(lines: asyncio.StreamReader, reader: Reader) -> None:
    while line := await lines.readline():
        if line == b"hurry\n":
            reader.hurry()
        else:
            reader.stop()
            return
    # Whoever started this process is gone: what it did not flush is read again by the next one.
    os._exit(0)


async def _keep_saying(reader: Reader) -> None:
    while True:
        await asyncio.sleep(_SAY_SECONDS)
        _say(reader.report())


def _say(report: Report) -> None:
    sys.stdout.write(report.model_dump_json() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    configure_logging(os.environ.get("ANIMUSIC_LOG_LEVEL", "WARNING"))
    run(main())
