"""What the paper's one feedback body means in our events."""

import pytest

from contracts.http import PaperFeedback
from services.gateway.problems import Refused
from services.gateway.routes.paper import paper_events

NOW = 1_790_000_000_000


def body(**changes: object) -> PaperFeedback:
    said = {"anilist_username": "new", "song_id": "yt", "recommended_by": "TF-IDF", "watch_time": 61.5,
            "total_video_time": 90, "liked": False, **changes}  # fmt: skip
    return PaperFeedback.model_validate(said)


@pytest.mark.parametrize(
    ("said", "kinds"),
    [
        pytest.param(body(), ["started", "progress"], id="watched, not liked: no un-like"),
        pytest.param(body(liked=True), ["liked", "progress"], id="liked"),
        pytest.param(body(total_video_time=0, watch_time=0), ["started"], id="the length is not known yet"),
    ],
)
def test_events_of_a_body(said: PaperFeedback, kinds: list[str]) -> None:
    events = paper_events(said, "song-a", NOW)
    assert [event.kind for event in events] == kinds
    assert {event.song_id for event in events} == {"song-a"}
    assert {event.occurred_at for event in events} == {NOW}
    assert len({event.event_id for event in events}) == len(events)


def test_times_that_contradict_each_other_are_400() -> None:
    with pytest.raises(Refused) as refused:
        paper_events(body(watch_time=200), "song-a", NOW)
    assert refused.value.status == 400
    assert "watch_seconds lies past" in refused.value.message
