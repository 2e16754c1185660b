"""What is asked of a rebuild of the warehouse, and what it says of itself: the bodies of its admin route."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

State = Literal["none", "interrupted", "running", "done", "failed"]


class RebuildRequest(BaseModel):
    """What was asked for.

    Attributes:
        workers: processes that read and decode.
        rate: most records a second, all workers together; None: as fast as it goes.
        hold_records: most records that a worker holds before it hands them over, a few kB each: at the default two
            workers stay below 1 GB.
        switch: make the new tables the live ones; False: build and compare only.
        keep: leave the former tables as the database animusic_before.
        even_if_different: switch although they differ (the live ones are known to be wrong).
        new: throw away what an interrupted rebuild has built, and begin anew.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: int = Field(2, ge=1, le=32)
    rate: float | None = Field(None, gt=0)
    hold_records: int = Field(40_000, ge=100, le=1_000_000)
    nice: int = Field(5, ge=0, le=19)
    switch: bool = True
    keep: bool = False
    even_if_different: bool = False
    new: bool = False


class Compared(BaseModel):
    """One table of both sides: rows after deduplication, and the sum of their hashes."""

    table: str
    live_rows: int
    next_rows: int
    equal: bool
    digest: str


class Status(BaseModel):
    """How a rebuild is.

    Attributes:
        went_on: it took up what an earlier one had built.
        records, seconds: read by this one until it had reached the live tables for the first time.
        done, total: records in the new tables, and in the live ones.
        poison: records that no table takes: they are among the dead letters.
        memory: most resident bytes of its readers together.
        engine_cpu, cpu_seconds: seconds of CPU that this process and the workers used for `records`.
        gaps: what the log did not have any more, one sentence each.
        paused_ms: how long the live tables took no rows, while the two were compared and exchanged.
        error: why it stopped; it can go on from there.
    """

    state: State = "none"
    phase: str = "starting"
    went_on: bool = False
    records: int = 0
    seconds: float = 0.0
    per_second: float = 0.0
    done: int = 0
    total: int = 0
    poison: int = 0
    memory: int = 0
    engine_cpu: float = 0.0
    cpu_seconds: float = 0.0
    gaps: list[str] = []
    compared: tuple[Compared, ...] = ()
    paused_ms: float = 0.0
    switched: bool = False
    error: str = ""

    @property
    def behind(self) -> int:
        """Records that the live tables have and the new ones have not."""
        return max(0, self.total - self.done)

    @property
    def equal(self) -> bool:
        """Whether it was compared and nothing differed."""
        return bool(self.compared) and all(table.equal for table in self.compared)
