"""The gateway in front of a recommender: forwarded answers, Problems, and the live stream.

The other side is a small HTTP server on a real port that says what it is told to say; the real recommender's answers
are seen by the system tests.
"""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from contracts.http import MarkRequest, PlaylistRequest, RestRequest
from services.common.http.listening import listen
from services.common.http.server import HttpServer
from services.common.settings import KafkaSettings
from services.gateway.identity import paper_user
from tests.connected.gateway.conftest import Running, liked, running, settings_of
from tests.support.waiting import apoll

pytestmark = pytest.mark.connected

PLAYLIST_ID = "00000000-0000-0000-0000-000000000007"
SLOT = {
    "slot": 0, "song_id": "song-a", "title": "A", "anime": "An Anime", "anime_id": "mal-1", "arm": "tfidf",
    "url": "https://www.youtube.com/results?search_query=A", "youtube_id": None, "slot_token": "t",
    "probability": 0.25, "score": 1, "why": [],
}  # fmt: skip
PLAYLIST = {
    "playlist_id": PLAYLIST_ID, "revision": 0, "slots": [SLOT], "reflects": {}, "fresh": True, "cold": None,
    "left_out": {}, "server_time": 1,
}  # fmt: skip
SONG = {
    "song": {
        "song_id": "song-a",
        "title": "A",
        "appearances": [{"anime": {"anime_id": "mal-1", "title": "An Anime"}, "relation": "Opening"}],
    },
    "url": "u",
}


@dataclass
class Recommender:
    """What the other side says, by path, and what it was asked."""

    url: str = ""
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    says: dict[str, Response] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        raw = await request.body()
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        self.asked.append((request.method, path, json.loads(raw) if raw else None))
        answer = self.says.get(request.url.path) or self.says.get("*") or Response(status_code=500)
        await answer(scope, receive, send)

    def say(self, path: str, body: object, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.says[path] = Response(json.dumps(body), status, named, "application/json")


@pytest_asyncio.fixture
async def other() -> AsyncIterator[Recommender]:
    """The other side, on a port of its own."""
    side = Recommender()
    server = HttpServer(side, stop_seconds=1)
    side.url = f"http://127.0.0.1:{server.start('127.0.0.1', 0, 'ANIMUSIC_PORT')}"
    side.say("/readyz", {"service": "recommender"})
    side.say("/internal/await", {"reached": True, "waited_ms": 1.0, "mark": 1})
    yield side
    await server.close()


@pytest_asyncio.fixture
async def gateway(log: KafkaSettings, tmp_path: Path, other: Recommender) -> AsyncIterator[Running]:
    """A gateway in front of the other side."""
    settings = settings_of(log, tmp_path, recommender_urls=[other.url], recommender_timeout_seconds=1.0)
    async with running(settings) as gateway:
        yield gateway


async def test_answers_pass_through_byte_for_byte(gateway: Running, other: Recommender) -> None:
    user_id, bearer = await gateway.guest()
    untidy = b'{ "playlist_id":"x",\n"slots" : [ ] , "new_field": 1e2}'
    other.says["*"] = Response(untidy, 201, media_type="application/json")
    asked = [
        ("GET", "/v1/me/profile", None, f"/internal/profiles/{user_id}"),
        ("GET", "/v1/songs/a%3Fb=c", None, f"/internal/songs/a%3Fb%3Dc?user_id={user_id}"),
        ("GET", "/v1/anime?query=%E9%8B%BC+a%26b&limit=3", None, "/internal/anime?query=%E9%8B%BC+a%26b&limit=3"),
        ("GET", f"/v1/playlists/{PLAYLIST_ID}", None, f"/internal/playlists/{PLAYLIST_ID}?user_id={user_id}"),
        ("POST", "/v1/playlists", {}, "/internal/playlists"),
        ("POST", f"/v1/playlists/{PLAYLIST_ID}/rest", {"from_slot": 3}, f"/internal/playlists/{PLAYLIST_ID}/rest"),
    ]
    for method, path, body, inside in asked:
        answer = await gateway.client.request(method, path, json=body, headers=bearer)
        assert (answer.status_code, answer.content) == (201, untidy)
        assert answer.headers["content-type"] == "application/json"
        where = httpx.URL(other.url + inside)
        seen = httpx.URL(other.url + other.asked[-1][1])
        assert (other.asked[-1][0], seen.path, dict(seen.params)) == (method, where.path, dict(where.params))
    assert RestRequest.model_validate(other.asked[-1][2]) == RestRequest(user_id=user_id, from_slot=3)
    assert PlaylistRequest.model_validate(other.asked[-2][2]) == PlaylistRequest(user_id=user_id)


async def test_the_time_of_each_arm_is_forwarded_and_its_median_kept(gateway: Running, other: Recommender) -> None:
    _, bearer = await gateway.guest()
    for milliseconds in (1, 9, 2):
        timing = f"tfidf;dur={milliseconds}.5, random;dur=0.25, cache;dur=7, popular"
        other.say("/internal/playlists", PLAYLIST, 201, server_timing=timing)
        answer = await gateway.client.post("/v1/playlists", json={}, headers=bearer)
        assert answer.headers["server-timing"] == timing
    metrics = (await gateway.client.get("/metrics")).text
    medians = dict(re.findall(r'animusic_gateway_arm_p50_seconds{arm="(\w+)"} (\S+)', metrics))
    assert medians == {"tfidf": "0.0025", "random": "0.00025"}
    assert 'animusic_gateway_arm_seconds_count{arm="tfidf"} 3.0' in metrics


async def test_a_receipt_becomes_the_mark_to_reach(gateway: Running, other: Recommender) -> None:
    user_id, bearer = await gateway.guest()
    other.say("/internal/playlists", PLAYLIST, 201)
    receipt = (await gateway.post(bearer, liked(), liked())).json()["receipt"]
    await gateway.client.post("/v1/playlists", json={"not_before": receipt}, headers=bearer)
    mark = PlaylistRequest.model_validate(other.asked[-1][2]).not_before
    written = gateway.signer.read_receipt(receipt, user_id=user_id)
    assert mark is not None
    assert (mark.topic_id, mark.partition, mark.offset) == (written.topic_id, written.partition, written.offset)


@pytest.mark.parametrize(
    ("said", "status", "error", "retry_after"),
    [
        pytest.param(
            (404, {"error": "no_such_playlist", "message": "m"}), 404, "no_such_playlist", None, id="not there"
        ),
        pytest.param((400, {"error": "nothing_to_pick", "message": "m"}), 400, "nothing_to_pick", None, id="refused"),
        pytest.param((503, {"error": "log_unavailable", "message": "m"}), 503, "log_unavailable", "7", id="log down"),
        pytest.param((503, "?"), 503, "recommender_unavailable", "7", id="503 of somebody else"),
        pytest.param((500, {"error": "failed", "message": "secret"}), 503, "recommender_unavailable", "1", id="failed"),
    ],
)
async def test_failures_of_the_other_side(
    gateway: Running, other: Recommender, *, said: tuple[int, Any], status: int, error: str, retry_after: str | None
) -> None:
    _, bearer = await gateway.guest()
    other.say("*", said[1], said[0], retry_after="7")
    answer = await gateway.client.get(f"/v1/playlists/{PLAYLIST_ID}", headers=bearer)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert "secret" not in answer.text
    assert answer.headers.get("retry-after") == retry_after


async def test_a_recommender_that_does_not_answer_in_time_is_503(log: KafkaSettings, tmp_path: Path) -> None:
    silent = listen("127.0.0.1", 0, "ANIMUSIC_PORT")
    url = f"http://127.0.0.1:{silent.getsockname()[1]}"
    settings = settings_of(log, tmp_path, recommender_urls=[url], recommender_timeout_seconds=0.2)
    async with running(settings) as gateway:
        _, bearer = await gateway.guest()
        answer = await gateway.client.get("/v1/me/profile", headers=bearer)
    silent.close()
    assert (answer.status_code, answer.json()["error"]) == (503, "recommender_unavailable")
    assert "in time" in answer.json()["message"]
    assert answer.headers["retry-after"] == "1"


async def test_ready_is_true_when_both_sides_are(gateway: Running, other: Recommender) -> None:
    await apoll(gateway.log_is_ready, what="the log is ready")
    green = await gateway.client.get("/readyz")
    assert (green.status_code, green.json()["ready"]) == (200, True)
    other.say("/readyz", {"service": "recommender", "catalogue": "not loaded"}, 503)
    red = await gateway.client.get("/readyz")
    assert (red.status_code, red.json()["ready"]) == (503, False)
    assert "not loaded" in red.text


async def test_another_program_on_the_recommenders_port_is_no_recommender(gateway: Running, other: Recommender) -> None:
    await apoll(gateway.log_is_ready, what="the log is ready")
    for body in ({"anything": "else"}, [], {"service": "warehouse"}):
        other.say("/readyz", body)
        red = await gateway.client.get("/readyz")
        assert (red.status_code, red.json()["ready"]) == (503, False)
        assert "answers there" in red.text


async def news(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    name = ""
    async for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


async def test_the_live_stream_follows_a_click_to_the_list_that_changed(gateway: Running, other: Recommender) -> None:
    user_id, bearer = await gateway.guest()
    _, stranger = await gateway.guest()
    other.say("/internal/playlists", PLAYLIST, 201)
    async with gateway.client.stream("GET", "/v1/me/live", headers=bearer) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        told = news(stream.aiter_lines())
        assert (await anext(told))[0] == "hello"
        await gateway.post(stranger, liked())
        click = liked()
        place = (await gateway.post(bearer, click)).json()["log"]
        name, accepted = await anext(told)
        assert (name, accepted["event_id"], accepted["kind"]) == ("accepted", click["event_id"], "liked")
        assert (accepted["partition"], accepted["offset"]) == (place["partition"], place["first_offset"])
        name, profile = await anext(told)
        assert (name, profile["event_ids"], profile["reached"]) == ("profile", [click["event_id"]], True)
        assert profile["after_ms"] >= 0
        await gateway.client.post("/v1/playlists", json={}, headers=bearer)
        name, playlist = await anext(told)
        assert (name, playlist["playlist_id"], playlist["changed"]) == ("playlist", PLAYLIST_ID, ["song-a"])
    asked = [MarkRequest.model_validate(body) for _, path, body in other.asked if path == "/internal/await"]
    assert [(each.user_id, each.timeout_ms) for each in asked] == [(user_id, 5_000)]


async def test_the_papers_endpoints_use_its_names(gateway: Running, other: Recommender) -> None:
    name = "Edward エド /?"
    user_id = paper_user(name)
    other.say("/internal/songs/yt", SONG)
    other.say("/internal/songs/none", {"error": "no_such_song", "message": "m"}, 404)
    other.say("/internal/playlists", PLAYLIST, 201)
    profile = {"anilist_username": name, "mal_ids": [5114, 9253]}
    answer = await gateway.client.post("/upload_anilist_profile", json=profile)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "count": 2})
    said = {"anilist_username": name, "recommended_by": "TF-IDF", "watch_time": 10, "total_video_time": 90}
    for _ in range(2):
        answer = await gateway.client.post("/feedback", json={**said, "song_id": "yt", "liked": True})
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    missing = await gateway.client.post("/feedback", json={**said, "song_id": "none", "liked": True})
    assert (missing.status_code, missing.json()["error"]) == (404, "not_found")
    answer = await gateway.client.get("/playlist", params={"anilist_username": name})
    assert answer.json() == {
        "videos": [
            {"youtube_video_id": "song-a", "youtube_url": SLOT["url"], "song": "A", "anime": "An Anime",
             "recommended_by": "tfidf"}
        ]
    }  # fmt: skip
    paths = [path for _, path, _ in other.asked]
    # Asked for every time, with who asks and the arm: songs may share a video.
    assert paths.count(f"/internal/songs/yt?user_id={user_id}&arm=tfidf") == 2
    waited = [MarkRequest.model_validate(body) for _, path, body in other.asked if path == "/internal/await"]
    assert [each.user_id for each in waited] == [user_id] * 3


async def test_the_papers_writes_answer_even_if_the_profile_does_not_follow(
    gateway: Running, other: Recommender
) -> None:
    other.says["/internal/await"] = Response(status_code=500)
    answer = await gateway.client.post("/upload_anilist_profile", json={"anilist_username": "new", "mal_ids": []})
    assert (answer.status_code, answer.json()["count"]) == (200, 0)
    assert answer.json()["warnings"][0]["reason"].startswith("empty_list: ")
