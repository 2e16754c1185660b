"""A catalogue in the log: the real file where it lies beside the checkout, else a made-up one; both models on it."""

from pathlib import Path

import pytest

from collectors.importing import planned, write
from collectors.sources import Found, read, source_named
from contracts.catalogue import Song
from model_jobs.build import build
from model_jobs.node2vec import Node2Vec
from model_jobs.tfidf import Tfidf
from services.common.kafka.catalogue_log import read_catalogue
from services.common.settings import REPO_ROOT, KafkaSettings, Settings
from services.common.vectors.published import load_published

pytestmark = pytest.mark.connected

REAL = REPO_ROOT.parent / "shared" / "data" / "real_songs.csv.gz"


def source() -> Found:
    found = read(source_named(str(REAL)) if REAL.is_file() else source_named("synthetic", songs=3_000))
    if REAL.is_file():
        assert (found.rows, found.rejected) == (11_498, 0)
        assert sum(bool(song.links) for song in found.songs) > 1_600
    return found


async def test_importing_twice_writes_once_and_both_models_build_on_it(log: KafkaSettings, tmp_path: Path) -> None:
    found = source()
    first = planned(found.songs, await read_catalogue(log))
    assert first.new == len(found.songs) == found.rows - found.merged_rows
    await write(log, first.records)
    second = planned(source().songs, await read_catalogue(log))
    assert (second.records, second.unchanged, second.digest) == ([], first.new, first.digest)
    settings = Settings(data_dir=tmp_path, kafka=log)
    for model in (Tfidf(), Node2Vec(dimension=16, walks=2, walk_length=5)):
        built = await build(settings, model)
        assert built.recall is not None and built.recall >= 0.99
        assert built.record.songs + len(built.left_out) == first.new
        assert built.record.catalogue_digest == first.digest
        assert len(load_published(settings.vectors_dir / built.record.collection).song_ids) == built.record.songs


async def test_what_is_withdrawn_and_comes_back(log: KafkaSettings) -> None:
    songs: list[Song] = read(source_named("sample")).songs
    await write(log, planned(songs, await read_catalogue(log)).records)
    gone = planned(songs[10:], await read_catalogue(log), withdraw_missing=True)
    await write(log, gone.records)
    after = await read_catalogue(log)
    assert len(after.songs) == len(songs) - 10 and len(after.withdrawn) == 10 and after.digest() == gone.digest
    back = planned(songs, after)
    assert (back.new, back.unchanged) == (10, len(songs) - 10)
    await write(log, back.records)
    assert (await read_catalogue(log)).withdrawn == set()
