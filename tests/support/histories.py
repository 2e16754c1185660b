"""Made-up event histories that are hard on the fold: equal times, colliding ids, equal ids with different payloads.

`histories(seed, n)` is seeded and fast (thousands for the stores), `history_strategy()` shrinks (for the pure fold).
User ids are unique to a history, so that all histories of a run fit into one store and are compared user by user.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID

from hypothesis import strategies as st

from contracts.arms import ARMS
from contracts.events import AttributionKind, FeedbackEvent, Kind

BASE_MS = 1_700_000_000_000
_KINDS: tuple[Kind, ...] = (
    "shown", "started", "progress", "progress", "ended", "skipped", "liked", "liked", "unliked", "vetoed", "unvetoed",
)  # fmt: skip
_ATTRIBUTIONS: tuple[AttributionKind, ...] = ("slot", "slot", "claimed", "none", "refused")
# Few values each, so that they collide; the ids differ in their first and in their last byte only.
_IDS = tuple(UUID(int=(high << 120) | low) for high in (0, 127, 128, 255) for low in (0, 1, 255))
_TIMES = tuple(BASE_MS + step for step in (0, 1, 255, 256, 65_536))
_SONGS = ("a", "b", "anidb-1", "song-ff")
_ANIME = ("mal-1", "mal-2")
_PLAYS = tuple(UUID(int=i + 1) for i in range(2))
_DURATIONS = (1, 999, 240_000, 36_000_000)
_VERSIONS = (None, "00000000000000ff", "ffffffffffffffff")


@dataclass(frozen=True)
class History:
    """The events of one to three users, in one order of arrival; duplicates and contradictions included."""

    number: int
    events: tuple[FeedbackEvent, ...]

    @property
    def users(self) -> frozenset[str]:
        """Whose events these are."""
        return frozenset(event.user_id for event in self.events)


def histories(seed: int, n: int, *, longest: int = 24) -> Iterator[History]:
    """`n` histories of 1 to `longest` events, the same for the same seed."""
    for number in range(n):
        rng = random.Random(f"{seed}/{number}")
        users = [f"h{seed}-{number}-u{i}" for i in range(rng.randint(1, 3))]
        events = [random_event(rng, rng.choice(users)) for _ in range(rng.randint(1, longest))]
        yield History(number, tuple(events))


def batches(events: Sequence[FeedbackEvent], seed: object) -> list[list[FeedbackEvent]]:
    """The same set of events in another order, some of them several times, cut into one to five batches."""
    rng = random.Random(repr(seed))
    again = [event for event in events if rng.random() < 0.3]
    mixed = [*events, *again]
    rng.shuffle(mixed)
    cuts = sorted(rng.randint(0, len(mixed)) for _ in range(rng.randint(0, 4)))
    edges = [0, *cuts, len(mixed)]
    return [mixed[start:end] for start, end in pairwise(edges)]


def random_event(rng: random.Random, user_id: str) -> FeedbackEvent:
    """One event of a user, from few times, ids and payloads."""
    kind = rng.choice(_KINDS)
    about_anime = kind in ("vetoed", "unvetoed")
    fields = {} if about_anime else {**_watching(rng), **_attribution(rng)}
    return FeedbackEvent.model_validate(
        {
            "event_id": rng.choice(_IDS),
            "kind": kind,
            "user_id": user_id,
            "occurred_at": rng.choice(_TIMES),
            "received_at": BASE_MS + rng.randint(0, 1 << 20),
            "song_id": None if about_anime else rng.choice(_SONGS),
            "anime_id": rng.choice(_ANIME) if about_anime else None,
            "direction": "next" if kind == "skipped" else None,
            **fields,
        }
    )


def _watching(rng: random.Random) -> dict[str, object]:
    duration = rng.choice(_DURATIONS)
    known = rng.random() < 0.7
    return {
        "watch_ms": rng.choice((0, duration // 2, duration)) if known else None,
        "duration_ms": duration if known else None,
        "played_ms": rng.choice((None, 0, 1, 70_000)),
        "play_id": rng.choice((None, *_PLAYS)),
    }


def _attribution(rng: random.Random) -> dict[str, object]:
    attribution = rng.choice(_ATTRIBUTIONS)
    if attribution in ("none", "refused"):
        return {"attribution": attribution}
    if attribution == "claimed":
        return {"attribution": attribution, "arm": rng.choice(ARMS)}
    return {
        "attribution": attribution,
        "arm": rng.choice(ARMS),
        "playlist_id": rng.choice(_IDS),
        "revision": rng.choice((0, 1, 256)),
        "slot": rng.choice((0, 5, 255)),
        "p_arm": 0.25,
        "p_song": 0.5,
        "model_version": rng.choice(_VERSIONS),
        "issued_at": BASE_MS,
    }


def history_strategy(longest: int = 20) -> st.SearchStrategy[list[FeedbackEvent]]:
    """Lists of events of two users, for hypothesis."""
    event = st.builds(random_event, st.randoms(use_true_random=False), st.sampled_from(("u1", "u2")))
    return st.lists(event, max_size=longest)
