"""From a model's directory to a served collection, and on to a machine that has no torch."""

import csv
import gzip
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from collectors.sources import SAMPLE, read, source_named
from contracts.catalogue import Song
from model_jobs.live import live_models
from model_jobs.neural.encoder import SentenceEncoder
from model_jobs.tfidf import text_of
from services.common.kafka.catalogue_log import read_catalogue
from services.common.settings import REPO_ROOT
from tests.neural.conftest import Machine, copies, cosines

# Importing torch alone takes a minute on a busy machine.
pytestmark = [pytest.mark.connected, pytest.mark.timeout(900)]

# Real songs and weights, where somebody has them.
REAL_SONGS = REPO_ROOT.parent / "shared" / "data" / "real_songs.csv.gz"
REAL_MINILM = os.environ.get("ANIMUSIC_TEST_MINILM")


def some_songs(path: Path, songs: Path = SAMPLE, count: int = 60, seed: int = 3) -> Path:
    """A catalogue of some songs at random, in a file of the same columns."""
    reading = gzip.open if songs.suffix == ".gz" else open
    with reading(songs, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    picked = np.random.default_rng(seed).choice(len(rows), count, replace=False)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows[row] for row in picked)
    return path


async def check_export(encoding: Machine, serving: Machine, weights: Path, catalogue: Path, precision: str) -> None:
    """Encode, export, import without torch; what is served then must be what an encoder says of each text."""
    encoding.does("catalogue", "import", str(catalogue))
    built = encoding.does("models", "build", "minilm", ANIMUSIC_MODELS__NEURAL=copies(minilm=weights))
    assert "minilm: built" in built
    file = encoding.data_dir.parent / "minilm.parquet"
    encoding.does("models", "export", "minilm", str(file), f"--{precision}")
    assert "minilm: built" in serving.does("models", "import", str(file))
    served = serving.published("minilm", await live_models(serving.log))
    songs = (await read_catalogue(serving.log)).songs
    assert set(served.song_ids) == set(songs)
    fresh = SentenceEncoder(weights, "cpu").encode([text_of(songs[song_id]) for song_id in served.song_ids])
    least = cosines(served.raw, fresh).min()
    print(f"{len(fresh)} songs, {precision}: least cosine 1 - {1 - least:.1e}")
    assert least >= 1 - {"float16": 1e-3, "float32": 1e-5}[precision]


@pytest.mark.parametrize("precision", ["float16", "float32"])
async def test_what_is_served_without_torch_is_what_an_encoder_says(
    encoding: Machine, serving: Machine, tiny: Path, tmp_path: Path, precision: str
) -> None:
    await check_export(encoding, serving, tiny, some_songs(tmp_path / "songs.csv"), precision)


if REAL_MINILM and REAL_SONGS.is_file():

    @pytest.mark.parametrize("precision", ["float16", "float32"])
    async def test_two_hundred_real_songs_are_exported(
        encoding: Machine, serving: Machine, tmp_path: Path, precision: str
    ) -> None:
        catalogue = some_songs(tmp_path / "songs.csv", REAL_SONGS, 200)
        await check_export(encoding, serving, Path(str(REAL_MINILM)), catalogue, precision)


async def test_a_local_copy_builds_and_the_same_copy_elsewhere_builds_nothing(
    encoding: Machine, tiny: Path, tmp_path: Path
) -> None:
    encoding.does("catalogue", "import", str(some_songs(tmp_path / "songs.csv")))
    assert "mpnet: built" in encoding.does("models", "build", "mpnet", ANIMUSIC_MODELS__NEURAL=copies(mpnet=tiny))
    record = (await live_models(encoding.log))["mpnet"]
    assert (record.dimension, record.params["model"]) == (32, "bert 32x2")
    other = shutil.copytree(tiny, tmp_path / "another-name")
    again = encoding.does("models", "build", "mpnet", ANIMUSIC_MODELS__NEURAL=copies(mpnet=other))
    assert f"mpnet: already live {record.version}" in again


async def test_a_song_more_is_left_out_where_there_is_no_encoder(
    encoding: Machine, serving: Machine, tiny: Path, tmp_path: Path
) -> None:
    encoding.does("catalogue", "import", str(some_songs(tmp_path / "few.csv", count=40)))
    encoding.does("models", "build", "minilm", ANIMUSIC_MODELS__NEURAL=copies(minilm=tiny))
    encoding.does("models", "export", "minilm", str(tmp_path / "v.parquet"))
    encoding.does("catalogue", "import", str(some_songs(tmp_path / "more.csv", count=40, seed=4)))
    said = serving.does("models", "import", str(tmp_path / "v.parquet"))
    songs = (await read_catalogue(serving.log)).songs
    served = serving.published("minilm", await live_models(serving.log))
    assert len(served.song_ids) <= 40 < len(songs)
    assert f"{len(songs) - len(served.song_ids)} songs left out" in said


def test_a_vector_does_not_depend_on_what_is_encoded_beside_it(tiny: Path) -> None:
    encoder = SentenceEncoder(tiny, "cpu")
    texts = [text_of(song) for song in sample(40)]
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    assert cosines(together, alone).min() >= 1 - 1e-5
    assert together.dtype == np.float32 and together.shape == (40, 32)


def sample(count: int) -> list[Song]:
    """Songs of the sample."""
    return read(source_named("sample")).songs[:count]


# ---- without a copy of the model ------------------------------------------------------------------------------------


@pytest.fixture
def silent_hub() -> Iterator[str]:
    """An address that takes connections and never answers: a network that is there and leads nowhere."""
    listening, taken, over = socket.create_server(("127.0.0.1", 0)), list[socket.socket](), threading.Event()

    def take() -> None:
        while not over.is_set():
            taken.append(listening.accept()[0])

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    over.set()
    socket.create_connection(listening.getsockname()).close()
    thread.join()
    for each in [*taken, listening]:
        each.close()


async def test_a_hub_that_does_not_answer_costs_seconds_and_one_sentence(
    encoding: Machine, tiny: Path, tmp_path: Path, silent_hub: str
) -> None:
    encoding.does("catalogue", "import", str(some_songs(tmp_path / "songs.csv", count=20)))
    encoding.does("models", "build", "mpnet", ANIMUSIC_MODELS__NEURAL=copies(mpnet=tiny))
    before = (await live_models(encoding.log))["mpnet"]
    kept = {"HF_HOME": str(tmp_path / "hub"), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    for offline, endpoint in (("0", silent_hub), ("0", "http://127.0.0.1:9"), ("1", silent_hub)):
        began = time.monotonic()
        done = encoding.animusic("models", "build", "mpnet", HF_HUB_OFFLINE=offline, HF_ENDPOINT=endpoint, **kept)
        assert time.monotonic() - began < 60
        assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1
        assert "mpnet is not built, and what is live stays: it needs the model sentence-transformers/" in done.stderr
        assert """ANIMUSIC_MODELS__NEURAL='{"mpnet": "/path/to/copy"}'""" in done.stderr
    assert (await live_models(encoding.log))["mpnet"] == before


async def test_a_copy_that_a_hub_gave_before_is_used_without_network(
    encoding: Machine, tiny: Path, tmp_path: Path
) -> None:
    encoding.does("catalogue", "import", str(some_songs(tmp_path / "songs.csv", count=20)))
    kept = tmp_path / "hub" / "hub" / "models--someone--tiny"
    shutil.copytree(tiny, kept / "snapshots" / ("0" * 40))
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("0" * 40)
    variables = {"HF_HOME": str(tmp_path / "hub"), "ANIMUSIC_MODELS__NEURAL": '{"mpnet": "someone/tiny"}'}
    assert "mpnet: built" in encoding.does("models", "build", "mpnet", **variables)
    assert (await live_models(encoding.log))["mpnet"].params["model"] == "someone/tiny"
