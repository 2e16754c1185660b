"""`animusic restore`: a backup into an empty log."""

import asyncio
import logging
from pathlib import Path
from typing import Annotated

import typer

from services.cli.progress import bar
from services.common.settings import Settings
from services.local.locking import reachable_kafka
from services.operator.backup.extras import check_extras, key_digest, read_extras, restore_vectors
from services.operator.backup.manifest import MANIFEST
from services.operator.backup.restoring import RestoreResult, restore

_NEXT = """\
Next
  start the system; with a surviving Valkey or ClickHouse, move their directories away first: both follow from the log,
  and what they knew of the log before carries its offsets
  {key}
  `animusic status` shows how far profiles and warehouse have come"""


def command(
    directory: Annotated[Path, typer.Argument(help="Where `animusic backup` put the files.", metavar="DIR")],
    *,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a restore that was interrupted.")] = False,
) -> None:
    """Write a backup into an empty log: same partitions, same order, same keys, headers and times.

    Every file is checked before anything is written; a damaged one is named. Where no system runs on the data
    directory its Kafka is started for this alone, and the next `animusic run` goes on from what was restored.
    """
    if not (directory / MANIFEST).exists():
        raise LookupError(f"there is no backup in {directory}: it has no {MANIFEST}")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    settings = Settings()
    check_extras(directory)
    with reachable_kafka(settings) as log:
        restored = asyncio.run(restore(log, directory, bar, resume=resume))
    arms = restore_vectors(directory, settings.embeddings_dir)
    _say(settings, directory, restored, arms)


def _say(settings: Settings, directory: Path, restored: RestoreResult, arms: list[str]) -> None:
    manifest = restored.manifest
    print(f"{'written':<10}{restored.written:>12,} records in {restored.seconds:.1f} s")
    print(f"{'holds':<10}{manifest.records:>12,} records in {len(manifest.topics)} topics, as the backup")
    for place, by in sorted(restored.moved.items()):
        print(f"{place}: up to {by:,} offsets lower than before; what compaction had removed leaves no holes")
    if arms:
        print(f"{'vectors':<10}of {', '.join(arms)}: the next start makes their models of them")
    print(_NEXT.format(key=_about_the_key(settings, read_extras(directory).key)))


def _about_the_key(settings: Settings, before: str) -> str:
    """Whether the listeners' sessions stay valid, and what to do otherwise."""
    kept = settings.data_dir.absolute() / "secret"
    if settings.secret is None and not kept.is_file():
        return f"put the signing key of before there first (ANIMUSIC_SECRET, or {kept}), or listeners begin anew"
    if not before:
        return f"the signing key of before must be there (ANIMUSIC_SECRET, or {kept}), or listeners begin anew"
    if key_digest(settings.signing_key()) == before:
        return "the signing key of before is there: listeners' sessions go on"
    return (
        f"the signing key here is NOT the one of before: put that one there (ANIMUSIC_SECRET, or {kept}), or every "
        "session is refused and listeners begin anew"
    )
