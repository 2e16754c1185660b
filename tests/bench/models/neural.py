"""Sentence models: songs encoded a second, on each device that is there, and what a rebuild encodes again.

It needs the extra `neural` and the models' directories: ANIMUSIC_TEST_MINILM, ANIMUSIC_TEST_MPNET. What is not there
is said, and nothing is measured in its place.
"""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from collectors.synthetic import synthetic_songs
from contracts.catalogue import Song
from model_jobs.neural.arms import Neural
from model_jobs.neural.encoder import Encoder, SentenceEncoder
from tests.bench.models.stage import SONGS, Stage
from tests.bench.report import Section, say

VARIABLES: Final = {"minilm": "ANIMUSIC_TEST_MINILM", "mpnet": "ANIMUSIC_TEST_MPNET"}
# Songs that a CPU encodes here; a GPU takes the whole catalogue.
ON_CPU: Final = {"minilm": 1_000, "mpnet": 300}
QUICK: Final = 100


def sections(stage: Stage) -> list[Section]:
    """One section, also where there is nothing to measure with: then it says what is missing."""
    section = Section(
        "Sentence models",
        "From texts of synthetic songs to vectors in the embeddings cache, without loading the model. *Encoded again*: "
        "after one song in a hundred has changed.",
    )
    for arm, variable in VARIABLES.items():
        missing = _missing(variable)
        if missing:
            section.add(f"{arm}: songs encoded a second", "not measured", "", missing)
            continue
        for device in _devices():
            _add(section, stage, arm, Path(os.environ[variable]), device)
    return [section]


def _missing(variable: str) -> str:
    if find_spec("sentence_transformers") is None:
        return "sentence-transformers is not installed: run `make neural`"
    if not Path(os.environ.get(variable, "")).is_dir() or variable not in os.environ:
        return f"no weights: {variable} must name the directory of a copy"
    return ""


def _devices() -> Iterator[str]:
    import torch

    yield "cpu"
    if torch.cuda.is_available():
        yield "cuda"


def _add(section: Section, stage: Stage, arm: str, weights: Path, device: str) -> None:
    songs = synthetic_songs(QUICK if stage.quick else ON_CPU[arm] if device == "cpu" else SONGS)
    cache = stage.directory / f"embeddings-{device}"
    say(f"{arm} on {device}: {len(songs):,} songs")
    encoder = _Counting(SentenceEncoder(weights, device))
    encoder.encode([songs[0].title])
    model = Neural(arm, str(weights), cache, opened=lambda *_: encoder)
    try:
        seconds, cpu, encoded = _built(model, songs, encoder)
        section.add(
            f"{arm} on {_named(device)}: songs encoded a second", f"{encoded / seconds:,.1f}", "",
            f"{encoded:,} texts in {seconds:.1f} s, {cpu:.1f} CPU s; "
            f"{SONGS:,} songs in {SONGS * seconds / encoded / 60:.1f} min",
        )  # fmt: skip
        changed = [_changed(song) if row % 100 == 0 else song for row, song in enumerate(songs)]
        seconds, _, again = _built(model, changed, encoder)
        wanted = len(range(0, len(songs), 100))
        section.add(
            f"{arm} on {_named(device)}: encoded again after 1 % changed", f"{again:,} of {len(songs):,}",
            "only those", f"{seconds:.2f} s", kept=again == wanted,
        )  # fmt: skip
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def _built(model: Neural, songs: list[Song], encoder: "_Counting") -> tuple[float, float, int]:
    """Seconds of a build, its CPU seconds, and how many texts it encoded."""
    before, began, cpu = encoder.texts, time.perf_counter(), time.process_time()
    model.build(sorted(songs, key=lambda song: song.song_id))
    return time.perf_counter() - began, time.process_time() - cpu, encoder.texts - before


def _changed(song: Song) -> Song:
    return song.model_copy(update={"title": f"{song.title} (new version)"})


class _Counting:
    """An encoder that counts its texts."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.device, self.batch, self.texts = encoder.device, encoder.batch, 0

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As the encoder."""
        self.texts += len(texts)
        return self._encoder.encode(texts)


def _named(device: str) -> str:
    if device != "cuda":
        return device
    import torch

    return str(torch.cuda.get_device_name())
