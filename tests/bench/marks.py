"""How far both stores have come: their own marks beside the ends of the log."""

from urllib.parse import quote

from aiokafka import AIOKafkaConsumer, TopicPartition

from contracts.marks import MarkName
from contracts.topics import FEEDBACK
from services.common.kafka import refresh_metadata, topic_ids
from services.common.redis import connect
from services.common.settings import KafkaSettings, Settings
from services.profiles.generations import Generations
from services.profiles.keys import ShardKeys
from tests.bench.http_load import Connection, request
from tests.support.waiting import apoll

PATIENCE_S = 600.0
Ends = dict[int, int]


async def feedback_id(settings: Settings) -> str:
    """The id of the feedback topic."""
    return (await topic_ids(settings.kafka.bootstrap_servers, [FEEDBACK.name]))[FEEDBACK.name]


async def ends_of(settings: KafkaSettings, topic: str) -> Ends:
    """Partition -> offset of the next record of a topic."""
    client = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False)
    await client.start()
    try:
        await refresh_metadata(client)
        partitions = [TopicPartition(topic, number) for number in client.partitions_for_topic(topic) or ()]
        return {at.partition: end for at, end in (await client.end_offsets(partitions)).items()}
    finally:
        await client.stop()


async def wait_until_caught_up(settings: Settings) -> None:
    """Return once profiles and warehouse have taken all feedback that is in the log now."""
    topic_id, ends = await feedback_id(settings), await ends_of(settings.kafka, FEEDBACK.name)
    redis, sql = connect(settings.redis), Sql(settings)

    async def profiles() -> bool:
        live = await Generations(redis).live()
        # Any shard of a partition will do, and shard n belongs to partition n.
        for partition, end in ends.items():
            field = MarkName(topic_id, partition).field()
            if int(await redis.hget(ShardKeys.of(live, partition).marks, field) or 0) < end:
                return False
        return True

    async def warehouse() -> bool:
        return await sql.number(f"SELECT sum(mark) FROM animusic.marks_clean WHERE topic_id = '{topic_id}'") >= sum(
            ends.values()
        )

    try:
        await apoll(profiles, timeout=PATIENCE_S, interval=0.1, what="profiles have taken the whole log")
        await apoll(warehouse, timeout=PATIENCE_S, interval=0.3, what="the warehouse has taken the whole log")
    finally:
        sql.close()
        await redis.aclose()


class Sql:
    """The warehouse's read-only endpoint, over one connection."""

    def __init__(self, settings: Settings) -> None:
        self._connection = Connection(settings.warehouse.port)

    async def ask(self, statement: str) -> str:
        """The answer as tab-separated text. Raises RuntimeError with what the endpoint said."""
        status, body = await self._connection.ask(request("GET", f"/?query={quote(statement)}"))
        if status != 200:
            raise RuntimeError(f"the warehouse refused a statement: {status} {body[:500]!r}")
        return body.decode()

    async def number(self, statement: str) -> int:
        """The one number that a statement answers; 0 for nothing."""
        return int((await self.ask(statement)).strip() or 0)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()
