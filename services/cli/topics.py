"""`animusic topics`: the log's topics, made where they are missing."""

import asyncio
from typing import Annotated

import typer
from rich.table import Table

from contracts.topics import DAY_MS, TOPICS, Topic, partitions_for
from services.cli.reaching import reach_log
from services.common.kafka import ensure_topics
from services.common.settings import Settings
from services.common.tables import print_table


def command(
    wait: Annotated[float, typer.Option(help="Seconds to wait for a broker.", metavar="SECONDS")] = 60.0,
) -> None:
    """Create the topics that are missing, with their partitions and retention, and list them all.

    Running it again changes nothing.
    """
    settings = Settings()
    created = asyncio.run(_ensure(settings, wait))
    table = Table("topic", "written by", "key", "partitions", "kept", "now", box=None)
    for topic in TOPICS:
        partitions = str(partitions_for(topic, settings.kafka.partitions))
        now = "created" if topic.name in created else "was there"
        table.add_row(topic.name, topic.written_by, topic.keyed_by, partitions, _kept(topic), now)
    print_table(table)


async def _ensure(settings: Settings, wait: float) -> list[str]:
    await reach_log(settings.kafka, wait)
    return await ensure_topics(settings.kafka)


def _kept(topic: Topic) -> str:
    if topic.cleanup == "compact":
        return f"last of each {topic.keyed_by}"
    return "for ever" if topic.retention_ms is None else f"{topic.retention_ms // DAY_MS} days"
