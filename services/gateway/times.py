"""The time of each event on the server's clock, such that a listener's latest action wins.

A possible time is kept: events may arrive late and in any order. A time ahead of the server's clock is impossible: the
event happened before its arrival and after the client's earlier posts. It gets the time of arrival. The fold compares
times first and ids second, so two events must not share a time: the corrected events of a post end at the time of
arrival, a millisecond apart, in the order of the post. The user's next post starts after them.

This process remembers the time of each user's newest event, and the changed times (an event that is posted again keeps
its first time). After a restart, or with several gateways, only posts within one millisecond can be reordered, and a
repeated event counts as new.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from contracts.events import ClientEvent

USERS_REMEMBERED: Final = 20_000
CHANGES_REMEMBERED: Final = 50_000
# If a user's newest event is further ahead, the server's clock was set back. The user's state is then reset.
SET_BACK_MS: Final = 2_000
_BY_SONG: Final = frozenset({"liked", "unliked"})
_BY_ANIME: Final = frozenset({"vetoed", "unvetoed"})


@dataclass(slots=True)
class TimedEvent:
    """An event and its time: as the client gave it, then as it is logged.

    `subject`: events about the same subject override each other, so their order counts; None: it does not.
    `ahead`: the time is in the future. `known`: an earlier post of the same event set the time.
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
    """Sets the times of the events of each post."""

    def __init__(self) -> None:
        self._users: OrderedDict[str, _User] = OrderedDict()
        self._changes: OrderedDict[tuple[str, UUID], int] = OrderedDict()

    def settle(self, user_id: str, events: Sequence[ClientEvent], now: int) -> list[int]:
        """The time of each event of a post that arrives `now`, in ms.

        No time is after `now`, unless a user posts more than one event per millisecond.
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
        timed_events: dict[UUID, TimedEvent] = {}
        for event in events:
            if event.event_id not in timed_events:
                timed_events[event.event_id] = self._timed(user_id, user, event, now)
        arrange(list(timed_events.values()), now, user.newest)
        for event in events:
            timed = timed_events[event.event_id]
            if timed.at != event.occurred_at and not timed.known:
                user.changed = max(user.changed, timed.at)
                self._remember(user_id, timed)
        return [timed_events[event.event_id].at for event in events]

    def _timed(self, user_id: str, user: _User, event: ClientEvent, now: int) -> TimedEvent:
        at = self._changes.get((user_id, event.event_id))
        if at is not None:
            return TimedEvent(event.event_id, _subject(event), at, known=True)
        at = event.occurred_at
        # The event shares the millisecond of an earlier one.
        at += at == user.changed
        return TimedEvent(event.event_id, _subject(event), at, ahead=event.occurred_at > now)

    def _remember(self, user_id: str, timed: TimedEvent) -> None:
        self._changes[user_id, timed.event_id] = timed.at
        if len(self._changes) > CHANGES_REMEMBERED:
            self._changes.popitem(last=False)


def arrange(timed_events: Sequence[TimedEvent], now: int, newest: int) -> None:
    """Set the logged times of the events of one post, in its order. No two events share an id.

    `newest`: when the newest event of earlier posts happened. An event that is ahead becomes
    later than those before it in the post, and earlier than a later one about the same subject.
    """
    _separate_equal_times(timed_events)
    ahead = sum(timed.ahead for timed in timed_events)
    if not ahead:
        return
    latest = max(now, newest + ahead, *(timed.at for timed in timed_events if not timed.ahead))
    placed: dict[str | None, int] = {}
    earliest: dict[str | None, int] = {}
    for timed in reversed(timed_events):
        bounds = earliest if timed.ahead else placed
        limit = min(latest, bounds.get(timed.subject, latest + 1) - 1)
        if timed.ahead or timed.at > limit:
            timed.at = limit
            _lower(placed, timed)
        _lower(earliest, timed)
        # Earlier events of the post happened before this one.
        latest -= timed.ahead


def _lower(times: dict[str | None, int], timed: TimedEvent) -> None:
    if timed.subject is not None:
        times[timed.subject] = min(times.get(timed.subject, timed.at), timed.at)


def _separate_equal_times(timed_events: Sequence[TimedEvent]) -> None:
    """Of two equal times of one subject (a coarse clock), the later event in the post gets the later time."""
    # Subject -> the highest time as sent, and as set.
    highest: dict[str, tuple[int, int]] = {}
    for timed in timed_events:
        if timed.subject is None or timed.ahead or timed.known:
            continue
        given, last = highest.get(timed.subject, (-1, -1))
        if timed.at >= given:
            given, timed.at = timed.at, max(timed.at, last + 1)
            highest[timed.subject] = (given, timed.at)


def _share_a_subject(events: Sequence[ClientEvent]) -> bool:
    subjects = [subject for event in events if (subject := _subject(event)) is not None]
    return len(subjects) > 1 and len(set(subjects)) < len(subjects)


def _subject(event: ClientEvent) -> str | None:
    """The state that the event overrides: a song's like, an anime's veto, or the song that was started last."""
    if event.kind in _BY_SONG:
        return f"song {event.song_id}"
    if event.kind in _BY_ANIME:
        return f"anime {event.anime_id}"
    return "started" if event.kind == "started" else None
