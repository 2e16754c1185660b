"""What is served from: the catalogue and the live models, followed on the log, swapped in whole.

A `World` never changes. A request takes the one of its moment and keeps it to its end, so it sees one catalogue and one
version of each model; the next request may see another.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from contracts.arms import CONTENT_ARMS
from contracts.models import LiveModel
from contracts.topics import CATALOGUE, MODELS
from services.recommender.arms.content import not_built
from services.recommender.catalogue import Catalogue, build_catalogue
from services.recommender.entries import Entry, UnreadableSong, read_entry
from services.recommender.metrics import CATALOGUE_SONGS, MODEL_FAILURES, SWITCHES, UNREADABLE
from services.recommender.models import BoundModel, Model, bind, open_model

_log = logging.getLogger(__name__)

# A burst of catalogue records becomes one new snapshot: built when the burst pauses, or goes on for so long.
QUIET_SECONDS: Final = 0.25
BURST_SECONDS: Final = 2.0
RETRY_SECONDS: Final = 5.0


class UnreadableModel(ValueError):
    """A record of a model that contradicts its key."""


@dataclass(frozen=True)
class World:
    """Catalogue and models of one moment. `left_out`: content arm -> why it has no model here."""

    catalogue: Catalogue
    models: Mapping[str, BoundModel] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


class Library:
    """Takes records of the two topics, keeps `world` up to date.

    `take` only notes what changed; `run` does the slow part - decoding, sorting, opening shards - in a thread.
    """

    def __init__(self, vectors_dir: Path) -> None:
        self.world = World(build_catalogue(()), left_out={arm: not_built(arm) for arm in CONTENT_ARMS})
        self._vectors_dir = vectors_dir
        self._entries: dict[str, Entry] = {}
        self._wanted: dict[str, LiveModel] = {}
        self._songs: dict[str, bytes | None] = {}
        self._opened: dict[str, Model] = {}
        self._failures: dict[str, str] = {}
        self._changed = asyncio.Event()
        self.ready = asyncio.Event()

    def take(self, records: list[Any]) -> None:
        """Note the records of either topic; of one key the last counts."""
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
            record = LiveModel.model_validate_json(value)
            if record.arm != arm:
                raise UnreadableModel(f"it is of the arm {record.arm}")
            self._wanted[arm] = record
        except (ValidationError, UnreadableModel) as problem:
            UNREADABLE.labels(MODELS.name).inc()
            _log.error("a record of %s for %s cannot be read, the arm stays as it is: %s", MODELS.name, arm, problem)

    async def run(self, caught_up: asyncio.Event) -> None:
        """Swap in a new world whenever something changed, for ever. `ready` is set after the first that is complete."""
        await caught_up.wait()
        while True:
            self._changed.clear()
            await self._renew()
            self.ready.set()
            await self._settled()

    async def _settled(self) -> None:
        """Wait for a change, or for the time to try a failed model again; then for the burst to pause."""
        retry = RETRY_SECONDS if self._failures else None
        try:
            await asyncio.wait_for(self._changed.wait(), retry)
        except TimeoutError:
            return
        deadline = asyncio.get_running_loop().time() + BURST_SECONDS
        while self._changed.is_set() and asyncio.get_running_loop().time() < deadline:
            self._changed.clear()
            await asyncio.sleep(QUIET_SECONDS)

    async def _renew(self) -> None:
        songs, self._songs = self._songs, {}
        wanted = dict(self._wanted)
        world, retired = await asyncio.to_thread(self._next_world, songs, wanted)
        self.world = world
        # Requests compute without a pause, so none is in the middle of the old collections now.
        for model in retired:
            model.index.close()

    def _next_world(
        self, songs: Mapping[str, bytes | None], wanted: Mapping[str, LiveModel]
    ) -> tuple[World, list[Model]]:
        catalogue = self._next_catalogue(songs)
        retired = self._open_wanted(wanted)
        models = {arm: self._bound(model, catalogue) for arm, model in self._opened.items()}
        missing = {arm: self._failures.get(arm, not_built(arm)) for arm in CONTENT_ARMS if arm not in models}
        return World(catalogue, models, missing), retired

    def _next_catalogue(self, songs: Mapping[str, bytes | None]) -> Catalogue:
        if not songs:
            return self.world.catalogue
        for song_id, value in songs.items():
            self._put(song_id, value)
        CATALOGUE_SONGS.set(len(self._entries))
        catalogue = build_catalogue(self._entries.values()).warm()
        _log.info("the catalogue has %d songs of %d anime", len(catalogue), len(catalogue.anime))
        return catalogue

    def _put(self, song_id: str, value: bytes | None) -> None:
        known = self._entries.get(song_id)
        if known is not None and known.value == value:
            return
        try:
            entry = None if value is None else read_entry(value)
        except UnreadableSong as problem:
            UNREADABLE.labels(CATALOGUE.name).inc()
            _log.error("the catalogue's record of %s cannot be read, the song stays as it is: %s", song_id, problem)
            return
        if entry is None:
            self._entries.pop(song_id, None)
        else:
            self._entries[entry.song_id] = entry

    def _open_wanted(self, wanted: Mapping[str, LiveModel]) -> list[Model]:
        """Open what is wanted beside what is open; returns the models that nothing needs any more."""
        retired = [self._opened.pop(arm) for arm in list(self._opened) if arm not in wanted]
        self._failures = {arm: why for arm, why in self._failures.items() if arm in wanted}
        for arm, record in wanted.items():
            before = self._opened.get(arm)
            if before is not None and before.record.version == record.version:
                continue
            after = self._open(arm, record)
            if before is not None:
                retired.append(self._opened.pop(arm))
            if after is not None:
                self._opened[arm] = after
        return retired

    def _open(self, arm: str, record: LiveModel) -> Model | None:
        try:
            model = open_model(record, self._vectors_dir)
        except Exception:  # noqa: BLE001 - whatever is wrong with a collection costs its arm, not the service
            MODEL_FAILURES.labels(arm).inc()
            if arm not in self._failures:
                _log.exception("%s cannot be opened; the arm is left out and tried again", record.collection)
            self._failures[arm] = f"{record.collection} cannot be opened: animusic models build {arm} makes another"
            return None
        self._failures.pop(arm, None)
        SWITCHES.labels(arm).inc()
        _log.info("the arm %s serves %s, %d songs", arm, record.collection, record.songs)
        return model

    def _bound(self, model: Model, catalogue: Catalogue) -> BoundModel:
        known = self.world.models.get(model.record.arm)
        if known is not None and known.model is model and self.world.catalogue is catalogue:
            return known
        return bind(model, catalogue)
