"""Events as clients post them and as the log keeps them: what is accepted, what is rejected, and why."""

from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from contracts.events import ClientEvent, FeedbackEvent, first_error

NOW = 1_790_000_000_000
ID = "0198b0a4-6c5e-7d53-a9c2-0f2f8f0a7d11"
LIKED: dict[str, Any] = {"event_id": ID, "kind": "liked", "occurred_at": NOW, "song_id": "a"}
PROGRESS: dict[str, Any] = {**LIKED, "kind": "progress", "watch_seconds": 61.5, "duration_seconds": 90}


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(LIKED, id="the least"),
        pytest.param({**LIKED, "schema": 1, "from_the_future": {"a": 1}}, id="unknown fields are ignored"),
        pytest.param({**LIKED, "event_id": ID.upper()}, id="any spelling of a UUID"),
        pytest.param(PROGRESS, id="progress"),
        pytest.param({**PROGRESS, "watch_seconds": 95}, id="a player that overshoots by five seconds"),
        pytest.param({**PROGRESS, "watch_seconds": 0}, id="nothing watched yet"),
        pytest.param({**LIKED, "kind": "skipped", "direction": "prev"}, id="skipped back"),
        pytest.param({"event_id": ID, "kind": "vetoed", "occurred_at": NOW, "anime_id": "mal-1"}, id="a veto"),
        pytest.param({**LIKED, "link": "https://youtu.be/é", "rate": 2, "muted": True, "hidden": False}, id="extras"),
        pytest.param({**LIKED, "song_id": "~!" * 64}, id="the longest id"),
    ],
)
def test_accepted(event: dict[str, Any]) -> None:
    taken = ClientEvent.model_validate(event)
    assert (taken.kind, taken.occurred_at, taken.song_id) == (event["kind"], event["occurred_at"], event.get("song_id"))


INFINITE = float("inf")


@pytest.mark.parametrize(
    ("event", "where"),
    [
        pytest.param({**LIKED, "kind": "loved"}, "kind", id="an unknown kind"),
        pytest.param({**LIKED, "schema": 2}, "schema", id="an unknown schema"),
        pytest.param({**LIKED, "event_id": "1"}, "event_id", id="no UUID"),
        pytest.param({**LIKED, "occurred_at": NOW // 1000}, "occurred_at", id="seconds instead of milliseconds"),
        pytest.param({**LIKED, "occurred_at": -1}, "occurred_at", id="a negative time"),
        pytest.param({**LIKED, "occurred_at": 1.8e12}, "occurred_at", id="a time that is no integer"),
        pytest.param({**LIKED, "occurred_at": True}, "occurred_at", id="a time that is a boolean"),
        pytest.param({**LIKED, "song_id": ""}, "song_id", id="an empty song"),
        pytest.param({**LIKED, "song_id": "a b"}, "song_id", id="a song with a blank"),
        pytest.param({**LIKED, "song_id": "a\n"}, "song_id", id="a song with a line end"),
        pytest.param({**LIKED, "song_id": "a" * 129}, "song_id", id="a song that is too long"),
        pytest.param({**LIKED, "song_id": None}, "song_id", id="a like of nothing"),
        pytest.param({**LIKED, "kind": "vetoed"}, "anime_id", id="a veto of nothing"),
        pytest.param({**LIKED, "kind": "skipped"}, "direction", id="a skip to nowhere"),
        pytest.param({**LIKED, "kind": "progress"}, "watch_seconds", id="progress of nothing"),
        pytest.param({**PROGRESS, "watch_seconds": -0.1}, "watch_seconds", id="negative seconds"),
        pytest.param({**PROGRESS, "watch_seconds": INFINITE}, "watch_seconds", id="infinite seconds"),
        pytest.param({**PROGRESS, "watch_seconds": float("nan")}, "watch_seconds", id="seconds that are no number"),
        pytest.param({**PROGRESS, "watch_seconds": 86_400.5}, "watch_seconds", id="more than a day"),
        pytest.param({**PROGRESS, "watch_seconds": 95.1}, "watch_seconds", id="far past the end"),
        pytest.param({**PROGRESS, "duration_seconds": 0}, "duration_seconds", id="no duration"),
        pytest.param({**PROGRESS, "duration_seconds": 0.0001}, "duration_seconds", id="less than a millisecond"),
        pytest.param({**LIKED, "rate": INFINITE}, "rate", id="an infinite rate"),
        pytest.param({**LIKED, "rate": 0}, "rate", id="a rate of nothing"),
        pytest.param({**LIKED, "slot_token": "a" * 513}, "slot_token", id="a token that is too long"),
        pytest.param({**LIKED, "play_id": "x"}, "play_id", id="a play that is no UUID"),
    ],
)
def test_rejected_and_why(event: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as error:
        ClientEvent.model_validate(event)
    assert where in first_error(error.value)


def test_seconds_become_whole_milliseconds_once() -> None:
    event = ClientEvent.model_validate({**PROGRESS, "watch_seconds": 94.0004, "played_seconds": 0.0006})
    assert event.millis() == {"watch_ms": 90_000, "duration_ms": 90_000, "played_ms": 1}


LOGGED: dict[str, Any] = {
    "event_id": UUID(ID), "kind": "liked", "user_id": "u", "occurred_at": NOW, "received_at": NOW, "song_id": "a",
}  # fmt: skip


def test_the_log_value_leaves_out_what_is_absent_and_reads_back() -> None:
    event = FeedbackEvent(**LOGGED, attribution="claimed", arm="tfidf")
    assert event.log_value() == (
        b'{"schema":1,"event_id":"0198b0a4-6c5e-7d53-a9c2-0f2f8f0a7d11","kind":"liked","user_id":"u",'
        b'"occurred_at":1790000000000,"received_at":1790000000000,"song_id":"a","attribution":"claimed","arm":"tfidf"}'
    )
    assert FeedbackEvent.model_validate_json(event.log_value()) == event


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"arm": "tfidf"}, id="an arm that nobody vouches for"),
        pytest.param({"attribution": "refused", "arm": "tfidf"}, id="an arm of a refused token"),
        pytest.param({"attribution": "slot"}, id="a slot without an arm"),
        pytest.param({"attribution": "slot", "arm": "unheard"}, id="an unknown arm"),
        pytest.param({"song_id": None}, id="about nothing"),
        pytest.param({"kind": "vetoed"}, id="a veto without an anime"),
        pytest.param({"schema": 2}, id="another schema"),
        pytest.param({"occurred_at": 1 << 53}, id="a time that Lua cannot hold"),
        pytest.param({"attribution": "slot", "arm": "tfidf", "p_arm": 1.5}, id="a probability over one"),
        pytest.param({"attribution": "slot", "arm": "tfidf", "model_version": "ff"}, id="a short model version"),
    ],
)
def test_the_log_never_holds(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FeedbackEvent.model_validate({**LOGGED, **wrong})
