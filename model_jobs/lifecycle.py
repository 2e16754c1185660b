"""The versions of an arm: switch, roll back, prune."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from contracts.arms import CONTENT_ARMS
from contracts.model_builds import ModelBuild, Outcome
from contracts.models import LiveModel
from model_jobs.builds import append, live_before, read_builds
from model_jobs.live import live_models, switch
from model_jobs.model import Report, no_report
from model_jobs.on_server import copy_to_server, drop_from_server, name_on_server
from model_jobs.publishing import KEPT_VERSIONS, ArmBusyError, Removed, kept_versions, remove_old
from services.common.process.clock import now_ms
from services.common.settings import Settings
from services.common.vectors.edge import EdgeIndex, sparse_row
from services.common.vectors.index import Query
from services.common.vectors.published import Published, load_published, published_models


@dataclass(frozen=True)
class Switched:
    """A switch that was made. `before`: the version that was live; None when none was."""

    record: LiveModel
    before: str | None


@dataclass(frozen=True)
class Pruned:
    """The removed directories, and the arms that were skipped because a job works on them."""

    removed: Sequence[Removed]
    busy: Sequence[str]


async def switch_to(settings: Settings, arm: str, version: str) -> Switched:
    """Make a published version live, named by its first digits. Nothing happens when it is live already.

    Raises LookupError when no version, or more than one, begins so; ValueError when its directory is not fit.
    """
    found = _named(settings, arm, version)
    return await _switch(settings, found, "switched")


async def roll_back(settings: Settings, arm: str) -> Switched:
    """Make the version live again that was live before; where no record tells, the newest other one on this disk.

    Raises LookupError when there is none, or when it does not lie here any more.
    """
    live = (await live_models(settings.kafka)).get(arm)
    if live is None:
        raise LookupError(f"{arm} has no live model to go back from; `animusic models build {arm}` makes one")
    history = await read_builds(settings.kafka)
    before = live_before(history, arm, live.version)
    known = before is not None or any(build.went_live and build.version == live.version for build in history)
    on_disk = [record for record in published_models(settings.vectors_dir) if record.arm == arm]
    others = [r for r in on_disk if (r.version == before if known else r.version != live.version)]
    if not others:
        raise LookupError(_nothing_before(arm, before, [record.version for record in on_disk]))
    return await _switch(settings, others[0], "rolled back")


def _nothing_before(arm: str, before: str | None, on_disk: Sequence[str]) -> str:
    listed = f"on this disk lie {', '.join(on_disk)}" if on_disk else "none lies on this disk"
    remedy = f"`animusic models switch {arm} VERSION` takes one of them, `animusic models build {arm}` makes another"
    if before is None:
        return f"no version of {arm} was live before this one, and {listed}: {remedy}"
    return f"{arm} was at {before} before, which does not lie here any more; {listed}: {remedy}"


async def prune(settings: Settings, keep: int = KEPT_VERSIONS, *, dry_run: bool = False) -> Pruned:
    """Remove old versions of every arm, but `keep` (the live one, the one before it, the newest), and dead builds.

    Raises ConnectionError or LookupError when the log cannot say what is live: then nothing is removed.
    """
    on_disk = published_models(settings.vectors_dir)
    removed: list[Removed] = []
    busy: list[str] = []
    for arm in CONTENT_ARMS if settings.vectors_dir.is_dir() else ():
        try:
            removed += await remove_others(settings, arm, on_disk, keep, dry_run=dry_run)
        except ArmBusyError:
            busy.append(arm)
    return Pruned(removed, busy)


def _named(settings: Settings, arm: str, version: str) -> LiveModel:
    on_disk = [record for record in published_models(settings.vectors_dir) if record.arm == arm]
    found = [record for record in on_disk if record.version.startswith(version)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(record.version for record in (found or on_disk)) or "none"
    if found:
        raise LookupError(f"{version} is the beginning of {len(found)} versions of {arm}, give more digits: {listed}")
    raise LookupError(
        f"no version of {arm} in {settings.vectors_dir} begins with {version}; there lie: {listed}. "
        f"`animusic models list` shows them, `animusic models build {arm}` makes one"
    )


async def _switch(settings: Settings, record: LiveModel, outcome: Outcome) -> Switched:
    check_published(settings, record)
    live = (await live_models(settings.kafka)).get(record.arm)
    before = live.version if live else None
    if before != record.version:
        await go_live(settings, record)
        noted = ModelBuild(
            arm=record.arm, version=record.version, outcome=outcome, went_live=True, replaced=before,
            started_at=now_ms(), songs=record.songs,
        )  # fmt: skip
        await append(settings.kafka, noted)
    return Switched(record, before)


async def go_live(settings: Settings, record: LiveModel, report: Report = no_report) -> None:
    """Switch an arm by its one record; where a Qdrant server is set, it has the collection and the alias first.

    Raises aiokafka's KafkaError, or RuntimeError when that server fails: then the arm stays as it is.
    """
    await copy_to_server(settings, record, report)
    report("switching", 0, 1)
    await name_on_server(settings, record)
    await switch(settings.kafka, record)


async def remove_others(
    settings: Settings, arm: str, on_disk: Sequence[LiveModel], keep: int, also: Collection[str] = (), *, dry_run: bool
) -> list[Removed]:
    """Remove an arm's old versions here and on the Qdrant server, but `keep` of them and `also`.

    `on_disk`: what is published here, newest first. Raises ArmBusyError, and what asking the log raises.
    """
    live = (await live_models(settings.kafka)).get(arm)
    current = live.version if live is not None else None
    before = live_before(await read_builds(settings.kafka), arm, current)
    kept = kept_versions([record for record in on_disk if record.arm == arm], current, before, keep)
    removed = remove_old(settings.vectors_dir, arm, [*kept, *also], dry_run=dry_run)
    if not dry_run:
        # What is live may have been built on another machine.
        wanted = {*kept, *also, *filter(None, (current, before if keep > 1 else None))}
        removed += [Removed(name, "old, on Qdrant", 0) for name in await drop_from_server(settings, arm, wanted)]
    return removed


def check_published(settings: Settings, record: LiveModel) -> None:
    """Open a published version and ask it once. Raises ValueError with what is wrong and what to do."""
    wrong = _what_is_wrong(settings, record)
    if wrong:
        raise ValueError(
            f"{record.collection} is not fit to be served: {wrong}. "
            f"Remove {settings.vectors_dir / record.collection} and build it again: animusic models build {record.arm}"
        )


def _what_is_wrong(settings: Settings, record: LiveModel) -> str | None:
    try:
        published = load_published(settings.vectors_dir / record.collection)
        shape = tuple(published.raw.shape)
    except (OSError, ValueError) as error:
        return str(error)
    if published.record != record:
        return f"it holds {published.record.collection} of {published.record.songs:,} songs"
    if shape != (record.songs, record.dimension) or len(published.song_ids) != record.songs:
        return f"its rows are {shape}, its songs {len(published.song_ids):,}, its record says {record.dimension}"
    return _what_is_wrong_with_index(published)


def _what_is_wrong_with_index(published: Published) -> str | None:
    try:
        index = EdgeIndex.open(published.shard)
    except (OSError, KeyError, ValueError) as error:
        return str(error)
    try:
        query: Query = (
            np.asarray(published.raw[0]) if published.record.vectors == "dense" else sparse_row(published.raw, 0)
        )
        found, _ = index.search(query, k=1)
    except ValueError as error:
        return str(error)
    finally:
        index.close()
    return None if len(found) else f"its index finds nothing near {published.song_ids[0]}"
