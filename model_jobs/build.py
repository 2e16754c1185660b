"""One build of one arm: catalogue → vectors → checks → published directory → one record that switches to it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from contracts.catalogue import Song
from contracts.models import LiveModel
from model_jobs.checks import check_vectors
from model_jobs.live import live_models, switch
from model_jobs.model import Model, Report, Vectors, no_report, version_of
from model_jobs.publishing import publish, remove_leftovers
from model_jobs.registry import LIGHT, model_named
from services.common.catalogue_log import CatalogueLog, read_catalogue
from services.common.clock import now_ms
from services.common.settings import Settings
from services.common.vectors.published import published_models

Outcome = Literal["already live", "switched to", "built"]


@dataclass(frozen=True)
class Built:
    """What a build came to.

    Attributes:
        outcome: `already live`: nothing was done; `switched to`: the directory was there, only the switch was missing.
        left_out: song id → why the arm has no vector of it.
        recall: recall@10 of the index against an exact search; None when nothing was built.
    """

    record: LiveModel
    outcome: Outcome
    seconds: float
    left_out: Mapping[str, str]
    recall: float | None = None


async def build(settings: Settings, model: Model, report: Report = no_report) -> Built:
    """Build an arm from the catalogue as it is now, unless that version is live already.

    Raises ValueError when the catalogue is empty, checks.CheckFailedError when the vectors are not fit to be served
    (the live model stays), LookupError when the log has no topics.
    """
    started = time.monotonic()
    report("reading the catalogue", 0, 1)
    catalogue = await read_catalogue(settings.kafka)
    if not catalogue.songs:
        raise ValueError("the catalogue has no songs; `animusic catalogue import sample` loads some")
    version = version_of(model, catalogue.digest())
    live = await live_models(settings.kafka)
    remove_leftovers(settings.vectors_dir, list(live.values()))
    ready = _published(settings, model.arm, version)
    current = live.get(model.arm)
    if ready is not None and current is not None and current.version == version:
        return Built(ready, "already live", time.monotonic() - started, {})
    if ready is not None:
        await switch(settings.kafka, ready)
        return Built(ready, "switched to", time.monotonic() - started, {})
    record, vectors, recall = _make(settings, model, version, catalogue, report)
    await switch(settings.kafka, record)
    remove_leftovers(settings.vectors_dir, [record, *(old for arm, old in live.items() if arm != model.arm)])
    return Built(record, "built", time.monotonic() - started, vectors.left_out, recall)


async def stale_arms(settings: Settings) -> list[str]:
    """The arms of `LIGHT` whose live version is missing, or not that of the catalogue and default parameters."""
    digest = (await read_catalogue(settings.kafka)).digest()
    live = await live_models(settings.kafka)
    stale = []
    for arm in LIGHT:
        version = version_of(model_named(settings, arm), digest)
        if arm not in live or live[arm].version != version or _published(settings, arm, version) is None:
            stale.append(arm)
    return stale


def _make(
    settings: Settings, model: Model, version: str, catalogue: CatalogueLog, report: Report
) -> tuple[LiveModel, Vectors, float]:
    songs: list[Song] = [catalogue.songs[song_id] for song_id in sorted(catalogue.songs)]
    vectors = model.build(songs, report)
    check_vectors(songs, vectors)
    record = LiveModel(
        arm=model.arm,
        version=version,
        vectors=model.vectors,
        dimension=vectors.raw.shape[1],
        songs=len(vectors.song_ids),
        catalogue_digest=catalogue.digest(),
        built_at=now_ms(),
        params=model.params(),
    )
    return record, vectors, publish(settings.vectors_dir, record, vectors, report)


def _published(settings: Settings, arm: str, version: str) -> LiveModel | None:
    found = published_models(settings.vectors_dir)
    return next((record for record in found if (record.arm, record.version) == (arm, version)), None)
