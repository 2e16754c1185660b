"""Vectors and indices of every arm: seconds, memory, and how both grow with the catalogue."""

from tests.bench.machine import MIB
from tests.bench.models.stage import LIMIT_BYTES, SONGS, Seen, Stage
from tests.bench.report import Section

ARMS = ("tfidf", "node2vec", "minilm", "mpnet")
TFIDF_SECONDS = 3.0
INDEX_SECONDS = 20.0
# CPU of a song in the largest catalogue, by that in the smallest.
NEAR_LINEAR = 1.5


def measure(stage: Stage) -> list[Section]:
    """One section."""
    section = Section(
        "Building models, by size of the catalogue",
        "*Vectors*: from songs in memory to raw vectors; *index*: the Qdrant Edge shard written, optimised, opened and "
        "asked once. Each is a process of its own; peak memory is the larger one's. MiniLM and MPNet have random "
        "vectors here; *Sentence models* has their encoders.",
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
    figures = [f"index {index.seconds:.1f} s"]
    cpu = [f"index {index.cpu_seconds:.1f} s"]
    if arm in ("tfidf", "node2vec"):
        figures.insert(0, f"vectors {vectors.seconds:.1f} s")
        cpu.insert(0, f"vectors {vectors.cpu_seconds:.1f} s")
    peak = max(vectors.process.peak_bytes, index.process.peak_bytes)
    judged = arm == "tfidf"
    promise = f"{'vectors ≤ 3 s, ' if judged else ''}index ≤ 20 s, peak ≤ 2 GB"
    kept = index.seconds <= INDEX_SECONDS and peak <= LIMIT_BYTES and (not judged or vectors.seconds <= TFIDF_SECONDS)
    section.add(
        f"{arm}, {times}×",
        f"{', '.join(figures)}, peak {peak / MIB:,.0f} MB",
        promise if times == 1 else "",
        f"CPU: {', '.join(cpu)}",
        kept=kept if times == 1 else None,
    )
    return vectors, index
