"""What one reader is asked to do, and what it says while it does: both cross a process boundary as JSON."""

from typing import Final

from pydantic import BaseModel, ConfigDict

from contracts.marks import MarkName
from services.common.kafka.consuming.model import Assignment
from services.common.process.priority import IDLE
from services.common.settings import KafkaSettings, RedisSettings

# Where a rate is asked for, so many fields are written or compared in the time of one record: else a flush, which holds
# ten seconds of the log, would come to the store at once. More than one, so that it is over before the next is due.
FIELDS_A_RECORD: Final = 2


class Partition(BaseModel):
    """One partition to read.

    Attributes:
        partitions: how many partitions its topic has.
        start: offset to begin at where the generation has no mark; None: the first that the log still has.
        until: offset to stop before; None: never stop, follow the log.
        begin, end: first offset and end of the partition when the job was made.
        size: records to read, as far as known when the job was made; only balances the work.
        shards: shards whose marks move with the partition beside those by placement.
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
    shards: tuple[int, ...] = ()

    @property
    def assignment(self) -> Assignment:
        """As the consumer kit names it."""
        return Assignment(MarkName(self.topic_id, self.partition), self.topic, self.partitions)

    @property
    def field(self) -> str:
        """The name of its mark."""
        return self.assignment.name.field()


class Job(BaseModel):
    """Partitions to fold into a generation.

    Attributes:
        rate: most records a second, and twice as many fields; None: as fast as it goes.
        hold_records: flush at the latest after so many; a playlist counts for ten.
        nice: how far processes stand back where they share processors with what serves (0-19).
    """

    kafka: KafkaSettings
    redis: RedisSettings
    generation: str
    partitions: tuple[Partition, ...]
    rate: float | None = None
    hold_records: int = 200_000
    nice: int = IDLE


class Report(BaseModel):
    """How far a reader is.

    Attributes:
        positions: name of a mark -> offset before which everything is in the store.
        read: name of a mark -> offset that is read next; what lies between the two is held or being written.
        ends: name of a mark -> end of the partition as the reader knows it.
        records: read since the start; `poison`: of these, how many could not be read (they are dead letters).
        gaps: what the log did not have any more, one sentence each.
        memory: resident bytes of the process.
        done: every partition has been read to its `until`.
        error: why it stopped; empty while it goes on.
    """

    positions: dict[str, int] = {}
    read: dict[str, int] = {}
    ends: dict[str, int] = {}
    records: int = 0
    poison: int = 0
    gaps: tuple[str, ...] = ()
    memory: int = 0
    done: bool = False
    error: str = ""
