"""What a verification compares with, and what it finds."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from typing import Any, Final, Literal

from services.common.settings import KafkaSettings
from services.operator.readers.clickhouse import ClickhouseReader, caught_up
from services.operator.readers.log import Offsets
from services.operator.readers.redis import ProfilesReader

Store = Literal["redis", "clickhouse"]
Kind = Literal[
    "register differs", "anime list differs", "history differs", "user missing", "extra user",
    "forgotten user still there", "forgetting missing", "row missing", "row doubled", "extra row", "outcome differs",
    "song missing", "song differs",
]  # fmt: skip
ADVICE: Final[dict[Store, str]] = {
    "redis": "`animusic replay profiles --even-if-different` rebuilds profiles from the log",
    "clickhouse": "`animusic replay warehouse --even-if-different` rebuilds the warehouse from the log",
}
KEPT: Final = 1_000
# Listeners that a sample has at least, where there are so many.
AT_LEAST: Final = 100
# How often something that moves is compared again before it is called unsettled.
ROUNDS: Final = 8
# (what, done, total)
Progress = Callable[[str, int, int], None]


class CannotCompare(RuntimeError):
    """A store does not catch up with the log. `str()` says what to do."""


@dataclass(frozen=True)
class Fault:
    """One difference between a store and the log.

    Attributes:
        user: whom it is about; "" where that is unknown.
        field: song or anime, and register, as people write them (`song anidb-7: liked`); "" for a whole user or row.
        log, store_holds: both values, decoded for people.
        places: `topic/partition@offset` of the records that made either value, or of the row.
    """

    store: Store
    kind: Kind
    user: str
    field: str = ""
    log: str = ""
    store_holds: str = ""
    places: tuple[str, ...] = ()

    @property
    def advice(self) -> str:
        """What to do."""
        return ADVICE[self.store]


@dataclass
class Report:
    """What was compared, and what was found.

    Attributes:
        sample: share of the users that was compared register by register; every row was compared.
        listeners: how many the stores know of; `users` are those of them that were compared.
        users, registers: compared in each store. rows: records of the log held against the rows.
        songs: served songs of the catalogue held against ClickHouse.
        lists: listeners whose anime list, and those whose history of playlists, was compared.
        dead_letters: records that a store refused: they are among the dead letters, and no fault.
        unsettled: users who wrote so often that no store came to rest for them.
        notes: what limits the comparison, one sentence each.
        faults: at most 1,000; `found` counts all.
    """

    sample: float
    listeners: int = 0
    users: int = 0
    registers: int = 0
    lists: int = 0
    rows: int = 0
    songs: int = 0
    dead_letters: int = 0
    seconds: float = 0.0
    unsettled: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    found: int = 0

    def add(self, fault: Fault) -> None:
        """Note one."""
        self.found += 1
        if len(self.faults) < KEPT:
            self.faults.append(fault)

    def unsettle(self, users: Iterable[str]) -> None:
        """Note users that could not be compared."""
        self.unsettled += sorted(set(users) - set(self.unsettled))

    @property
    def empty(self) -> bool:
        """Whether there was no listener to compare."""
        return not (self.users or self.lists)

    @property
    def code(self) -> int:
        """The exit code: 0 equal, 1 differences, 2 some users could not be compared, 3 there was nothing to compare."""
        return 1 if self.found else 2 if self.unsettled else 3 if self.empty else 0


@dataclass(frozen=True)
class Sample:
    """Which users: those named, else a share of all, by a hash of the id that never changes.

    A share of few may be no user: `at_least` users are compared, or all where there are fewer.
    """

    share: float
    users: frozenset[str] = frozenset()
    at_least: int = AT_LEAST

    def of(self, listeners: int) -> "Sample":
        """The sample of so many listeners."""
        few = self.at_least / listeners if listeners else 1.0
        return replace(self, share=min(1.0, max(self.share, few)))

    def holds(self, user_id: str) -> bool:
        """Whether a user is in it."""
        if self.users:
            return user_id in self.users
        if self.share >= 1:
            return True
        hashed = blake2b(user_id.encode(), digest_size=8, person=b"verify").digest()
        return int.from_bytes(hashed, "big") < self.share * 2**64


@dataclass
class Comparison:
    """What every check needs. `refused`: (topic, partition, offset) of each dead letter -> the steps that refused it.

    `seconds`: how long a store is waited for that is behind; `forgotten`: users of the sample whom the log forgot.
    """

    kafka: KafkaSettings
    profiles: ProfilesReader
    warehouse: ClickhouseReader
    report: Report
    sample: Sample
    seconds: float
    tell: Progress
    refused: Mapping[tuple[str, int, int], frozenset[str]]
    forgotten: set[str] = field(default_factory=set)

    def refused_by(self, record: Any) -> frozenset[str]:
        """The steps that sent this record to the dead letters."""
        return self.refused.get((record.topic, record.partition, record.offset), frozenset())

    async def reached(self, log: Offsets, *stores: Store) -> None:
        """Wait until stores have come to these ends. Raises CannotCompare."""
        for store in stores:
            marks = partial(self.profiles.marks, log) if store == "redis" else self.warehouse.marks
            if await caught_up(log, marks, self.seconds):
                raise CannotCompare(
                    f"{store} did not catch up with the log within {self.seconds:.0f} s; `animusic status` shows how "
                    "far it is. Try again when it has caught up"
                )


def place_of(record: Any) -> str:
    """Where a record lies, as people write it."""
    return f"{record.topic}/{record.partition}@{record.offset}"
