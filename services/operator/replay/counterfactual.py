"""What a playlist would have been: composed again from what was known then, by the same code, with other models.

Twice: with the models that it was served with, which says how far the log explains what was served; and with those that
were asked for. What chance decided stays as it was - the slots, the order in which arms pick, the song of the random
arm - so that what differs comes of the models.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from uuid import UUID

import numpy as np

from contracts.arms import CONTENT_ARMS
from contracts.models import LiveModel
from contracts.playlists import ServedPlaylist, ServedSlot
from services.common.settings import RecommenderSettings
from services.operator.replay.then import Then
from services.recommender.arms import all_arms
from services.recommender.arms.base import Arm, Ask, LeftOut, Pick
from services.recommender.catalogue import Catalogue
from services.recommender.composing import Composer
from services.recommender.eligible import resting
from services.recommender.models import BoundModel, ServedModel, bind
from services.recommender.picking import Picked
from services.recommender.profile_vectors import ProfileVectors
from services.recommender.profile_views import ProfileViews
from services.recommender.snapshots import CatalogueSnapshot

# Opens a version of an arm; None where it is not on this machine.
Opened = Callable[[str, str], ServedModel | None]


@dataclass(frozen=True)
class Seat:
    """One slot. Songs by id, None: the arm brings nothing.

    Attributes:
        served: what was served, by `version` (None: the arm has none).
        again: what the same models bring. `replayed`: they were asked; else they are not on this machine, and the arm
            brings what it had brought, if that is open.
        instead: what the models that were asked for bring.
    """

    slot: int | None
    arm: str
    version: str | None
    served: str | None
    again: str | None
    instead: str | None
    replayed: bool = True
    kept: bool = False


@dataclass(frozen=True)
class Replayed:
    """One playlist, slot by slot; arms that had brought nothing and were asked for come last, without a slot."""

    playlist: ServedPlaylist
    faithful: bool
    seats: tuple[Seat, ...]

    @property
    def same(self) -> bool:
        """Whether the models that served it bring the same songs."""
        return all(seat.again == seat.served for seat in self.seats if seat.slot is not None)


@dataclass
class Tally:
    """Of one arm: slots that it picked, how many come out the same, how many of another song with other models.

    `not_here`: slots of versions that are not on this machine.
    """

    slots: int = 0
    same: int = 0
    not_here: int = 0
    other: int = 0


def tallied(found: Iterable[Replayed]) -> dict[str, Tally]:
    """By arm, over all slots that the playlists' last revisions picked."""
    tallies: dict[str, Tally] = {}
    for seat in (seat for one in found for seat in one.seats if not seat.kept):
        tally = tallies.setdefault(seat.arm, Tally())
        tally.slots += seat.slot is not None
        tally.same += seat.slot is not None and seat.replayed and seat.again == seat.served
        tally.not_here += not seat.replayed
        tally.other += seat.instead != seat.again
    return dict(sorted(tallies.items()))


class Counterfactual:
    """Composes playlists of then again.

    `changed`: arm -> the version that it would have had. `own`: cold start and resting are as these settings say now.
    """

    def __init__(
        self, catalogue: Catalogue, own: RecommenderSettings, opened: Opened, changed: Mapping[str, LiveModel]
    ) -> None:
        self._catalogue = catalogue
        self._own = own
        self._changed = changed
        self._arms = all_arms()
        self._profile_views = ProfileViews(cache_bytes=0, cold_songs=own.cold_songs)
        self._vectors = ProfileVectors()

        @cache
        def bound(arm: str, version: str) -> BoundModel | None:
            model = opened(arm, version)
            return None if model is None else bind(model, catalogue)

        self._bound = bound

    def of(self, then: Then) -> Replayed:
        """One playlist."""
        served = [slot for slot in then.playlist.slots if not slot.kept]
        versions: dict[str, str] = {slot.arm: slot.model_version for slot in served if slot.model_version}
        changed = {arm: record.version for arm, record in self._changed.items()}
        kept: set[str] = {slot.arm for slot in then.playlist.slots if slot.kept}
        again = self._compose(then, versions, [])
        late = [arm for arm in changed if arm not in then.playlist.picks and arm not in kept]
        instead = self._compose(then, versions | changed, late) if changed else again
        seats = [self._seat(slot, again, instead) for slot in then.playlist.slots]
        seats += [Seat(None, arm, None, None, None, self._song(instead, arm)) for arm in late]
        return Replayed(then.playlist, then.faithful, tuple(seats))

    def _seat(self, slot: ServedSlot, again: Picked, instead: Picked) -> Seat:
        if slot.kept:
            song = slot.song_id
            return Seat(slot.slot, slot.arm, slot.model_version, song, song, song, kept=True)
        replayed = slot.model_version is None or self._bound(slot.arm, slot.model_version) is not None
        found = self._song(again, slot.arm), self._song(instead, slot.arm)
        return Seat(slot.slot, slot.arm, slot.model_version, slot.song_id, *found, replayed=replayed)

    def _song(self, picked: Picked, arm: str) -> str | None:
        pick = picked.picks.get(arm)
        return None if pick is None else self._catalogue.entries[pick.row].song_id

    def _compose(self, then: Then, versions: Mapping[str, str], late: Sequence[str]) -> Picked:
        playlist = then.playlist
        found = {arm: self._bound(arm, version) for arm, version in versions.items()}
        models = {arm: bound for arm, bound in found.items() if bound is not None}
        served: dict[str, str] = {slot.arm: slot.song_id for slot in playlist.slots}
        rng = np.random.default_rng(playlist.playlist_id.int)
        arms = {arm: self._arm(arm, served.get(arm), models) for arm in [*playlist.picks, *late]}
        composer = Composer(arms, self._vectors, playlist.order, self._own.cold_start, rng, _unobserved)
        view = self._profile_views.of(then.profile, self._catalogue)
        taken = [slot.song_id for slot in playlist.slots if slot.kept]
        rows = self._catalogue.rows_of(taken).tolist()
        _, _, picked = composer.picks(
            CatalogueSnapshot(self._catalogue, models),
            view,
            self._resting(then, playlist.playlist_id),
            list(arms),
            rows,
        )
        return picked

    def _arm(self, name: str, served: str | None, models: Mapping[str, BoundModel]) -> Arm:
        if name in CONTENT_ARMS:
            return self._arms[name] if name in models else _AsServed(name, served)
        return self._arms[name] if name != "random" else _AsServed(name, served, otherwise=self._arms[name])

    def _resting(self, then: Then, but: UUID) -> frozenset[str]:
        shown = [entry.songs for entry in then.shown if entry.playlist_id != str(but)]
        return resting(shown, after_shown=self._own.rest_after_shown, rest=self._own.rest_playlists)


@dataclass
class _AsServed:
    """An arm that brings again what it had brought, where that is open."""

    name: str
    song_id: str | None
    otherwise: Arm | None = None

    def pick(self, ask: Ask) -> Pick | None:
        """The song of then; else what `otherwise` brings."""
        row = ask.catalogue.row_of.get(self.song_id or "")
        if row is not None and ask.open[row]:
            return Pick(row, 0.0, 1.0)
        if self.otherwise is None:
            raise LeftOut("not_here", "its version of then is not on this machine, and its song is taken")
        return self.otherwise.pick(ask)


def _unobserved(_arm: str, _seconds: float, _code: str | None) -> None:
    """Nobody counts what is not served."""
