"""`animusic models list`: the models on this machine, and the live ones."""

import asyncio
from collections.abc import Iterable, Mapping, Set
from datetime import UTC, datetime

from rich.table import Table

from contracts.model_builds import ModelBuild
from contracts.models import LiveModel
from model_jobs.build import stale_models
from model_jobs.builds import read_builds
from model_jobs.live import live_models
from services.cli.progress import say
from services.cli.reaching import reach_log
from services.common.kafka.catalogue_log import read_catalogue
from services.common.settings import Settings
from services.common.tables import print_table
from services.common.vectors.published import published_models

# An arm and its version.
Version = tuple[str, str]


def command() -> None:
    """List the models on this machine, which are live and which were. `animusic models build` renews stale ones."""
    settings = Settings()
    live, stale, were_live = asyncio.run(_live(settings))
    table = Table("arm", "version", "vectors", "songs", "built (UTC)", "state", box=None)
    on_disk = published_models(settings.vectors_dir)
    elsewhere = [record for record in live.values() if record not in on_disk]
    for record in sorted([*on_disk, *elsewhere], key=lambda record: (record.arm, -record.built_at)):
        state = state_of(record, live, stale, were_live, here=record in on_disk)
        table.add_row(*_row(record), state)
    if table.row_count:
        print_table(table)
    else:
        say("no models yet; `animusic models build` makes them")


async def _live(settings: Settings) -> tuple[dict[str, LiveModel], set[str], set[Version]]:
    """Arm -> its live model, the arms that a build would renew, and the versions that were live before."""
    await reach_log(settings.kafka)
    were_live = versions_once_live(await read_builds(settings.kafka))
    live, digest = await live_models(settings.kafka), (await read_catalogue(settings.kafka)).digest()
    # What was built from this very catalogue needs no closer look.
    if all(record.catalogue_digest == digest for record in live.values()):
        return live, set(), were_live
    return live, {model.arm for model in await stale_models(settings)}, were_live


def versions_once_live(history: Iterable[ModelBuild]) -> set[Version]:
    """The versions that an arm was switched to, or away from, as far as builds and switches are remembered."""
    went_live = (build for build in history if build.went_live)
    return {(build.arm, version) for build in went_live for version in (build.version, build.replaced) if version}


def state_of(
    record: LiveModel, live: Mapping[str, LiveModel], stale: Set[str], were_live: Set[Version], *, here: bool
) -> str:
    """The state of a version: `live`, `was live` or `never live`, with remarks."""
    state = "was live" if (record.arm, record.version) in were_live else "never live"
    if record.arm in live and live[record.arm].version == record.version:
        state = "live"
    if state == "live" and record.arm in stale:
        state += ", stale"
    if not here:
        state += ", not on this machine"
    if record.params.get("made_up"):
        state += ", made up"
    return state


def _row(record: LiveModel) -> tuple[str, ...]:
    built = datetime.fromtimestamp(record.built_at / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    return record.arm, record.version, f"{record.vectors} {record.dimension:,}", f"{record.songs:,}", built
