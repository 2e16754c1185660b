"""Made-up catalogues, listeners, and models on real shards, for the recommender's tests."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import scipy.sparse

from contracts.catalogue import Anime, Appearance, Credits, Link, Song
from contracts.derive import ListenerState
from contracts.models import LiveModel
from contracts.registers import LIKED, SETTLED, STARTED, VETO, WATCHED
from services.common.vectors.edge import write_shard
from services.common.vectors.published import points_of, write_files
from services.profiles.decoding import Content, ProfileState
from services.profiles.reader import StoredProfile
from services.recommender.arms import all_arms
from services.recommender.arms.base import PickRequest
from services.recommender.catalogue import Catalogue, build_catalogue
from services.recommender.catalogue_song import catalogue_song
from services.recommender.composing import Composer, PlaylistContext
from services.recommender.models import BoundModel, ServedModel, bind, open_model
from services.recommender.profile_vectors import ProfileVector, ProfileVectors
from services.recommender.profile_views import ProfileView, ProfileViews
from services.recommender.snapshots import CatalogueSnapshot

WHEN = 1_700_000_000_000
ID = UUID(int=7).bytes

_versions = itertools.count(1)


def song(number: int, anime: Sequence[int], *, views: int | None = None, **fields: Any) -> Song:
    """Song `s<number>` that appears in anime `mal-<n>`, the first of them the one that it is shown with."""
    return Song(
        song_id=f"s{number:03d}",
        title=fields.pop("title", f"Song {number}"),
        appearances=tuple(
            Appearance(anime=Anime(anime_id=f"mal-{n}", title=f"Anime {n}", mal_id=n), relation="opening")
            for n in anime
        ),
        links=(Link(site="youtube", id=f"yt-{number}", views=views),) if views is not None else (),
        **fields,
    )


def catalogue_of(songs: Iterable[Song]) -> Catalogue:
    """A snapshot of these songs."""
    return build_catalogue(catalogue_song(each, each.log_value()) for each in songs).warm()


def mixed_songs(count: int = 40, anime: int = 14) -> list[Song]:
    """Songs of few anime; every fifth appears in two, so that one pick closes songs of several."""
    people = ("Ann", "Ben", "Cyn", "Dan")
    return [
        song(
            n,
            [n % anime, (n * 7 + 3) % anime] if n % 5 == 0 and n % anime != (n * 7 + 3) % anime else [n % anime],
            views=None if n % 3 == 0 else n * 1_000,
            credits=Credits(vocals=(people[n % 4],), composition=(people[n % 3],)),
            tags=(f"tag{n % 6}",),
        )
        for n in range(count)
    ]


def packed(
    *, ppm: int | None = None, liked: bool | None = None, started: int | None = None, settled: bool = False
) -> bytes:
    """A song's packed registers."""
    return b"".join(
        (
            WATCHED.identity if ppm is None else WATCHED.encode(ppm, ppm, 1_000_000),
            LIKED.identity if liked is None else LIKED.encode(WHEN, ID, liked),
            STARTED.identity if started is None else STARTED.encode(WHEN + started, ID),
            SETTLED.encode(WHEN, ID) if settled else SETTLED.identity,
        )
    )


LOVED = packed(ppm=900_000, liked=True, started=1, settled=True)
SKIPPED = packed(ppm=10_000, started=1, settled=True)
VETOED = VETO.encode(WHEN, ID, True)


def profile(user_id: str = "u", *, generation: str = "", **fields: Any) -> StoredProfile:
    """A profile with these fields - songs, vetoes, anime_list, marks, history -; the rest of it is empty."""
    listed = orjson.dumps([each.model_dump() for each in fields.get("anime_list", ())])
    content = Content(fields.get("songs", {}), fields.get("vetoes", {}), bytes(8) + listed)
    state = ProfileState(user_id, generation, b"", content, None)
    return StoredProfile(state, fields.get("marks", {}), fields.get("history", ()))


def view(catalogue: Catalogue, **fields: Any) -> ProfileView:
    """A listener with this profile."""
    return ProfileViews(cache_bytes=1 << 24, cold_songs=20).of(profile(**fields), catalogue)


def listener_state(**fields: Any) -> ListenerState:
    """What is derived, given by hand; the rest of it is empty."""
    nothing: dict[str, Any] = dict.fromkeys(
        ("heard", "liked", "favoured", "settled", "vetoed", "blacklisted"), frozenset()
    )
    return ListenerState(**{**nothing, "favourability": {}, "latest_started": None, **fields})


def clustered(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    """Dense rows of unequal length in a few clusters."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(4, dimension))
    rows = centres[rng.integers(0, 4, count)] + 0.5 * rng.normal(size=(count, dimension))
    return (rows * rng.uniform(0.5, 2.0, (count, 1))).astype(np.float32)


def words(count: int, vocabulary: int, seed: int = 0, each: int = 4) -> Any:
    """Sparse rows with a few words each."""
    rng = np.random.default_rng(seed)
    columns = np.concatenate([rng.choice(vocabulary, each, replace=False) for _ in range(count)])
    values = rng.uniform(1, 4, count * each).astype(np.float32)
    starts = np.arange(0, count * each + 1, each)
    return scipy.sparse.csr_array((values, columns, starts), shape=(count, vocabulary))


def publish(vectors_dir: Path, arm: str, song_ids: Sequence[str], raw: Any) -> LiveModel:
    """Write a version of an arm's model as a job does; returns the record that switches to it."""
    record = LiveModel(
        arm=arm,
        version=f"{next(_versions):016x}",
        vectors="dense" if isinstance(raw, np.ndarray) else "sparse",
        dimension=raw.shape[1],
        songs=len(song_ids),
        catalogue_digest="0" * 32,
        built_at=WHEN,
    )
    directory = vectors_dir / record.collection
    directory.mkdir(parents=True)
    write_files(directory, record, song_ids, raw)
    write_shard(directory / "shard", points_of(song_ids), raw)
    return record


def publish_all(vectors_dir: Path, song_ids: Sequence[str], seed: int = 0) -> list[LiveModel]:
    """All four content arms over the same songs."""
    dense = (("mpnet", 32), ("minilm", 24), ("node2vec", 8))
    made = [publish(vectors_dir, arm, song_ids, clustered(len(song_ids), d, seed + d)) for arm, d in dense]
    return [*made, publish(vectors_dir, "tfidf", song_ids, words(len(song_ids), 60, seed))]


def opened(vectors_dir: Path, records: Iterable[LiveModel]) -> dict[str, ServedModel]:
    """The models of these records, by arm."""
    return {record.arm: open_model(record, vectors_dir) for record in records}


def snapshot_of(catalogue: Catalogue, models: Mapping[str, ServedModel]) -> CatalogueSnapshot:
    """The catalogue snapshot with these models."""
    return CatalogueSnapshot(catalogue, {arm: bind(model, catalogue) for arm, model in models.items()})


def composer(seed: int = 0, **fields: Any) -> Composer:
    """A composer with every arm and seeded draws."""
    chosen: dict[str, Any] = {"arms": all_arms(), "order": "random", "cold_mode": "fade", "observe": lambda *_: None}
    return Composer(vectors=ProfileVectors(), rng=np.random.default_rng(seed), **{**chosen, **fields})


def context(number: int = 1, revision: int = 0, resting: Iterable[str] = ()) -> PlaylistContext:
    """The moment of playlist `number`."""
    return PlaylistContext(UUID(int=number), revision, WHEN + number, True, frozenset(resting))


def pick_request(
    snapshot: CatalogueSnapshot, mask: np.ndarray, *, near: str | None = None, seed: int = 0
) -> PickRequest:
    """A request whose listener sits at the song `near`, or at each model's mean."""

    def vector_of(bound: BoundModel) -> ProfileVector:
        rows = bound.model.rows_of([near] if near else [])
        vector = bound.model.total(rows) if len(rows) else bound.model.mean
        return ProfileVector(vector, rows, "favoured" if len(rows) else "mean")

    return PickRequest(
        snapshot.catalogue, mask, snapshot.models, snapshot.left_out, vector_of, np.random.default_rng(seed)
    )
