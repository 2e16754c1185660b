"""One build of one arm: catalogue → vectors → checks → published directory → one record that switches to it."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aiokafka.errors import KafkaError

from contracts.catalogue import Song
from contracts.model_builds import ModelBuild
from contracts.models import LiveModel
from model_jobs.builds import Meter, append, candidates, peak_memory_bytes, read_builds, this_machine
from model_jobs.checks import check_vectors
from model_jobs.lifecycle import go_live, remove_others, switch_to
from model_jobs.live import live_models
from model_jobs.model import ModelBuilder, Report, Vectors, content_digest, no_report, version_of
from model_jobs.neural.arms import Imported
from model_jobs.on_server import settle_on_server
from model_jobs.publishing import KEPT_VERSIONS, ArmBusyError, arm_lock, publish
from model_jobs.registry import LIGHT, model_named
from services.common.kafka.catalogue_log import CatalogueLog, read_catalogue
from services.common.process.clock import now_ms
from services.common.settings import Settings
from services.common.vectors.published import published_models

_log = logging.getLogger(__name__)
Outcome = Literal["already live", "already built", "switched to", "built"]
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Built:
    """The result of a build.

    Attributes:
        outcome: `already live`: nothing was done; `switched to`: the directory was there, only the switch was missing;
            `already built`: it was there, and no switch was wanted.
        live: whether the arm serves it now.
        left_out: song id → why the arm has no vector of it.
        recall: recall@10 of the index against an exact search; None when nothing was built.
    """

    record: LiveModel
    outcome: Outcome
    live: bool
    seconds: float
    left_out: Mapping[str, str]
    recall: float | None = None


async def build(settings: Settings, model: ModelBuilder, report: Report = no_report, *, switch: bool = True) -> Built:
    """Build an arm from the catalogue as it is now, unless that version is there already; make it live if `switch`.

    Waits while another job builds the arm. Raises ValueError when the catalogue is empty, checks.CheckFailedError when
    the vectors are not fit to be served (the live model stays), LookupError when the log has no topics.
    """
    async with _own(settings.vectors_dir, model.arm, report):
        meter = Meter()
        report("reading the catalogue", 0, 1)
        with meter.stage("catalogue"):
            catalogue = await read_catalogue(settings.kafka)
        if not catalogue.songs:
            raise ValueError("the catalogue has no songs; `animusic catalogue import sample` loads some")
        version = version_of(model, content_digest(model, catalogue.songs, catalogue.values))
        live = (await live_models(settings.kafka)).get(model.arm)
        ready = _published(settings, model.arm, version)
        if ready is not None:
            return await _without_building(settings, ready, live, meter, switch=switch)
        return await _Build(settings, model, version, catalogue, live, meter, report).run(switch=switch)


async def _without_building(
    settings: Settings, ready: LiveModel, live: LiveModel | None, meter: Meter, *, switch: bool
) -> Built:
    if live is not None and live.version == ready.version:
        await settle_on_server(settings, ready)
        return Built(ready, "already live", True, meter.seconds, {})
    if not switch:
        return Built(ready, "already built", False, meter.seconds, {})
    await switch_to(settings, ready.arm, ready.version)
    return Built(ready, "switched to", True, meter.seconds, {})


@dataclass(frozen=True)
class _Build:
    """A build that is needed, of an arm whose lock is ours."""

    settings: Settings
    model: ModelBuilder
    version: str
    catalogue: CatalogueLog
    live: LiveModel | None
    meter: Meter
    report: Report

    async def run(self, *, switch: bool) -> Built:
        try:
            record, vectors, recall = self._make()
            if switch:
                with self.meter.stage("publish"):
                    await go_live(self.settings, record, self.report)
        except Exception as failure:
            await self._note_failure(failure)
            raise
        made = {"songs": record.songs, "encoded": record.songs - vectors.reused, "reused": vectors.reused}
        await self._note("built", went_live=switch, left_out=len(vectors.left_out), recall=recall, **made)
        await self._tidy(record)
        return Built(record, "built", switch, self.meter.seconds, vectors.left_out, recall)

    def _make(self) -> tuple[LiveModel, Vectors, float]:
        songs: list[Song] = [self.catalogue.songs[song_id] for song_id in sorted(self.catalogue.songs)]
        with self.meter.stage("vectors"):
            vectors = self.model.build(songs, self.report)
        with self.meter.stage("checks"):
            check_vectors(songs, vectors)
        record = LiveModel(
            arm=self.model.arm,
            version=self.version,
            vectors=self.model.vectors,
            dimension=vectors.raw.shape[1],
            songs=len(vectors.song_ids),
            catalogue_digest=self.catalogue.digest(),
            built_at=now_ms(),
            params=self.model.params(),
        )
        return record, vectors, publish(self.settings.vectors_dir, record, vectors, self.report, self.meter)

    async def _note_failure(self, failure: Exception) -> None:
        """Record the failure in the log if possible; the error of the build matters more."""
        try:
            await self._note("failed", went_live=False, why=f"{failure}" or type(failure).__name__)
        except (KafkaError, OSError) as fault:
            _log.warning("the failed build of %s could not be noted in the log: %s", self.model.arm, fault)

    async def _note(self, outcome: Literal["built", "failed"], **fields: Any) -> None:
        meter = self.meter
        noted = ModelBuild(
            arm=self.model.arm, version=self.version, outcome=outcome, params=self.model.params(),
            replaced=self.live.version if self.live is not None and fields["went_live"] else None,
            started_at=meter.started_at, seconds=meter.seconds, cpu_seconds=meter.cpu_seconds, stages=meter.stages,
            peak_memory_bytes=peak_memory_bytes(), machine=this_machine(getattr(self.model, "device", "cpu")), **fields,
        )  # fmt: skip
        await append(self.settings.kafka, noted)

    async def _tidy(self, record: LiveModel) -> None:
        """Remove what was left behind and what was live too long ago; candidates stay until they are pruned."""
        on_disk = published_models(self.settings.vectors_dir)
        also = {record.version, *candidates(await read_builds(self.settings.kafka), record.arm)}
        await remove_others(self.settings, record.arm, on_disk, KEPT_VERSIONS, also, dry_run=False)


async def stale_models(settings: Settings) -> list[ModelBuilder]:
    """What to build so that every arm that is live, or can be built on any machine, knows the catalogue as it is now.

    An arm keeps the parameters that it is live with. Made-up vectors, and arms that nothing here builds, stay.
    """
    catalogue = await read_catalogue(settings.kafka)
    live = await live_models(settings.kafka)
    stale = []
    for arm in dict.fromkeys([*LIGHT, *sorted(live)]):
        model = _like_live(settings, arm, live.get(arm))
        if model is None:
            continue
        try:
            version = version_of(model, content_digest(model, catalogue.songs, catalogue.values))
        except (RuntimeError, ValueError) as unavailable:
            # A sentence model that was built elsewhere, or whose weights are gone: the live one stays.
            _log.warning("%s", unavailable)
            continue
        if arm not in live or live[arm].version != version or _published(settings, arm, version) is None:
            stale.append(model)
    return stale


async def models_as_live(settings: Settings, arms: Sequence[str]) -> list[ModelBuilder]:
    """The models of arms with the parameters that they are live with, where they are and where those are known.

    A sentence model whose encoder is not here is made of the vectors that its live version was made of, where these
    are here. Raises ValueError for an arm that nothing here builds.
    """
    live = await live_models(settings.kafka)
    return [
        _of_kept_vectors(settings, live.get(arm))
        or _like_live(settings, arm, live.get(arm))
        or model_named(settings, arm)
        for arm in arms
    ]


def _of_kept_vectors(settings: Settings, live: LiveModel | None) -> ModelBuilder | None:
    """The arm of what was encoded before; None where there is nothing, or the encoder is here."""
    if live is None or "revision" not in live.params or "imported" in live.params:
        return None
    kept = Imported(live.arm, live.params["model"], live.params["revision"], settings.embeddings_dir)
    try:
        model_named(settings, live.arm, live.params).params()
    except (RuntimeError, ValueError):
        return kept if kept.is_there else None
    return None


def _like_live(settings: Settings, arm: str, live: LiveModel | None) -> ModelBuilder | None:
    if live is not None and live.params.get("made_up"):
        return None
    with contextlib.suppress(ValueError):
        return model_named(settings, arm, live.params if live is not None else None)
    # The parameters are those of another version of this code, or not what the model is made from.
    with contextlib.suppress(ValueError):
        return model_named(settings, arm)
    return None


def _published(settings: Settings, arm: str, version: str) -> LiveModel | None:
    found = published_models(settings.vectors_dir)
    return next((record for record in found if (record.arm, record.version) == (arm, version)), None)


@contextlib.asynccontextmanager
async def _own(vectors_dir: Path, arm: str, report: Report) -> AsyncIterator[None]:
    """Hold the arm's lock; wait for it."""
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(arm_lock(vectors_dir, arm))
                break
            except ArmBusyError:
                report("waiting: another job builds it", 0, 1)
                await asyncio.sleep(_POLL_SECONDS)
        yield
