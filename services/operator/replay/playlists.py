"""`animusic replay playlists`: what listeners were served at a time, composed again. Nothing is written.

Twice: with the models that it was served with, which says how far the log explains what was served; and with those that
were asked for. What chance decided stays as it was, so that what differs comes of the models.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from contracts.arms import CONTENT_ARMS
from contracts.models import LiveModel
from contracts.playlists import ServedPlaylist, ServedSlot
from services.common.settings import Settings
from services.operator.replay.contexts import Wanted, catalogue_at, contexts_of, playlists_at
from services.operator.replay.records import Tell
from services.recommender.interface import Catalogue, OpenModel, Recomposer, ServedContext

LIVE = "live"
# Arm -> the version that it would have had.
Changed = Mapping[str, LiveModel]


@dataclass(frozen=True)
class Seat:
    """One slot. Songs by id, None: the arm picks nothing.

    Attributes:
        served: what was served, by `version` (None: the arm has none).
        again: what the same models pick. `replayed`: they were asked; else they are not on this machine, and the arm
            picks what it had picked, if that is open.
        instead: what the models that were asked for pick.
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
    """One playlist, slot by slot; arms that had picked nothing and were asked for come last, without a slot."""

    playlist: ServedPlaylist
    faithful: bool
    seats: tuple[Seat, ...]

    @property
    def same(self) -> bool:
        """Whether the models that served it pick the same songs."""
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


@dataclass(frozen=True)
class Answer:
    """What came of it.

    Attributes:
        found: those served last come first.
        forgotten: listeners who are not looked at.
        later: songs of which the log holds only what was said of them since.
    """

    found: list[Replayed]
    catalogue: Catalogue
    forgotten: int
    later: int


async def composed_again(
    settings: Settings, wanted: Wanted, open_model: OpenModel, changed: Changed, tell: Tell
) -> Answer:
    """Read, and compose. Raises LookupError when nobody was served then, aiokafka's KafkaError."""
    placed = await playlists_at(settings.kafka, wanted, tell)
    contexts = await contexts_of(settings.kafka, placed, tell)
    known = await catalogue_at(settings.kafka, wanted.at, tell)
    recomposer = Recomposer(known.entries, settings.recommender, open_model)
    found = []
    # As the recommender does: sums in another order could tell two songs apart that were equal.
    with threadpool_limits(1, user_api="blas"):
        for number, context in enumerate(contexts, 1):
            found.append(replayed(recomposer, context, changed))
            tell("composing", number, len(contexts))
    return Answer(found, recomposer.catalogue, len(placed) - len(contexts), known.later)


def replayed(recomposer: Recomposer, context: ServedContext, changed: Changed) -> Replayed:
    """One playlist, composed with the models that served it and with those that were asked for."""
    playlist = context.playlist
    served: dict[str, str] = {s.arm: s.model_version for s in playlist.slots if not s.kept and s.model_version}
    kept: set[str] = {slot.arm for slot in playlist.slots if slot.kept}
    late = [arm for arm in changed if arm not in playlist.picks and arm not in kept]
    again = recomposer.picks(context, served)
    versions = served | {arm: record.version for arm, record in changed.items()}
    instead = recomposer.picks(context, versions, late) if changed else again

    def seat(slot: ServedSlot) -> Seat:
        song, version = slot.song_id, slot.model_version
        if slot.kept:
            return Seat(slot.slot, slot.arm, version, song, song, song, kept=True)
        here = version is None or recomposer.has(slot.arm, version)
        return Seat(slot.slot, slot.arm, version, song, again.get(slot.arm), instead.get(slot.arm), replayed=here)

    added = [Seat(None, arm, None, None, None, instead.get(arm)) for arm in late]
    return Replayed(playlist, context.faithful, (*map(seat, playlist.slots), *added))


def chosen(here: Sequence[LiveModel], live: Mapping[str, LiveModel], text: str) -> LiveModel:
    """A model of this machine from `arm=version`; the beginning of a version is enough where it is the only one.

    Raises ValueError for another form, LookupError where there is no such version.
    """
    arm, _, version = text.partition("=")
    if arm not in CONTENT_ARMS or not version:
        raise ValueError(
            f"{text!r} is no ARM=VERSION: write one of {', '.join(sorted(CONTENT_ARMS))}, `=`, and a version that "
            f"`animusic models list` names, or `{LIVE}`"
        )
    if version == LIVE:
        version = live[arm].version if arm in live else "none"
    found = [one for one in here if one.arm == arm and one.version.startswith(version)]
    if len(found) != 1:
        many = "several versions begin" if found else "no version on this machine begins"
        raise LookupError(f"{text}: {many} like that; `animusic models list` names those that are here")
    return found[0]
