"""Published versions on the Qdrant server of the settings, beside their directories here; without one, nothing to do.

The directory stays the origin: a build is checked and kept there, and a server that lost its disk gets every version
again with the next switch to it.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

from contracts.models import LiveModel
from model_jobs.model import Report, no_report
from services.common.settings import Settings
from services.common.vectors.published import load_published

if TYPE_CHECKING:
    from services.common.vectors.server import Connect


async def copy_to_server(settings: Settings, record: LiveModel, report: Report = no_report) -> None:
    """Let the server hold a published version, whole, before it goes live; returns at once where it does already.

    Raises RuntimeError when the server fails, FileNotFoundError when the version does not lie here.
    """
    if settings.qdrant.url is None:
        return
    from services.common.vectors.server import write_collection

    published = load_published(settings.vectors_dir / record.collection)
    async with _connect(settings)() as client:
        await write_collection(client, record, published.song_ids, published.raw, report)


async def name_on_server(settings: Settings, record: LiveModel) -> None:
    """Let the alias `<arm>` name this version. Raises RuntimeError when the server fails."""
    if settings.qdrant.url is None:
        return
    from services.common.vectors.server import switch_alias

    async with _connect(settings)() as client:
        await switch_alias(client, record)


async def settle_on_server(settings: Settings, record: LiveModel) -> None:
    """What a live version needs of a server that was set, or lost its disk, after the switch to it."""
    await copy_to_server(settings, record)
    await name_on_server(settings, record)


async def drop_from_server(settings: Settings, arm: str, keep: Collection[str]) -> list[str]:
    """Delete the arm's collections but those of the versions to keep; returns the names of what is gone."""
    if settings.qdrant.url is None:
        return []
    from services.common.vectors.server import drop_collections

    async with _connect(settings)() as client:
        return await drop_collections(client, [arm], {f"{arm}-{version}" for version in keep})


def _connect(settings: Settings) -> "Connect":
    # Imported where it is used: the client takes a second, and one machine alone never needs it.
    from services.common.vectors.server import connecting

    return connecting(settings.qdrant)
