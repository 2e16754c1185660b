"""`animusic restore`: a backup into an empty log."""

import asyncio
import logging
from pathlib import Path
from typing import Annotated

import typer

from services.cli.progress import bar
from services.common.settings import Settings
from services.local.standing_log import standing_log
from services.operator.backup.manifest import MANIFEST
from services.operator.backup.restoring import Restored, restore

_NEXT = """\
Next
  start the system; with a surviving Valkey or ClickHouse, move their directories away first: both follow from the log,
  and what they knew of the log before carries its offsets
  the signing key of before must be there (ANIMUSIC_SECRET, or <data_dir>/secret), or listeners begin anew
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
    with standing_log(Settings()) as log:
        restored = asyncio.run(restore(log, directory, bar, resume=resume))
    _say(restored)


def _say(restored: Restored) -> None:
    manifest = restored.manifest
    print(f"{'written':<10}{restored.written:>12,} records in {restored.seconds:.1f} s")
    print(f"{'holds':<10}{manifest.records:>12,} records in {len(manifest.topics)} topics, as the backup")
    for place, by in sorted(restored.moved.items()):
        print(f"{place}: up to {by:,} offsets lower than before; what compaction had removed leaves no holes")
    print(_NEXT)
