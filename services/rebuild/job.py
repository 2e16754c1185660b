"""What a worker is asked to do, and what it says while it does: both cross a process boundary as lines of JSON.

A worker gets its Job as one line, then lines with new limits. It answers with Reports, one a line; behind the line of
one that names blocks follow the bytes of these blocks.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict

from contracts.marks import MarkName
from services.common.kafka.consuming.model import Assignment
from services.common.settings import KafkaSettings


class Partition(BaseModel):
    """One partition to read.

    Attributes:
        partitions: how many partitions its topic has.
        start: offset to begin at where the target has no mark; None: the first that the log still has.
        until: offset to stop before; None: the log is followed.
        begin, end: first offset and end of the partition when the rebuild was planned.
        size: records to read, as far as known then.
    """

    model_config = ConfigDict(frozen=True)

    topic: str
    topic_id: str
    partition: int
    partitions: int
    start: int | None = None
    until: int | None = None
    begin: int = 0
    end: int = 0
    size: int = 0

    @property
    def assignment(self) -> Assignment:
        """As sinks name it."""
        return Assignment(MarkName(self.topic_id, self.partition), self.topic, self.partitions)

    @property
    def field(self) -> str:
        """The name of its mark."""
        return self.assignment.name.field()


class Job(BaseModel):
    """Partitions to read into a sink.

    Attributes:
        sink: `module:function` that makes the sink from `options` and from a function that hands blocks over.
        limits: name of a mark -> offset to stop before, until other limits come; without one the log is followed.
        rate: most records a second; None: as fast as it goes.
        hold_records: flush at the latest after so many.
        nice: lowest priority (0-19) that the process takes.
    """

    kafka: KafkaSettings
    sink: str
    options: dict[str, Any]
    partitions: tuple[Partition, ...]
    limits: dict[str, int] = {}
    rate: float | None = None
    hold_records: int
    nice: int = 0


class Block(BaseModel):
    """`size` bytes for the part of the target that is called `name`."""

    name: str
    size: int


class Report(BaseModel):
    """How far a worker is.

    Attributes:
        blocks: what follows this line, and belongs to the target before the positions of the *next* report hold.
        positions: name of a mark -> offset before which everything is flushed.
        read: name of a mark -> offset that is read next.
        ends: name of a mark -> end of the partition as the worker knows it.
        records: read since the start; `poison`: of these, how many could not be read (they are dead letters).
        gaps: what the log did not have any more, one sentence each.
        memory: resident bytes of the process; `cpu_seconds`: what it has used.
        error: why it stopped; empty while it goes on.
    """

    blocks: tuple[Block, ...] = ()
    positions: dict[str, int] = {}
    read: dict[str, int] = {}
    ends: dict[str, int] = {}
    records: int = 0
    poison: int = 0
    gaps: tuple[str, ...] = ()
    memory: int = 0
    cpu_seconds: float = 0.0
    error: str = ""
