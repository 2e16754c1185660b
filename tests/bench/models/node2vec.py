"""node2vec at the original's parameters, and beside the original's library on a graph that both can build."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from collectors.synthetic import synthetic_songs
from contracts.catalogue import Song
from model_jobs.evaluate.asking import Candidates, Likeness
from model_jobs.evaluate.metrics import Interval
from model_jobs.evaluate.scoring import RandomArm, Scorer, Space
from model_jobs.evaluate.withhold import withhold
from model_jobs.model import Vectors
from model_jobs.node2vec import Node2Vec, node2vec_of
from model_jobs.song_graph import song_graph, song_node
from services.common.settings import Node2VecSettings
from tests.bench.machine import MIB, Cost, run_measured
from tests.bench.models.job import load
from tests.bench.models.stage import LIMIT_BYTES, SONGS, Stage
from tests.bench.report import Section, say

STATED_CPU = 1_705.0
STATED = "stated: PyPI node2vec 1,705 CPU seconds, 2.2 GB"
LIMIT_CPU = 90.0
BOTH_SONGS = 2_000
QUICK_SONGS = 400
# It meets the paper's graph: song, anime, composer, tag.
PAPER: Node2Vec = node2vec_of(Node2VecSettings(preset="paper"))


def measure(stage: Stage) -> list[Section]:
    """Both sections; for a look only the one whose graph is small."""
    return [_beside(stage)] if stage.quick else [_whole(stage), _beside(stage)]


def _whole(stage: Stage) -> Section:
    section = Section(
        "node2vec at the original's parameters",
        "14,885 synthetic songs; 20 walks of 10 from each node, window 5, 16 dimensions, p = q = 1, 5 epochs, nodes "
        "song, anime, composer, tag. Figures are of the whole process. *Default* has 64 dimensions, 2 epochs and all "
        "nodes.",
    )
    for preset in ("paper", "default"):
        seen, _ = stage.vectors("node2vec", SONGS, "--preset", preset)
        times = STATED_CPU / seen.process.cpu_seconds
        figure = f"{seen.process.cpu_seconds:.1f} CPU seconds, {seen.process.wall_seconds:.1f} s"
        beside = f"{times:.0f}× less; {STATED}" if preset == "paper" else f"the build alone: {seen.cpu_seconds:.1f}"
        kept = seen.process.cpu_seconds <= LIMIT_CPU
        section.add(preset, figure, f"≤ {LIMIT_CPU:.0f} CPU seconds", beside, kept=kept)
        fits = seen.process.peak_bytes <= LIMIT_BYTES
        section.add(f"{preset}: peak memory", seen.peak, "≤ 2 GB", kept=fits)
    return section


def _beside(stage: Stage) -> Section:
    songs = synthetic_songs(QUICK_SONGS if stage.quick else BOTH_SONGS)
    section = Section(
        f"node2vec beside PyPI node2vec: {len(songs):,} songs",
        "The same graph and parameters, each in its own process. Retrieval: composers are withheld, and each song is "
        "asked for other songs of its composer; means with 95 % bootstrap intervals.",
    )
    python = stage.original()
    ours, _ = stage.vectors("node2vec", len(songs), "--preset", "paper")
    theirs, _ = _original(stage, python, songs)
    ratio = theirs.cpu_seconds / ours.process.cpu_seconds
    beside = f"{ratio:.0f}× less; the build alone {ours.cpu_seconds:.1f} CPU seconds; peak {ours.peak}"
    section.add("ours", f"{ours.process.cpu_seconds:.1f} CPU seconds", "", beside)
    peak = f"peak {theirs.peak_bytes / MIB:,.0f} MB"
    section.add("PyPI node2vec", f"{theirs.cpu_seconds:.1f} CPU seconds", "", peak)
    _add_retrieval(section, stage, python, songs)
    return section


def _add_retrieval(section: Section, stage: Stage, python: Path, songs: list[Song]) -> None:
    without = withhold(songs, "composer")
    _, file = stage.vectors("node2vec", len(songs), "--preset", "paper", "--withhold", "composer")
    question = Likeness.draw(Candidates.of(songs), "composer")

    def found(scorer: Scorer) -> Mapping[str, Interval]:
        return question.retrieval(scorer).intervals()

    ours, theirs = found(Space(songs, load(file))), found(Space(songs, _original(stage, python, without)[1]))
    chance = found(RandomArm(len(songs)))
    for measure_, name in (("precision", "precision@10"), ("hit", "hit rate@10")):
        beside = f"PyPI node2vec {_told(theirs[measure_])}; random {_told(chance[measure_])}"
        kept = ours[measure_].high >= theirs[measure_].low
        section.add(f"same composer, {name}", _told(ours[measure_]), "overlaps or beats", beside, kept=kept)


def _told(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _original(stage: Stage, python: Path, songs: list[Song]) -> tuple[Cost, Vectors]:
    """What PyPI node2vec took for the paper's graph of these songs, and its vectors of them."""
    graph = song_graph(songs, PAPER.nodes)
    edges = stage.directory / "edges.json"
    edges.write_text(json.dumps(list(graph.edges)))
    file = stage.directory / "original.npz"
    say(f"{len(songs):,} songs: PyPI node2vec (minutes)")
    numbers = PAPER.dimension, PAPER.walk_length, PAPER.walks, PAPER.window, PAPER.seed
    script = Path(__file__).with_name("original.py")
    # -P: a module beside the script must not hide the library of its name.
    command = [str(python), "-P", str(script), str(edges), str(file), *map(str, numbers)]
    cost = run_measured(command, {}, stage.directory)
    with np.load(file) as found:
        number = {name: row for row, name in enumerate(found["names"].tolist())}
        song_ids = [song.song_id for song in songs]
        return cost, Vectors(song_ids, found["rows"][[number[song_node(song_id)] for song_id in song_ids]], {})
