"""What a reader of a rebuild is asked to do, and what it hands over: both cross a process boundary.

A reader gets its job as one line of JSON, then lines with new limits. It answers with frames: one line of JSON (Frame),
then the bytes of its blocks, one after the other, each an Arrow stream for one table.
"""

from pydantic import BaseModel, ConfigDict

from contracts.marks import MarkName
from services.common.settings import KafkaSettings


class Partition(BaseModel):
    """One partition to read from `start` (None: the first record that the log still has), never past its limit."""

    model_config = ConfigDict(frozen=True)

    topic: str
    topic_id: str
    partition: int
    start: int | None = None

    @property
    def name(self) -> MarkName:
        """The name of its mark."""
        return MarkName(self.topic_id, self.partition)


class Job(BaseModel):
    """Partitions to read. `rate`: most records a second; `hold_records`: hand over at the latest after so many."""

    kafka: KafkaSettings
    partitions: tuple[Partition, ...]
    limits: dict[str, int]
    rate: float | None = None
    hold_records: int
    nice: int


class Block(BaseModel):
    """`size` bytes of rows for a table."""

    table: str
    size: int
    rows: int


class Frame(BaseModel):
    """What was read since the last frame.

    Attributes:
        marks: name of a mark -> (topic, offset before which everything is in this frame or an earlier one).
        records: how many records it stands for; `poison`: how many of them no table takes (they are dead letters).
        memory: resident bytes of the process; `cpu_seconds`: what it has used so far.
        error: why it stopped; empty while it goes on.
    """

    blocks: tuple[Block, ...] = ()
    marks: dict[str, tuple[str, int]] = {}
    records: int = 0
    poison: int = 0
    memory: int = 0
    cpu_seconds: float = 0.0
    error: str = ""


class Limits(BaseModel):
    """New limits: name of a mark -> offset to stop before, until the next ones come."""

    limits: dict[str, int]
