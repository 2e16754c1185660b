"""The recommender's interface for other services: composes playlists as serving does, from a given context.

Other services may import this module only (`animusic replay playlists` does). It serves and logs nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from contracts.arms import CONTENT_ARMS
from contracts.models import LiveModel
from contracts.playlists import ServedPlaylist
from services.common.settings import RecommenderSettings
from services.profiles.reader import HistoryEntry, StoredProfile
from services.recommender.arms import all_arms
from services.recommender.arms.base import Arm, LeftOut, Pick, PickRequest
from services.recommender.catalogue import Catalogue, build_catalogue
from services.recommender.catalogue_song import CatalogueSong, UnreadableSong, read_song
from services.recommender.composing import Composer
from services.recommender.eligible import resting
from services.recommender.models import BoundModel, ServedModel, bind, open_model
from services.recommender.profile_vectors import ProfileVectors
from services.recommender.profile_views import ProfileViews
from services.recommender.recent import history_entry
from services.recommender.snapshots import CatalogueSnapshot

__all__ = [
    "Catalogue", "CatalogueSong", "OpenModel", "Recomposer", "ServedContext", "UnreadableSong", "history_entry",
    "opening", "read_song",
]  # fmt: skip

# Opens a version of an arm; None if it is not on this machine.
OpenModel = Callable[[str, str], ServedModel | None]


@dataclass(frozen=True)
class ServedContext:
    """A served playlist with the inputs that it was made from.

    Attributes:
        profile: rebuilt from the log up to the playlist's marks. `faithful`: its digest equals the logged one.
        shown: the listener's earlier playlists, oldest first, the newest revision of each.
    """

    playlist: ServedPlaylist
    profile: StoredProfile
    shown: tuple[HistoryEntry, ...]

    @property
    def faithful(self) -> bool:
        return self.profile.digest == self.playlist.profile_digest


class Recomposer:
    """Composes served playlists again, with any models.

    The random decisions stay the same: the slots, the order of the picks, the random arm's song. Cold start and resting
    follow `settings`.
    """

    def __init__(self, songs: Iterable[CatalogueSong], settings: RecommenderSettings, open_version: OpenModel) -> None:
        self.catalogue = build_catalogue(songs).warm()
        self._settings = settings
        self._arms = all_arms()
        self._profile_views = ProfileViews(cache_bytes=0, cold_songs=settings.cold_songs)
        self._vectors = ProfileVectors()

        @cache
        def bound(arm: str, version: str) -> BoundModel | None:
            model = open_version(arm, version)
            return None if model is None else bind(model, self.catalogue)

        self._bound = bound

    def has(self, arm: str, version: str) -> bool:
        """Whether this version of an arm is on this machine."""
        return self._bound(arm, version) is not None

    def picks(self, context: ServedContext, versions: Mapping[str, str], late: Sequence[str] = ()) -> dict[str, str]:
        """Arm -> id of the song that it picks, with these versions.

        The arms of the playlist pick in their order, then the `late` ones. An arm whose version is not on this machine
        picks its served song, if that is open.
        """
        playlist = context.playlist
        found = {arm: self._bound(arm, version) for arm, version in versions.items()}
        models = {arm: model for arm, model in found.items() if model is not None}
        served: dict[str, str] = {slot.arm: slot.song_id for slot in playlist.slots}
        arms = {arm: self._arm(arm, served.get(arm), models) for arm in [*playlist.picks, *late]}
        rng = np.random.default_rng(playlist.playlist_id.int)
        composer = Composer(arms, self._vectors, playlist.order, self._settings.cold_start, rng, _ignore)
        taken = self.catalogue.rows_of(slot.song_id for slot in playlist.slots if slot.kept).tolist()
        view = self._profile_views.of(context.profile, self.catalogue)
        snapshot = CatalogueSnapshot(self.catalogue, models)
        _, _, picked = composer.picks(snapshot, view, self._resting(context), list(arms), taken)
        return {arm: self.catalogue.songs[pick.row].song_id for arm, pick in picked.picks.items()}

    def _arm(self, name: str, served: str | None, models: Mapping[str, BoundModel]) -> Arm:
        if name in CONTENT_ARMS:
            return self._arms[name] if name in models else _AsServed(name, served)
        return self._arms[name] if name != "random" else _AsServed(name, served, otherwise=self._arms[name])

    def _resting(self, context: ServedContext) -> frozenset[str]:
        own = str(context.playlist.playlist_id)
        shown = [entry.songs for entry in context.shown if entry.playlist_id != own]
        return resting(shown, after_shown=self._settings.rest_after_shown, rest=self._settings.rest_playlists)


@contextmanager
def opening(vectors_dir: Path, here: Iterable[LiveModel]) -> Iterator[OpenModel]:
    """Opens models of this machine on demand, and closes them after the block."""
    records: dict[tuple[str, str], LiveModel] = {(one.arm, one.version): one for one in here}
    models: list[ServedModel] = []

    def open_version(arm: str, version: str) -> ServedModel | None:
        record = records.get((arm, version))
        if record is None:
            return None
        models.append(open_model(record, vectors_dir))
        return models[-1]

    try:
        yield open_version
    finally:
        for model in models:
            model.index.close()


@dataclass
class _AsServed:
    """An arm that picks its served song again, if it is open."""

    name: str
    song_id: str | None
    otherwise: Arm | None = None

    def pick(self, request: PickRequest) -> Pick | None:
        """The served song; else the pick of `otherwise`."""
        row = request.catalogue.row_of.get(self.song_id or "")
        if row is not None and request.open[row]:
            return Pick(row, 0.0, 1.0)
        if self.otherwise is None:
            raise LeftOut("not_here", "its version is not on this machine, and its served song is excluded now")
        return self.otherwise.pick(request)


def _ignore(_arm: str, _seconds: float, _code: str | None) -> None:
    """Recomposed playlists are not measured."""
