"""Vector export and import: a live arm's vectors into a file, a file's into an arm of a machine without an encoder."""

import tempfile
from pathlib import Path

from contracts.models import LiveModel
from model_jobs.build import Built, build
from model_jobs.live import live_models
from model_jobs.model import Report, no_report
from model_jobs.neural.arms import Imported, rows_of
from model_jobs.neural.cache import EmbeddingCache, digest_of
from model_jobs.neural.export_file import Precision, VectorExport, origin_of, write_export
from model_jobs.tfidf import text_of
from services.common.kafka.catalogue_log import read_catalogue
from services.common.settings import Settings


async def export(settings: Settings, arm: str, path: Path, precision: Precision = "float16") -> VectorExport:
    """Write the vectors of a live sentence model, of all songs of the catalogue whose text was encoded.

    Raises LookupError where the arm has no live model or its vectors are not on this machine, ValueError for an arm
    that no encoder made.
    """
    live = (await live_models(settings.kafka)).get(arm)
    if live is None:
        raise LookupError(f"{arm} has no live model; `animusic models build {arm}` makes one")
    origin = origin_of(arm, live.params, live.dimension)
    songs = (await read_catalogue(settings.kafka)).songs
    digests = {song_id: digest_of(text_of(songs[song_id])) for song_id in sorted(songs)}
    known = EmbeddingCache(settings.embeddings_dir, arm, origin.revision).known(list(digests.values()))
    found = rows_of([songs[song_id] for song_id in digests], known)
    if not found.song_ids:
        raise LookupError(f"{arm}'s vectors are not on this machine; export them from the one that built them")
    exported = VectorExport(origin, found.song_ids, [digests[song_id] for song_id in found.song_ids], found.raw)
    write_export(path, exported, precision)
    return exported


def made_of(record: LiveModel, exported: VectorExport) -> bool:
    """Whether a live version was made of these vectors and of no others."""
    origin = exported.origin
    if record.arm != origin.arm or record.params.get("revision") != origin.revision:
        return False
    with tempfile.TemporaryDirectory() as scratch:
        cache = EmbeddingCache(Path(scratch), origin.arm, origin.revision)
        cache.put(exported.digests, exported.raw)
        return bool(record.params.get("imported") == cache.content_digest())


async def has_vectors_of_songs(settings: Settings, exported: VectorExport) -> bool:
    """Whether any song of the catalogue has a vector in this file."""
    known = set(exported.digests)
    return any(digest_of(text_of(song)) in known for song in (await read_catalogue(settings.kafka)).songs.values())


async def import_(settings: Settings, exported: VectorExport, report: Report = no_report) -> Built:
    """Keep a file's vectors and build its arm of them, without an encoder; then it is live.

    Songs whose text has no vector are left out of the arm. Raises ValueError when no song of the catalogue has one, or
    when this revision's vectors have another dimension here; and what `build` raises.
    """
    origin = exported.origin
    EmbeddingCache(settings.embeddings_dir, origin.arm, origin.revision).put(exported.digests, exported.raw)
    return await build(settings, Imported(origin.arm, origin.model, origin.revision, settings.embeddings_dir), report)
