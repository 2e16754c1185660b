"""When an event happened, on the server's clock, so that what a listener did last holds.

A time that can be true is kept as the client gave it: events may arrive late and in any order. A time ahead of the
server's clock cannot be true; the event happened before it arrived, after what the client posted before it. So it
becomes the time of arrival. The fold compares times first and ids next, so two events must not share that time: those
of one post end at the time of arrival, a millisecond apart, in the order of the post, and the next post of the same
user begins after them.

What is remembered is small and of this process: when a user's newest event happened, and the times that were changed
(an event that is posted again keeps the time that it got first). Without it (a restart, another gateway) only posts
within the same millisecond can trade places, and a repeated event counts as posted anew.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from contracts.events import ClientEvent

USERS_REMEMBERED: Final = 20_000
CHANGES_REMEMBERED: Final = 50_000
# A user's newest event lies further ahead than this only when the server's clock was set back: start over then.
SET_BACK_MS: Final = 2_000
_BY_SONG: Final = frozenset({"liked", "unliked"})
_BY_ANIME: Final = frozenset({"vetoed", "unvetoed"})


@dataclass(slots=True)
class Claim:
    """An event and its time: as the client gave it, then as it is logged.

    `subject`: events about the same subject undo each other, so their order counts; None: it does not.
    `ahead`: the time cannot be true. `known`: the time was given at an earlier post of the same event.
    """

    event_id: UUID
    subject: str | None
    at: int
    ahead: bool = False
    known: bool = False


@dataclass(slots=True)
class _User:
    """Times in ms: of the newest event of a user, and the last time that was changed (0: none)."""

    newest: int = 0
    changed: int = 0


class Times:
    """Gives the events of each post their times."""

    def __init__(self) -> None:
        self._users: OrderedDict[str, _User] = OrderedDict()
        self._changes: OrderedDict[tuple[str, UUID], int] = OrderedDict()

    def settle(self, user_id: str, events: Sequence[ClientEvent], now: int) -> list[int]:
        """The time of each event of a post that arrives `now`, in ms.

        None lies after `now`, unless a user's events come faster than one a millisecond.
        """
        if not events:
            return []
        user = self._user(user_id, now)
        times = [event.occurred_at for event in events]
        if user.changed or max(times) > now or _share_a_subject(events):
            times = self._arrange(user_id, user, events, now)
        user.newest = max(user.newest, *times)
        return times

    def _user(self, user_id: str, now: int) -> _User:
        user = self._users.get(user_id)
        if user is None or user.newest > now + SET_BACK_MS:
            user = self._users[user_id] = _User()
        self._users.move_to_end(user_id)
        if len(self._users) > USERS_REMEMBERED:
            self._users.popitem(last=False)
        return user

    def _arrange(self, user_id: str, user: _User, events: Sequence[ClientEvent], now: int) -> list[int]:
        claims: dict[UUID, Claim] = {}
        for event in events:
            if event.event_id not in claims:
                claims[event.event_id] = self._claim(user_id, user, event, now)
        arrange(list(claims.values()), now, user.newest)
        for event in events:
            claim = claims[event.event_id]
            if claim.at != event.occurred_at and not claim.known:
                user.changed = max(user.changed, claim.at)
                self._remember(user_id, claim)
        return [claims[event.event_id].at for event in events]

    def _claim(self, user_id: str, user: _User, event: ClientEvent, now: int) -> Claim:
        at = self._changes.get((user_id, event.event_id))
        if at is not None:
            return Claim(event.event_id, _subject(event), at, known=True)
        at = event.occurred_at
        # It shares the millisecond of an event that arrived before it.
        at += at == user.changed
        return Claim(event.event_id, _subject(event), at, ahead=event.occurred_at > now)

    def _remember(self, user_id: str, claim: Claim) -> None:
        self._changes[user_id, claim.event_id] = claim.at
        if len(self._changes) > CHANGES_REMEMBERED:
            self._changes.popitem(last=False)


def arrange(claims: Sequence[Claim], now: int, newest: int) -> None:
    """Give the claims of one post, in its order, the times that they are logged with. No two share an event id.

    `newest`: when the newest event of earlier posts happened. Of a claim that is ahead and one before it the former is
    later; of a claim that is ahead and a later one about the same subject the latter is.
    """
    _part_equal_times(claims)
    ahead = sum(claim.ahead for claim in claims)
    if not ahead:
        return
    latest = max(now, newest + ahead, *(claim.at for claim in claims if not claim.ahead))
    placed: dict[str | None, int] = {}
    earliest: dict[str | None, int] = {}
    for claim in reversed(claims):
        bounds = earliest if claim.ahead else placed
        limit = min(latest, bounds.get(claim.subject, latest + 1) - 1)
        if claim.ahead or claim.at > limit:
            claim.at = limit
            _lower(placed, claim)
        _lower(earliest, claim)
        # Whatever comes before this one in the post happened before it.
        latest -= claim.ahead


def _lower(times: dict[str | None, int], claim: Claim) -> None:
    if claim.subject is not None:
        times[claim.subject] = min(times.get(claim.subject, claim.at), claim.at)


def _part_equal_times(claims: Sequence[Claim]) -> None:
    """Of two believed times of one subject that are equal (a coarse clock), the later in the post is the later one."""
    # Subject -> the highest time as given, and as it is now.
    highest: dict[str, tuple[int, int]] = {}
    for claim in claims:
        if claim.subject is None or claim.ahead or claim.known:
            continue
        given, last = highest.get(claim.subject, (-1, -1))
        if claim.at >= given:
            given, claim.at = claim.at, max(claim.at, last + 1)
            highest[claim.subject] = (given, claim.at)


def _share_a_subject(events: Sequence[ClientEvent]) -> bool:
    subjects = [subject for event in events if (subject := _subject(event)) is not None]
    return len(subjects) > 1 and len(set(subjects)) < len(subjects)


def _subject(event: ClientEvent) -> str | None:
    """What the last event about it decides: a song's like, an anime's veto, which song was started last."""
    if event.kind in _BY_SONG:
        return f"song {event.song_id}"
    if event.kind in _BY_ANIME:
        return f"anime {event.anime_id}"
    return "started" if event.kind == "started" else None
