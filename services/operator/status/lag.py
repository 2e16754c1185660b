"""The lag of the stores behind the log, by their own high-water marks; two samples give rates."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from contracts.marks import MarkName
from contracts.topics import CATALOGUE, FEEDBACK, LEDGER, MODEL_BUILDS, MODELS, PLAYLISTS, PROFILES
from services.common.settings import KafkaSettings
from services.operator.readers.log import Offsets, admin
from services.operator.status.model import Lag

# What each store follows; a test holds this equal to what the services themselves say.
_PROFILES: Final = (FEEDBACK.name, PROFILES.name, PLAYLISTS.name)
FOLLOWED: Final[dict[str, tuple[str, ...]]] = {
    "profiles": _PROFILES,
    "warehouse": (*_PROFILES, CATALOGUE.name, MODELS.name, MODEL_BUILDS.name, LEDGER.name),
}


@dataclass(frozen=True)
class Sample:
    """The log, and each store's marks by name; a store that did not answer is missing from `marks`."""

    log: Offsets
    marks: dict[str, Mapping[MarkName, int]] = field(default_factory=dict)


async def committed(settings: KafkaSettings, groups: Mapping[str, str]) -> dict[str, dict[TopicPartition, int]]:
    """The committed offsets of each store's group; a group that Kafka does not know is left out."""
    found = {}
    async with admin(settings) as kafka:
        for store, group in groups.items():
            try:
                offsets = await kafka.list_consumer_group_offsets(group)
            except KafkaError:
                continue
            found[store] = {
                tp: committed_offset.offset for tp, committed_offset in offsets.items() if committed_offset.offset >= 0
            }
    return found


def lags(
    sample: Sample,
    groups: Mapping[str, str],
    *,
    before: Sample | None = None,
    committed: Mapping[str, Mapping[TopicPartition, int]] | None = None,
    timestamps: Mapping[str, Mapping[TopicPartition, int]] | None = None,
    now: int = 0,
) -> list[Lag]:
    """One Lag for each partition that a store follows.

    `groups`: store -> group; `before`: an earlier sample, for rates; `timestamps`: store -> partition -> time of the
    record at the mark, ms, as `now` is.
    """
    found = []
    for store, marks in sample.marks.items():
        for tp, end in sorted(sample.log.ends.items()):
            if tp.topic not in FOLLOWED[store]:
                continue
            mark = marks.get(sample.log.mark(tp))
            lag = sample.log.lag(tp, mark)
            at = (timestamps or {}).get(store, {}).get(tp) if lag else None
            committed_offset = (committed or {}).get(store, {}).get(tp)
            age = None if at is None else max(0.0, (now - at) / 1000)
            rates = _rates(before, sample, store, tp)
            found.append(
                Lag(store, groups[store], tp.topic, tp.partition, end, mark, committed_offset, lag, *rates, age)
            )
    return found


def _rates(before: Sample | None, after: Sample, store: str, tp: TopicPartition) -> tuple[float | None, float | None]:
    """Records a second between two samples of one topic: of the log, and of the store."""
    if before is None or tp not in before.log.ends or before.log.mark(tp) != after.log.mark(tp):
        return None, None
    seconds = max(after.log.at - before.log.at, 1e-3)
    old, new = (sample.marks.get(store, {}).get(after.log.mark(tp)) for sample in (before, after))
    handled = None if old is None or new is None else max(0.0, (new - old) / seconds)
    return max(0.0, (after.log.ends[tp] - before.log.ends[tp]) / seconds), handled
