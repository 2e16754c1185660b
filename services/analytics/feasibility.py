"""The paper's third question: what do the models cost, stage by stage, and what did the original's?

Catalogues differ in size, so what is compared is CPU a song: every stage is close to linear in songs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

STAGES: Final = ("catalogue", "vectors", "checks", "index", "publish")
WHOLE: Final = "whole"

# Of each arm the build that computed most, and of those the last: one that re-used everything says nothing of the cost.
QUERY: Final = """
SELECT arm, version, toString(started_at) AS started, songs, encoded, reused, seconds, cpu_seconds, peak_memory_bytes,
       stage_seconds, stage_cpu_seconds, cores, device, params
FROM animusic.builds
WHERE outcome = 'built' AND NOT JSONExtractBool(params, 'made_up')
ORDER BY arm, encoded DESC, started_at DESC
LIMIT 1 BY arm
FORMAT JSONEachRow
"""


@dataclass(frozen=True)
class Original:
    """What the original's build of an arm took. `source`: where the figure comes from."""

    songs: int
    cpu_seconds: float
    memory_bytes: float
    source: str


_MEASURED: Final = "PyPI node2vec on the original's catalogue: 16 dimensions, walk length 10, 20 walks, window 5"
# Nothing is known of the other arms' builds.
ORIGINALS: Final[Mapping[str, Original]] = {"node2vec": Original(14_885, 1_705, 2.2e9, _MEASURED)}


@dataclass(frozen=True)
class Line:
    """One stage of one arm's build, or the whole. Times in seconds, memory in bytes; None where nothing is known."""

    arm: str
    version: str
    stage: str
    songs: int
    encoded: int
    seconds: float
    cpu_seconds: float
    cpu_ms_per_song: float
    peak_memory_bytes: int | None = None
    original_cpu_ms_per_song: float | None = None
    original_memory_bytes: float | None = None

    @property
    def times_less(self) -> float | None:
        """How many times less CPU a song than the original took."""
        if self.original_cpu_ms_per_song is None or self.cpu_ms_per_song == 0:
            return None
        return self.original_cpu_ms_per_song / self.cpu_ms_per_song


def lines(builds: Iterable[Mapping[str, Any]]) -> list[Line]:
    """The report of builds, as `QUERY` gives them: the stages of each arm in their order, then the whole."""
    return [line for build in builds for line in (*_stages(build), _whole(build))]


def _stages(build: Mapping[str, Any]) -> Iterable[Line]:
    for stage in sorted(build["stage_seconds"], key=lambda name: (*STAGES, name).index(name)):
        yield _line(build, stage, build["stage_seconds"][stage], build["stage_cpu_seconds"].get(stage, 0.0))


def _whole(build: Mapping[str, Any]) -> Line:
    original = ORIGINALS.get(build["arm"])
    if original is None:
        return _line(build, WHOLE, build["seconds"], build["cpu_seconds"], peak_memory_bytes=_memory(build))
    return _line(
        build, WHOLE, build["seconds"], build["cpu_seconds"], peak_memory_bytes=_memory(build),
        original_cpu_ms_per_song=1000 * original.cpu_seconds / original.songs,
        original_memory_bytes=original.memory_bytes,
    )  # fmt: skip


def _line(build: Mapping[str, Any], stage: str, seconds: float, cpu_seconds: float, **more: Any) -> Line:
    songs = int(build["songs"])
    return Line(
        build["arm"], build["version"], stage, songs, int(build["encoded"]), float(seconds), float(cpu_seconds),
        1000 * float(cpu_seconds) / max(1, songs), **more,
    )  # fmt: skip


def _memory(build: Mapping[str, Any]) -> int | None:
    return int(build["peak_memory_bytes"]) or None


def notes(builds: Iterable[Mapping[str, Any]]) -> list[str]:
    """Sentences that a reader of the figures needs: parameters, machine, where the original's figures come from."""
    sentences = [
        f"{build['arm']} {build['version']}: built {build['started'][:16]} UTC on {build['cores']} cores "
        f"({build['device']}), parameters {build['params']}"
        for build in builds
    ]
    sentences += [
        f"the original's {arm}: {original.cpu_seconds:,.0f} CPU s and {original.memory_bytes / 1e9:.1f} GB for "
        f"{original.songs:,} songs ({original.source})"
        for arm, original in ORIGINALS.items()
    ]
    sentences.append(
        "the original's playlist: p50 400-840 ms, 1.2-2.4 /s on 2 cores; ours: docs/benchmarks.md (`make bench`)"
    )
    return sentences
