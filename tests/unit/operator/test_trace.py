"""Whether a profile holds what an event wrote."""

from uuid import UUID

import pytest

from contracts.events import FeedbackEvent
from contracts.fold import fold
from services.operator.trace import holds


def event(**fields: object) -> FeedbackEvent:
    base = {"event_id": UUID(int=7), "kind": "liked", "user_id": "u", "song_id": "s"}
    times = {"occurred_at": 1_700_000_000_000, "received_at": 1_700_000_000_001}
    return FeedbackEvent.model_validate({**base, **times, **fields})


@pytest.mark.parametrize(
    "written",
    [event(), event(kind="progress", watch_ms=9, duration_ms=10), event(kind="vetoed", anime_id="a", song_id=None)],
)
def test_a_profile_that_folded_the_event_holds_it_and_an_empty_one_does_not(written: FeedbackEvent) -> None:
    folded = fold([written])["u"]
    assert holds(written, folded.songs, folded.vetoes)
    assert not holds(written, {}, {})


def test_a_later_write_holds_the_earlier_one_and_not_the_other_way_round() -> None:
    early, late = event(), event(event_id=UUID(int=8), occurred_at=1_700_000_000_002, kind="unliked")
    assert holds(early, fold([early, late])["u"].songs, {})
    assert not holds(late, fold([early])["u"].songs, {})
