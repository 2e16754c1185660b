"""Vectors are exported and imported; a sentence model without its weights is not changed."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from collectors.importing import planned, write
from contracts.catalogue import Song
from contracts.models import LiveModel
from model_jobs.build import build, stale_models
from model_jobs.live import live_models
from model_jobs.neural.arms import Imported
from model_jobs.neural.export_file import read_export, write_export
from model_jobs.tfidf import Tfidf
from model_jobs.vector_export import export, import_
from services.cli import models
from services.common.kafka.catalogue_log import read_catalogue
from services.common.settings import KafkaSettings, Settings
from services.common.vectors.published import Published, load_published
from tests.unit.model_jobs.neural_worlds import HashEncoder, neural, sample_songs

pytestmark = pytest.mark.connected

SONGS = sample_songs(60)


async def load(log: KafkaSettings, songs: list[Song]) -> None:
    await write(log, planned(songs, await read_catalogue(log)).records)


@pytest.fixture
async def encoding(log: KafkaSettings, tmp_path: Path) -> Settings:
    """A machine that has encoded the catalogue."""
    await load(log, SONGS)
    settings = Settings(data_dir=tmp_path / "encoding", kafka=log)
    await build(settings, neural(settings.embeddings_dir, HashEncoder()))
    return settings


@pytest.fixture
def serving(log: KafkaSettings, tmp_path: Path) -> Settings:
    """A machine that has nothing yet."""
    return Settings(data_dir=tmp_path / "serving", kafka=log)


async def command(settings: Settings, monkeypatch: pytest.MonkeyPatch, *words: str) -> Result:
    monkeypatch.setenv("ANIMUSIC_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS", settings.kafka.bootstrap_servers)
    # A verb runs a loop of its own, so not in this thread.
    return await asyncio.to_thread(CliRunner().invoke, models.app, list(words))


async def live(settings: Settings, arm: str = "minilm") -> LiveModel:
    return (await live_models(settings.kafka))[arm]


async def served(settings: Settings) -> Published:
    return load_published(settings.vectors_dir / (await live(settings)).collection)


async def test_what_one_machine_encoded_another_serves(encoding: Settings, serving: Settings, tmp_path: Path) -> None:
    before = await served(encoding)
    for precision, tolerance in (("float32", 0), ("float16", 1e-3)):
        exported = await export(encoding, "minilm", tmp_path / precision, precision)  # type: ignore[arg-type]
        assert exported.song_ids == before.song_ids
        machine = serving.model_copy(update={"data_dir": serving.data_dir / precision})
        built = await import_(machine, read_export(tmp_path / precision))
        assert built.outcome == "built" and built.live and not built.left_out
        assert built.record.params["imported"] and built.record.params["revision"] == "ab" * 16
        after = await served(machine)
        assert after.song_ids == before.song_ids
        np.testing.assert_allclose(after.raw, before.raw, rtol=tolerance)
        assert (await import_(machine, read_export(tmp_path / precision))).outcome == "already live"
        await build(encoding, neural(encoding.embeddings_dir, HashEncoder()))


async def test_songs_that_nobody_encoded_are_left_out_and_come_with_the_next_file(
    encoding: Settings, serving: Settings, tmp_path: Path
) -> None:
    await export(encoding, "minilm", tmp_path / "a")
    await load(encoding.kafka, sample_songs(70))
    built = await import_(serving, read_export(tmp_path / "a"))
    assert (built.record.songs, len(built.left_out)) == (60, 10)
    assert all("never encoded" in why for why in built.left_out.values())
    await build(encoding, neural(encoding.embeddings_dir, HashEncoder()))
    await export(encoding, "minilm", tmp_path / "b")
    again = await import_(serving, read_export(tmp_path / "b"))
    assert (again.record.songs, again.left_out) == (70, {})


async def test_what_is_stale_follows_where_the_vectors_came_from(
    encoding: Settings, serving: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await export(encoding, "minilm", tmp_path / "a")
    # The weights of what is live cannot be had here: the arm stays, and the others are looked after as ever.
    assert [model.arm for model in await stale_models(encoding)] == ["tfidf", "node2vec"]
    assert "minilm is not built, and what is live stays" in caplog.text
    await import_(serving, read_export(tmp_path / "a"))
    assert [model.arm for model in await stale_models(serving)] == ["tfidf", "node2vec"]
    await load(serving.kafka, [SONGS[0].model_copy(update={"tags": ("other",)})])
    (stale,) = [model for model in await stale_models(serving) if model.arm == "minilm"]
    assert isinstance(stale, Imported)
    assert list((await build(serving, stale)).left_out) == [SONGS[0].song_id]


async def test_a_file_that_is_not_good_changes_nothing(
    encoding: Settings, serving: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = await export(encoding, "minilm", tmp_path / "good")
    before = await live(encoding)
    whole = (tmp_path / "good").read_bytes()
    (tmp_path / "short").write_bytes(whole[: len(whole) // 2])
    raw = exported.raw.copy()
    raw[7, 3] = np.nan
    write_export(
        tmp_path / "nan", exported.__class__(exported.origin, exported.song_ids, exported.digests, raw), "float16"
    )
    for name, why in (("short", "cannot be read whole"), ("nan", "NaN or infinity")):
        done = await command(serving, monkeypatch, "import", str(tmp_path / "good"), str(tmp_path / name))
        assert isinstance(done.exception, ValueError) and why in str(done.exception)
    assert await live(encoding) == before
    assert not serving.embeddings_dir.exists() and not serving.vectors_dir.exists()


async def test_vectors_of_no_song_of_the_catalogue_leave_what_is_live(
    encoding: Settings, serving: Settings, tmp_path: Path
) -> None:
    await export(encoding, "minilm", tmp_path / "a")
    before = await live(encoding)
    await load(encoding.kafka, [song.model_copy(update={"tags": ("all other",)}) for song in SONGS])
    with pytest.raises(ValueError, match="none of these vectors is of a song"):
        await import_(serving, read_export(tmp_path / "a"))
    assert await live(encoding) == before


async def test_a_file_without_a_song_of_the_catalogue_may_be_passed_over(
    encoding: Settings, serving: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await export(encoding, "minilm", tmp_path / "a")
    before = await live(encoding)
    await load(encoding.kafka, [song.model_copy(update={"tags": ("all other",)}) for song in SONGS])
    done = await command(serving, monkeypatch, "import", str(tmp_path / "a"), "--if-any")
    assert done.exit_code == 0, done.output
    assert "minilm: passed over, as no song of the catalogue has a vector in the file" in done.output
    assert await live(encoding) == before
    assert not serving.embeddings_dir.exists()


async def test_only_what_an_encoder_made_here_is_exported(
    encoding: Settings, serving: Settings, tmp_path: Path
) -> None:
    await build(encoding, Tfidf())
    with pytest.raises(ValueError, match="tfidf's live model was not made by an encoder"):
        await export(encoding, "tfidf", tmp_path / "v")
    with pytest.raises(LookupError, match="mpnet has no live model; `animusic models build mpnet`"):
        await export(encoding, "mpnet", tmp_path / "v")
    with pytest.raises(LookupError, match="not on this machine"):
        await export(serving, "minilm", tmp_path / "v")
    assert not (tmp_path / "v").exists()


async def test_the_commands_say_what_they_did(
    encoding: Settings, serving: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "v.parquet"
    said = await command(encoding, monkeypatch, "export", "minilm", str(file))
    assert said.exit_code == 0
    assert "minilm: 60 vectors of 8 dimensions by hashes (abababababab) as float16" in said.stderr
    said = await command(serving, monkeypatch, "import", "sample", str(file), "--arm", "minilm")
    lines = said.stderr.strip().splitlines()
    assert lines[0].startswith("minilm: built") and "all-MiniLM-L6-v2" in lines[0] and "(60 songs)" in lines[0]
    assert lines[1].startswith("minilm: built") and "by hashes" in lines[1]
