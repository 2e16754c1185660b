"""Vectors and indices of every arm: seconds, memory, and how both grow with the catalogue."""

from tests.bench.models.stage import LIMIT_BYTES, SONGS, Seen, Stage
from tests.bench.report import Section

ARMS = ("tfidf", "node2vec", "minilm", "mpnet")
TFIDF_SECONDS = 3.0
INDEX_SECONDS = 20.0
# CPU of a song in the largest catalogue, by that in the smallest.
NEAR_LINEAR = 1.5
_MADE_UP = "made-up vectors of its dimension: the index only"


def measure(stage: Stage) -> list[Section]:
    """One section."""
    section = Section(
        "Building models, by size of the catalogue",
        "Each step in a process of its own. *Vectors*: from songs in memory to raw vectors; *index ready*: the Qdrant "
        "Edge shard written, optimised, opened and asked once. Peak memory is the process', songs included. MiniLM "
        "and MPNet have made-up vectors here: what their encoders take is told apart.",
    )
    for arm in ARMS:
        costs = [(times, *_add(section, stage, arm, times)) for times in stage.scale]
        if len(costs) > 1:
            (smallest, *first), (largest, *last) = costs[0], costs[-1]
            grown = sum(s.process.cpu_seconds for s in last) / sum(s.process.cpu_seconds for s in first)
            a_song = grown * smallest / largest
            section.add(
                f"{arm}: CPU of a song, {largest}× by {smallest}×", f"{a_song:.2f}",
                f"near-linear: ≤ {NEAR_LINEAR}", kept=a_song <= NEAR_LINEAR,
            )  # fmt: skip
    return [section]


def _add(section: Section, stage: Stage, arm: str, times: int) -> tuple[Seen, Seen]:
    vectors, file = stage.vectors(arm, times * SONGS)
    try:
        index = stage.index(file)
    finally:
        file.unlink()
    size = f"{arm}, {times}×"
    if arm in ("tfidf", "node2vec"):
        _add_vectors(section, size, vectors, judged=arm == "tfidf" and times == 1)
    else:
        section.add(f"{size}: vectors", "made up", "", _MADE_UP)
    kept = index.seconds <= INDEX_SECONDS if times == 1 else None
    section.add(
        f"{size}: index ready", f"{index.seconds:.1f} s", "≤ 20 s" if times == 1 else "",
        f"{index.cpu_seconds:.1f} CPU seconds", kept=kept,
    )  # fmt: skip
    peak = max(vectors.process.peak_bytes, index.process.peak_bytes)
    told = f"vectors {vectors.peak}, index {index.peak}"
    promise, kept = ("≤ 2 GB", peak <= LIMIT_BYTES) if times == 1 else ("", None)
    section.add(f"{size}: peak memory", told, promise, kept=kept)
    return vectors, index


def _add_vectors(section: Section, size: str, seen: Seen, *, judged: bool) -> None:
    started = f"{seen.process.wall_seconds:.1f} s and {seen.process.cpu_seconds:.1f} CPU seconds"
    beside = f"{seen.cpu_seconds:.1f} CPU seconds; with the start of Python and making up the songs {started}"
    promise = "≤ 3 s" if judged else ""
    kept = seen.seconds <= TFIDF_SECONDS if judged else None
    section.add(f"{size}: vectors", f"{seen.seconds:.1f} s", promise, beside, kept=kept)
