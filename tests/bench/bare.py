"""Bare consumption, from a process of its own: `python -m tests.bench.bare BOOTSTRAP_SERVERS TOPIC NICE` prints it.

One aiokafka consumer that only counts the records of a topic: what anything that reads them is compared with.
"""

import asyncio
import sys
import time

import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.common.kafka import refresh_metadata
from services.common.process.startup import lower_priority
from services.common.settings import REPO_ROOT, KafkaSettings

FETCH_BYTES = 4 << 20


async def consume_bare(settings: KafkaSettings, topic: str, *, nice: int = 0) -> float:
    """Records a second, from the start of the topic to its end as of then; the process's own start does not count.

    `nice`: its nice value, as a rebuild's processes have one. Raises RuntimeError when it fails.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.bare", settings.bootstrap_servers, topic, str(nice),
        stdout=asyncio.subprocess.PIPE, cwd=REPO_ROOT, start_new_session=True,
    )  # fmt: skip
    said, _ = await child.communicate()
    if child.returncode:
        raise RuntimeError(f"bare consumption ended with status {child.returncode}")
    return float(said)


async def _consumed(bootstrap_servers: str, topic: str) -> float:
    client = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, enable_auto_commit=False, max_partition_fetch_bytes=FETCH_BYTES
    )
    await client.start()
    try:
        await refresh_metadata(client)
        partitions = [TopicPartition(topic, number) for number in client.partitions_for_topic(topic) or ()]
        client.assign(partitions)
        await client.seek_to_beginning(*partitions)
        wanted = sum((await client.end_offsets(partitions)).values())
        began, seen = time.perf_counter(), 0
        while seen < wanted:
            seen += sum(map(len, (await client.getmany(timeout_ms=500)).values()))
        return seen / (time.perf_counter() - began)
    finally:
        await client.stop()


if __name__ == "__main__":
    lower_priority(int(sys.argv[3]))
    print(uvloop.run(_consumed(sys.argv[1], sys.argv[2])))
