"""Every topic of the log in one table: its writer, its key, its retention."""

from dataclasses import dataclass
from typing import Final, Literal

DAY_MS: Final = 86_400_000


@dataclass(frozen=True)
class Topic:
    """One topic.

    Attributes:
        name: the name in Kafka; the suffix is the version of its records' meaning.
        keyed_by: what the record key holds. `user` topics are placed by `contracts.placement`.
        cleanup: `keep` all records, `compact` to the last record of a key, or `expire` after `retention_ms`.
        retention_ms: milliseconds; None where nothing expires.
    """

    name: str
    written_by: str
    keyed_by: Literal["user", "song", "arm", "source", "writer"]
    cleanup: Literal["keep", "compact", "expire"]
    retention_ms: int | None = None

    @property
    def config(self) -> dict[str, str]:
        """The topic's configuration in Kafka."""
        if self.cleanup == "compact":
            # A consumer that was stopped for a month must still see the tombstones.
            return {"cleanup.policy": "compact", "delete.retention.ms": str(30 * DAY_MS)}
        retention = -1 if self.retention_ms is None else self.retention_ms
        return {"cleanup.policy": "delete", "retention.ms": str(retention), "retention.bytes": "-1"}


FEEDBACK: Final = Topic("animusic.feedback.v1", "gateway", "user", "keep")
PLAYLISTS: Final = Topic("animusic.playlists.v1", "recommender", "user", "keep")
PROFILES: Final = Topic("animusic.profiles.v1", "gateway", "user", "compact")
CATALOGUE: Final = Topic("animusic.catalogue.v1", "collectors", "song", "compact")
MODELS: Final = Topic("animusic.models.v1", "model_jobs", "arm", "compact")
MODEL_BUILDS: Final = Topic("animusic.model-builds.v1", "model_jobs", "arm", "keep")
LEDGER: Final = Topic("animusic.ledger.v1", "gateway, probe", "writer", "expire", 90 * DAY_MS)
DEAD_LETTERS: Final = Topic("animusic.dead-letters.v1", "consumers", "source", "expire", 30 * DAY_MS)

TOPICS: Final[tuple[Topic, ...]] = (
    FEEDBACK, PLAYLISTS, PROFILES, CATALOGUE, MODELS, MODEL_BUILDS, LEDGER, DEAD_LETTERS,
)  # fmt: skip

# Small topics that must be read in one order have one partition; the others have `kafka.partitions`.
SINGLE_PARTITION: Final[frozenset[str]] = frozenset(
    {MODELS.name, MODEL_BUILDS.name, LEDGER.name, DEAD_LETTERS.name, CATALOGUE.name}
)


def partitions_for(topic: Topic, user_partitions: int) -> int:
    """How many partitions a topic is created with, given the setting for user-keyed topics."""
    return 1 if topic.name in SINGLE_PARTITION else user_partitions


# Headers of a dead letter; its key and value are the untouched bytes of the record that could not be read. `letter` and
# `attempts` (1: the first failure) are explained in `contracts.dead_letters`; older ones have only the first six.
DEAD_LETTER_HEADERS: Final[tuple[str, ...]] = (
    "reason", "step", "topic", "partition", "offset", "time", "topic_id", "letter", "attempts",
)  # fmt: skip
