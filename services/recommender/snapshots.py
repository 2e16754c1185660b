"""Catalogue snapshots: the catalogue and the live models, followed on the log and replaced as a whole.

A snapshot never changes. A request uses the current one until its end, so it sees one catalogue and one version of each
model.
"""

import asyncio
import logging
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from pydantic import ValidationError

from contracts.arms import CONTENT_ARMS
from contracts.evolution.versions import NewerSchema
from contracts.models import LiveModel
from contracts.records import MODEL_VERSIONS
from contracts.topics import CATALOGUE, MODELS
from services.common.process.loop import freeze_gc
from services.recommender.arms.content import not_built
from services.recommender.catalogue import Catalogue, build_catalogue
from services.recommender.catalogue_song import CatalogueSong, UnreadableSong, read_song
from services.recommender.live_models import RETRY_SECONDS, LiveModels, Opener
from services.recommender.metrics import CATALOGUE_SONGS, UNREADABLE
from services.recommender.models import BoundModel, ServedModel, bind

logger = logging.getLogger(__name__)

# A burst of catalogue records gives one new snapshot: after a pause of QUIET_SECONDS, or after BURST_SECONDS.
QUIET_SECONDS: Final = 0.25
BURST_SECONDS: Final = 2.0


class UnreadableModel(ValueError):
    """A record of a model that contradicts its key."""


@dataclass(frozen=True)
class CatalogueSnapshot:
    """The catalogue and the models that serve it.

    Attributes:
        left_out: content arm -> why it has no model here.
        behind: arm -> why it serves another version than that of its record.
    """

    catalogue: Catalogue
    models: Mapping[str, BoundModel] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    behind: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def remote(self) -> tuple[BoundModel, ...]:
        """The models whose index is on another machine."""
        return tuple(bound for bound in self.models.values() if bound.model.remote is not None)


class SnapshotStore:
    """Receives records of the two topics and keeps `current` up to date.

    `take` only stores the changes. `run` decodes, sorts and opens collections in a thread.
    """

    def __init__(
        self, opener: Opener, *, quiet_seconds: float = QUIET_SECONDS, retry_seconds: float = RETRY_SECONDS
    ) -> None:
        self.current = CatalogueSnapshot(build_catalogue(()), left_out={arm: not_built(arm) for arm in CONTENT_ARMS})
        self._models = LiveModels(opener)
        self._quiet_seconds = quiet_seconds
        self._retry_seconds = retry_seconds
        self._entries: dict[str, CatalogueSong] = {}
        self._wanted: dict[str, LiveModel] = {}
        self._songs: dict[str, bytes | None] = {}
        self._changed = asyncio.Event()
        self.ready = asyncio.Event()

    def take(self, records: list[Any]) -> None:
        """Store records of either topic; the last one of a key counts."""
        for record in records:
            key = (record.key or b"").decode(errors="replace")
            if record.topic == CATALOGUE.name:
                self._songs[key] = record.value
            elif record.topic == MODELS.name:
                self._take_model(key, record.value)
        self._changed.set()

    def _take_model(self, arm: str, value: bytes | None) -> None:
        if value is None:
            self._wanted.pop(arm, None)
            return
        try:
            record = MODEL_VERSIONS.read(value)
            if record.arm != arm:
                raise UnreadableModel(f"its key is {arm}, but its arm is {record.arm}")
            self._wanted[arm] = record
        except (ValidationError, NewerSchema, UnreadableModel) as problem:
            UNREADABLE.labels(MODELS.name).inc()
            logger.error("a record of %s for %s cannot be read; the arm keeps its model: %s", MODELS.name, arm, problem)

    async def run(self, caught_up: asyncio.Event) -> None:
        """Build a new snapshot after each change, until cancelled. Sets `ready` after the first complete one."""
        await caught_up.wait()
        while True:
            self._changed.clear()
            await self._rebuild()
            self.ready.set()
            await self._wait_for_change()

    async def _wait_for_change(self) -> None:
        """Wait for a change, and for the burst to pause; or until it is time to retry a failed model."""
        retry = self._retry_seconds if self._models.failures else None
        try:
            await asyncio.wait_for(self._changed.wait(), retry)
        except TimeoutError:
            return
        deadline = asyncio.get_running_loop().time() + BURST_SECONDS
        while self._changed.is_set() and asyncio.get_running_loop().time() < deadline:
            self._changed.clear()
            await asyncio.sleep(self._quiet_seconds)

    async def _rebuild(self) -> None:
        """Build the catalogue first, so that a slow collection does not delay new songs."""
        songs, self._songs = self._songs, {}
        if songs:
            self.current = await asyncio.to_thread(self._with_songs, songs)
        wanted = dict(self._wanted)
        other = self._models.failures or not self._models.serves_exactly(wanted)
        if other:
            retired = await asyncio.to_thread(self._models.follow, wanted)
            self.current = await asyncio.to_thread(self._with_models, self.current.catalogue)
            _close_after_use(retired)
        if songs or other:
            freeze_gc()

    def _with_songs(self, songs: Mapping[str, bytes | None]) -> CatalogueSnapshot:
        for song_id, value in songs.items():
            self._put_song(song_id, value)
        CATALOGUE_SONGS.set(len(self._entries))
        catalogue = build_catalogue(self._entries.values()).warm()
        logger.info("the catalogue has %d songs of %d anime", len(catalogue), len(catalogue.anime))
        return self._with_models(catalogue)

    def _with_models(self, catalogue: Catalogue) -> CatalogueSnapshot:
        opened, failures = self._models.opened, self._models.failures
        return CatalogueSnapshot(
            catalogue,
            {arm: self._bound(model, catalogue) for arm, model in opened.items()},
            left_out={arm: failures.get(arm, not_built(arm)) for arm in CONTENT_ARMS if arm not in opened},
            behind={arm: why for arm, why in failures.items() if arm in opened},
        )

    def _put_song(self, song_id: str, value: bytes | None) -> None:
        known = self._entries.get(song_id)
        if known is not None and known.value == value:
            return
        try:
            entry = None if value is None else read_song(value)
        except UnreadableSong as problem:
            UNREADABLE.labels(CATALOGUE.name).inc()
            logger.error("the catalogue's record of %s cannot be read; the former record is kept: %s", song_id, problem)
            return
        if entry is None:
            self._entries.pop(song_id, None)
        else:
            self._entries[entry.song_id] = entry

    def _bound(self, model: ServedModel, catalogue: Catalogue) -> BoundModel:
        known = self.current.models.get(model.record.arm)
        if known is not None and known.model is model and self.current.catalogue is catalogue:
            return known
        return bind(model, catalogue)


def _close_after_use(retired: list[ServedModel]) -> None:
    """Close an index once the last request that uses its snapshot has ended."""
    while retired:
        model = retired.pop()
        weakref.finalize(model, model.index.close)
