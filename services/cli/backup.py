"""`animusic backup`: the log's topics as Parquet files."""

import asyncio
import logging
from pathlib import Path
from typing import Annotated

import typer

from contracts.topics import MODELS, TOPICS
from model_jobs.live import live_models
from services.cli.progress import bar
from services.common.settings import Settings
from services.local.locking import reachable_kafka
from services.operator.backup.extras import key_digest, read_extras, save_vectors
from services.operator.backup.taking import BackupResult, backup


def command(
    directory: Annotated[Path, typer.Argument(help="Where the files go; made if need be.", metavar="DIR")],
    topics: Annotated[
        str | None, typer.Option(help="Some topics, with commas between them; all of ours if not said.")
    ] = None,
) -> None:
    """Copy what the log has and the backup in DIR has not: Parquet (zstd) with checksums, beside DIR/manifest.json.

    The system may run meanwhile: the copy reaches up to where the log ended when it began. Run it again after an
    interruption, or every night: only what is new is copied. Profiles, warehouse and the models of the catalogue alone
    follow from the log; the vectors of live sentence models are copied beside it. The signing key (ANIMUSIC_SECRET, or
    the file `secret` of the data directory) is not in it.
    """
    names = [name.strip() for name in topics.split(",")] if topics else [topic.name for topic in TOPICS]
    settings = Settings()
    if not (settings.data_dir / "kafka").is_dir() and "bootstrap_servers" not in settings.kafka.model_fields_set:
        raise LookupError(
            f"there is no log in {settings.data_dir.absolute()}: go to the directory where the system was started, or "
            "set ANIMUSIC_DATA_DIR or ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS"
        )
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with reachable_kafka(settings) as log:
        result = asyncio.run(backup(log, directory, names, bar))
        live = asyncio.run(live_models(log)) if MODELS.name in names else {}
    missing = save_vectors(directory, settings.embeddings_dir, live, _key(settings))
    _say(directory, result, missing)


def _key(settings: Settings) -> str:
    """The digest of the signing key; "" where there is none yet, so that none is created for this."""
    known = settings.secret is not None or (settings.data_dir / "secret").is_file()
    return key_digest(settings.signing_key()) if known else ""


def _say(directory: Path, result: BackupResult, missing: list[str]) -> None:
    manifest = result.manifest
    print(f"{'copied':<10}{result.copied:>12,} records in {result.seconds:.1f} s")
    print(f"{'held':<10}{manifest.records:>12,} records of {len(manifest.topics)} topics in {directory}")
    print(f"{'size':<10}{manifest.bytes:>12,} bytes in {len(manifest.files()):,} files")
    for name in result.recopied:
        print(f"copied again from its start, as tombstones may have expired since the last backup: {name}")
    for sentence in result.lost:
        print(f"MISSING {sentence}")
    vectors = read_extras(directory).vectors
    if vectors:
        size = sum(file.bytes for file in vectors)
        print(f"{'vectors':<10}{size:>12,} bytes of {', '.join(file.arm for file in vectors)}")
    for arm in missing:
        print(f"MISSING the vectors of {arm}: they are not on this machine; back up where it is served")
    print("the signing key is not in it: keep it in another place (ANIMUSIC_SECRET, or <data_dir>/secret)")
