"""What the vector index finds and what a search takes: the 8-bit scan that is published beside the engine's graph."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as engine
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from collectors.synthetic import SONGS, synthetic_songs
from model_jobs.random_vectors import RandomVectors
from services.common.vectors.edge import EdgeIndex, write_shard
from services.common.vectors.index import PointIds, unit
from services.common.vectors.published import points_of
from tests.bench.report import Section, say
from tests.bench.stage import Stage

TOP, FORBIDDEN, FAVOURITES = 10, 2_000, 30
# (m, ef_construct, ef of a search)
GRAPHS = ((16, 128, 128), (32, 256, 256))

# (query, forbidden points or None) -> points
Search = Callable[[NDArray[np.float32], PointIds | None], PointIds]


@dataclass(frozen=True)
class Case:
    """Vectors, queries, and for each query its rows from the nearest on."""

    points: PointIds
    rows: NDArray[np.float32]
    queries: list[NDArray[np.float32]]
    nearest: list[NDArray[np.intp]]


async def measure(stage: Stage) -> Section:
    """The section. Needs no running system."""
    section = Section(
        "Vector index: 8-bit scan and HNSW graph",
        f"{SONGS:,} vectors of 768 dimensions in 60 clusters; queries are means of {FAVOURITES} random songs. "
        f"Recall@{TOP} against the exact cosine; CPU is the median of a search. *Forbidden*: the {FORBIDDEN:,} nearest "
        "songs are excluded, as heard ones are. The graph is Qdrant Edge's HNSW in full precision.",
    )
    case = _case(20 if stage.quick else 200)
    directory = stage.directory / "index"
    began = time.perf_counter()
    write_shard(directory / "scan", case.points, case.rows)
    built = time.perf_counter() - began
    scan = EdgeIndex.open(directory / "scan")
    _add(section, "8-bit scan, as published", built, case, _scanning(scan))
    scan.close()
    for m, construct, search in GRAPHS:
        say(f"building the graph m {m}, ef {construct}")
        began = time.perf_counter()
        shard = _graph(directory / f"graph-{m}", case, m, construct)
        name = f"graph m {m}, ef {construct}, search {search}"
        _add(section, name, time.perf_counter() - began, case, _walking(shard, search))
        shard.close()
    _add_computed(section, case)
    return section


def _case(queries: int) -> Case:
    vectors = RandomVectors("mpnet").build(synthetic_songs(SONGS))
    rng = np.random.default_rng(1)
    asked = [vectors.raw[rng.choice(SONGS, FAVOURITES, replace=False)].mean(axis=0) for _ in range(queries)]
    lengths = np.linalg.norm(vectors.raw, axis=1)
    nearest = [np.argsort(-(vectors.raw @ query) / lengths)[: FORBIDDEN + TOP] for query in asked]
    return Case(points_of(vectors.song_ids), vectors.raw, asked, nearest)


def _scanning(index: EdgeIndex) -> Search:
    def search(query: NDArray[np.float32], forbidden: PointIds | None) -> PointIds:
        return index.search(query, k=TOP, forbidden=forbidden)[0]

    return search


def _walking(shard: Any, ef: int) -> Search:
    params = engine.SearchParams(hnsw_ef=ef)

    def search(query: NDArray[np.float32], forbidden: PointIds | None) -> PointIds:
        ids: Any = set() if forbidden is None else set(forbidden.tolist())
        condition = engine.Filter(must_not=[engine.HasIdCondition(ids)]) if ids else None
        nearest = engine.Query.Nearest(unit(query).tolist())
        found = shard.search(engine.SearchRequest(nearest, TOP, filter=condition, params=params))
        return np.fromiter((point.id for point in found), np.uint64, len(found))

    return search


def _graph(directory: Path, case: Case, m: int, construct: int) -> Any:
    directory.mkdir(parents=True)
    config = engine.EdgeConfig(
        vectors=engine.EdgeVectorParams(768, engine.Distance.Cosine),
        hnsw_config=engine.HnswIndexConfig(m=m, ef_construct=construct, full_scan_threshold=100),
        optimizers=engine.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=100),
        wal_enabled=False,
        max_search_threads=1,
    )
    shard = engine.EdgeShard.create(str(directory), config)
    for start in range(0, len(case.points), 1_000):
        block = slice(start, start + 1_000)
        pairs = zip(case.points[block].tolist(), case.rows[block], strict=True)
        shard.update(engine.UpdateOperation.upsert_points([engine.Point(id, row.tolist()) for id, row in pairs]))
    shard.optimize()
    return shard


def _add(section: Section, what: str, built: float, case: Case, search: Search) -> None:
    for forbidding in (False, True):
        recall, milliseconds = _asked(case, search, forbidding=forbidding)
        name = f"{what}; forbidden" if forbidding else what
        beside = "" if forbidding else f"built in {built:.1f} s"
        section.add(name, f"recall@{TOP} {recall:.3f}, CPU {milliseconds:.2f} ms", "", beside)


def _asked(case: Case, search: Search, *, forbidding: bool) -> tuple[float, float]:
    """(mean recall, median milliseconds of CPU)."""
    found, took = [], []
    for query, nearest in zip(case.queries, case.nearest, strict=True):
        skipped = FORBIDDEN if forbidding else 0
        forbidden = case.points[nearest[:FORBIDDEN]] if forbidding else None
        began = time.process_time()
        points = search(query, forbidden)
        took.append(time.process_time() - began)
        found.append(np.isin(case.points[nearest[skipped : skipped + TOP]], points).mean())
    return float(np.mean(found)), float(np.median(took)) * 1e3


def _add_computed(section: Section, case: Case) -> None:
    """What an arm computes by itself where no index answers."""
    lengths, took = np.linalg.norm(case.rows, axis=1), []
    # As in the recommender: more threads cost more in waiting than they save.
    with threadpool_limits(1, user_api="blas"):
        for query in case.queries:
            began = time.process_time()
            np.argpartition(-(case.rows @ query) / lengths, TOP)
            took.append(time.process_time() - began)
    section.add("no index: cosine in numpy", f"CPU {np.median(took) * 1e3:.2f} ms")
