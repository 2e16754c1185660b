"""Two versions of models side by side: how much of what listeners get would change, before they see it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.arms import CONTENT_ARMS
from contracts.model_builds import ModelBuild
from contracts.models import LiveModel
from model_jobs.builds import read_builds
from model_jobs.evaluate.metrics import Interval, bootstrap
from model_jobs.live import live_models
from services.common.settings import Settings
from services.common.vectors.published import Published, load_published, published_models

Rows = NDArray[np.int64]
TOP: Final = 10
SONGS_ASKED: Final = 500
LISTENERS: Final = 1_000
FAVOURITES: Final = 5
_BATCH: Final = 100


@dataclass(frozen=True)
class Comparison:
    """What differs between a and b. Intervals are None where the two have too few songs in common.

    Attributes:
        added, removed: songs that only b, only a has.
        overlap: share of a song's ten nearest songs (among the common ones) that stay its nearest.
        same_space: mean cosine between a song's two vectors; None where the dimensions differ or rows are sparse.
        rotated: the same after the rotation of b that fits a best (orthogonal Procrustes, Schönemann 1966): models that
            are trained from chance lie rotated against each other, which no listener notices.
        other_pick: share of listeners with five random favourites whose next song would be another.
        builds: what the last build of each cost; None where the log has no record of it.
    """

    a: LiveModel
    b: LiveModel
    added: int
    removed: int
    common: int
    overlap: Interval | None
    same_space: Interval | None
    rotated: Interval | None
    other_pick: Interval | None
    builds: tuple[ModelBuild | None, ModelBuild | None]


async def resolve(settings: Settings, name: str) -> Published:
    """The model that `arm` (its live version), `arm@version` (its first digits do) or a directory means.

    Raises LookupError or FileNotFoundError with what to do.
    """
    arm, _, version = name.partition("@")
    if "/" in name or arm not in CONTENT_ARMS:
        return load_published(Path(name))
    live = (await live_models(settings.kafka)).get(arm)
    if not version and live is None:
        raise LookupError(f"{arm} has no live model; name a version as {arm}@VERSION, or a directory")
    return _of_arm(settings, name, arm, version or (live.version if live else ""))


def _of_arm(settings: Settings, name: str, arm: str, version: str) -> Published:
    on_disk = [record for record in published_models(settings.vectors_dir) if record.arm == arm]
    found = [record for record in on_disk if record.version.startswith(version)]
    if len(found) != 1:
        listed = ", ".join(f"{record.arm}@{record.version}" for record in on_disk) or "none"
        raise LookupError(f"{len(found)} versions on this disk are named {name}; there lie: {listed}")
    return load_published(settings.vectors_dir / found[0].collection)


async def compare(settings: Settings, name_a: str, name_b: str, *, seed: int = 0) -> Comparison:
    """Compare two models of this disk, with what the log knows of their builds. Raises as `resolve` does."""
    a, b = await resolve(settings, name_a), await resolve(settings, name_b)
    builds = await read_builds(settings.kafka)
    return compared(a, b, (_build_of(builds, a.record), _build_of(builds, b.record)), seed=seed)


def compared(
    a: Published, b: Published, builds: tuple[ModelBuild | None, ModelBuild | None] = (None, None), *, seed: int = 0
) -> Comparison:
    """`compare` of loaded models; the same seed samples the same songs and listeners."""
    rows_a, rows_b = _common_rows(a, b)
    songs, rng = len(rows_a), np.random.default_rng(seed)
    enough = songs > TOP + FAVOURITES
    one, other = _Unit(a.raw, rows_a), _Unit(b.raw, rows_b)
    asked = rng.choice(songs, min(SONGS_ASKED, songs), replace=False)
    listeners = [rng.choice(songs, FAVOURITES, replace=False) for _ in range(LISTENERS if enough else 0)]
    spaces = _cosines(one, other, asked) if enough else (None, None)
    return Comparison(
        a=a.record, b=b.record, added=len(b.song_ids) - songs, removed=len(a.song_ids) - songs, common=songs,
        overlap=bootstrap(_overlap(one.nearest(asked), other.nearest(asked))) if enough else None,
        same_space=None if spaces[0] is None else bootstrap(spaces[0]),
        rotated=None if spaces[1] is None else bootstrap(spaces[1]),
        other_pick=bootstrap((one.picks(listeners) != other.picks(listeners)).astype(np.float64)) if enough else None,
        builds=builds,
    )  # fmt: skip


class _Unit:
    """Rows of the common songs: as made (profiles are means of those), and at length 1 (neighbours are by cosine)."""

    def __init__(self, raw: Any, rows: Rows) -> None:
        self.dense = isinstance(raw, np.ndarray)
        self._raw = np.asarray(raw[rows], dtype=np.float32) if self.dense else raw[rows]
        squares = np.einsum("ij,ij->i", self._raw, self._raw) if self.dense else (self._raw * self._raw).sum(axis=1)
        self._lengths = np.sqrt(np.asarray(squares, dtype=np.float32).ravel())

    @property
    def rows(self) -> NDArray[np.float32]:
        """Dense rows at length 1."""
        return np.asarray(self._raw / self._lengths[:, None], dtype=np.float32)

    def nearest(self, asked: Rows) -> Rows:
        """(asked, TOP) the songs with the largest cosines, the song itself left out."""
        scores = self._scores(self._raw[asked])
        scores[np.arange(len(asked)), asked] = -2.0
        return np.argpartition(-scores, TOP, axis=1)[:, :TOP]

    def picks(self, listeners: Sequence[Rows]) -> Rows:
        """(listeners,) the song nearest to the mean of each listener's favourites that is none of them."""
        found = []
        for start in range(0, len(listeners), _BATCH):
            favourites = np.stack(listeners[start : start + _BATCH])
            means = self._raw[favourites[:, 0]]
            for column in range(1, FAVOURITES):
                means = means + self._raw[favourites[:, column]]
            scores = self._scores(means)
            scores[np.arange(len(favourites))[:, None], favourites] = -2.0
            found.append(scores.argmax(axis=1))
        return np.concatenate(found)

    def _scores(self, queries: Any) -> NDArray[np.float32]:
        """(queries, songs): cosines, but for the queries' own lengths, which change no order."""
        products = queries @ self._raw.T
        dense = products if self.dense else products.toarray()
        return np.asarray(dense / self._lengths, dtype=np.float32)


def _common_rows(a: Published, b: Published) -> tuple[Rows, Rows]:
    row_of_b = {song_id: row for row, song_id in enumerate(b.song_ids)}
    pairs = [(row, row_of_b[song_id]) for row, song_id in enumerate(a.song_ids) if song_id in row_of_b]
    rows = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def _overlap(one: Rows, other: Rows) -> NDArray[np.float64]:
    return np.array([len(np.intersect1d(x, y)) / TOP for x, y in zip(one, other, strict=True)])


def _cosines(one: _Unit, other: _Unit, asked: Rows) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """(as they are, after the best rotation) by asked song; None where the rows do not compare."""
    if not (one.dense and other.dense and one.rows.shape == other.rows.shape):
        return None, None
    x, y = one.rows.astype(np.float64), other.rows.astype(np.float64)
    left, _, right = np.linalg.svd(y.T @ x)
    turned = y @ (left @ right)
    return np.einsum("ij,ij->i", x[asked], y[asked]), np.einsum("ij,ij->i", x[asked], turned[asked])


def _build_of(builds: Sequence[ModelBuild], record: LiveModel) -> ModelBuild | None:
    made = (b for b in reversed(builds) if (b.arm, b.version, b.outcome) == (record.arm, record.version, "built"))
    return next(made, None)
