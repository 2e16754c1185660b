"""`animusic models list`: what lies on this machine, and what is live."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from contracts.models import LiveModel
from model_jobs.build import stale_models
from model_jobs.live import live_models
from services.cli.progress import say
from services.common.catalogue_log import read_catalogue
from services.common.kafka import wait_for_broker
from services.common.settings import Settings
from services.common.vectors.published import published_models


def command() -> None:
    """List the models that lie on this machine, and which of them are live. `models build` renews stale ones."""
    settings = Settings()
    live, stale = asyncio.run(_live(settings))
    table = Table("arm", "version", "vectors", "songs", "built (UTC)", "state", box=None)
    on_disk = published_models(settings.vectors_dir)
    elsewhere = [record for record in live.values() if record not in on_disk]
    for record in sorted([*on_disk, *elsewhere], key=lambda record: (record.arm, -record.built_at)):
        table.add_row(*_row(record, live, stale, here=record in on_disk))
    if table.row_count:
        Console(soft_wrap=True).print(table)
    else:
        say("no models yet; `animusic models build` makes them")


async def _live(settings: Settings) -> tuple[dict[str, LiveModel], set[str]]:
    """Arm -> its live model, and the arms that a build would renew."""
    await wait_for_broker(settings.kafka)
    live, digest = await live_models(settings.kafka), (await read_catalogue(settings.kafka)).digest()
    # What was built from this very catalogue needs no closer look.
    if all(record.catalogue_digest == digest for record in live.values()):
        return live, set()
    return live, {model.arm for model in await stale_models(settings)}


def _row(record: LiveModel, live: dict[str, LiveModel], stale: set[str], *, here: bool) -> tuple[Any, ...]:
    state = "live" if record.arm in live and live[record.arm].version == record.version else "old"
    if state == "live" and record.arm in stale:
        state += ", stale"
    if not here:
        state += ", not on this machine"
    if record.params.get("made_up"):
        state += ", made up"
    built = datetime.fromtimestamp(record.built_at / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    return record.arm, record.version, f"{record.vectors} {record.dimension:,}", f"{record.songs:,}", built, state
