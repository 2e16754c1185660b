"""What the paper's one feedback body means in our events."""

from typing import Any

import httpx
import orjson
import pytest

from contracts.http import LogPosition, PaperFeedback
from contracts.tokens import Receipt
from services.gateway.reading import drop_invalid_fields
from services.gateway.routes import paper
from services.gateway.routes.paper import OPTIONAL_FIELDS, paper_events
from services.gateway.stamp import Stamped

NOW = 1_790_000_000_000


def read(**changes: object) -> tuple[PaperFeedback, list[str]]:
    said = {"anilist_username": "new", "song_id": "yt", "recommended_by": "TF-IDF", "watch_time": 61.5,
            "total_video_time": 90, "liked": False, **changes}  # fmt: skip
    return drop_invalid_fields(PaperFeedback, said, OPTIONAL_FIELDS)


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        pytest.param({}, ["started", "progress"], id="watched, not liked: no un-like"),
        pytest.param({"liked": True}, ["liked", "progress"], id="liked"),
        pytest.param({"liked": True, "watch_time": "61.5", "total_video_time": "90"}, ["liked", "progress"], id="text"),
        pytest.param({"watch_time": 90.0004}, ["started", "progress"], id="past the end by a rounding"),
        pytest.param({"total_video_time": 0, "watch_time": 0}, ["started"], id="the length is not known yet"),
        pytest.param({"total_video_time": None, "watch_time": None}, ["started"], id="nor is what was watched"),
        pytest.param({"recommended_by": None, "liked": True}, ["liked", "progress"], id="recommended by nobody"),
    ],
)
def test_events_of_a_body(changes: dict[str, Any], kinds: list[str]) -> None:
    body, dropped = read(**changes)
    events, impossible = paper_events(body, "song-a", NOW)
    assert [event.kind for event in events] == kinds
    assert {event.song_id for event in events} == {"song-a"}
    assert {event.occurred_at for event in events} == {NOW}
    assert len({event.event_id for event in events}) == len(events)
    assert dropped + impossible == []


@pytest.mark.parametrize(
    ("changes", "dropped"),
    [
        pytest.param({"watch_time": 130}, ["watch_time, total_video_time"], id="past the end"),
        pytest.param({"watch_time": 0, "total_video_time": 1e-5}, ["watch_time, total_video_time"], id="no length"),
        pytest.param({"watch_time": -1}, ["watch_time"], id="negative"),
        pytest.param({"watch_time": float("nan")}, ["watch_time"], id="NaN"),
        pytest.param({"total_video_time": float("inf")}, ["total_video_time"], id="infinite"),
        pytest.param({"total_video_time": 90_000}, ["total_video_time"], id="more than a day"),
        pytest.param({"watch_time": "", "total_video_time": []}, ["watch_time", "total_video_time"], id="no numbers"),
        pytest.param({"watch_time": 1, "recommended_by": 7, "total_video_time": -1},
                     ["recommended_by", "total_video_time"], id="an arm that is a number"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("liked", [True, False])
def test_a_like_is_kept_without_impossible_values(changes: dict[str, Any], dropped: list[str], *, liked: bool) -> None:
    body, unreadable = read(**changes, liked=liked)
    events, impossible = paper_events(body, "song-a", NOW)
    assert [event.kind for event in events] == ["liked" if liked else "started"]
    said = unreadable + impossible
    assert [reason.split(": ")[:2] for reason in said] == [["dropped", name] for name in dropped]
    assert not [reason for reason in said if "_seconds" in reason]


def test_an_invalid_liked_counts_as_false() -> None:
    body, dropped = read(liked=None)
    assert [event.kind for event in paper_events(body, "song-a", NOW)[0]] == ["started", "progress"]
    assert len(dropped) == 1
    assert dropped[0].startswith("dropped: liked: ")


@pytest.mark.parametrize(
    ("named", "arm", "warned"),
    [
        pytest.param("TF-IDF", "tfidf", 0, id="an arm"),
        pytest.param("BERT", None, 1, id="no arm"),
        pytest.param(" ", None, 1, id="a blank"),
        pytest.param("", None, 0, id="nobody"),
        pytest.param(7, None, 1, id="a number"),
    ],
)
async def test_a_like_is_kept_whatever_arm_it_names(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, *, named: object, arm: str | None, warned: int
) -> None:
    logged: list[dict[str, Any]] = []

    async def resolve_song(*_: object) -> str:
        return "song-a"

    async def log_events(parts: Any, user_id: str, stamped: Stamped) -> tuple[str, LogPosition | None]:
        logged.extend(orjson.loads(value) for value in stamped.values)
        return parts.signer.receipt(user_id, Receipt("0" * 32, 0, 1)), None

    async def reflected(*_: object) -> None:
        return

    for stub in (resolve_song, log_events):
        monkeypatch.setattr(paper, stub.__name__, stub)
    monkeypatch.setattr(paper, "_wait_until_reflected", reflected)
    body = {"anilist_username": "new", "song_id": "a", "recommended_by": named, "liked": True}
    answer = await client.post("/feedback", json=body)
    assert answer.status_code == 200, answer.text
    (like,) = logged
    assert (like["kind"], like.get("arm"), like["attribution"]) == ("liked", arm, "claimed" if arm else "none")
    warnings = answer.json().get("warnings", [])
    assert [reason.split(": ")[:2] for reason in warnings] == [["dropped", "recommended_by"]] * warned
    if named == "BERT":
        assert warnings[0].endswith("use one of mpnet, minilm, node2vec, tfidf, popular, random")
