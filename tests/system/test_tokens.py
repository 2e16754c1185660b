"""Slot tokens and receipts that are not valid are rejected, through HTTP."""

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from contracts.events import FeedbackEvent
from contracts.tokens import Receipt, SignedSlot, Signer
from contracts.topics import FEEDBACK
from services.common.kafka import read_to_end, topic_ids
from tests.support.system import Listener, System, of_slot

pytestmark = pytest.mark.system

HOUR_MS = 3_600_000


class Scene(NamedTuple):
    """Two listeners of a running system, and its key."""

    system: System
    mine: Listener
    theirs: Listener
    signer: Signer


@pytest.fixture(scope="module")
def scene(system) -> Scene:
    signer = Signer((system.data_dir / "secret").read_bytes())
    return Scene(system, Listener(system.url), Listener(system.url), signer)


def _forged(token: str) -> str:
    return ("B" if token[0] == "A" else "A") + token[1:]


def _good(scene: Scene, slots: list[dict[str, Any]]) -> str:
    return str(slots[0]["slot_token"])


def _stale(scene: Scene, slots: list[dict[str, Any]]) -> str:
    issued = time.time_ns() // 1_000_000 - 49 * HOUR_MS
    signed_slot = SignedSlot(uuid.uuid4(), 0, 0, "tfidf", 0.25, 1.0, None, issued)
    return scene.signer.slot(scene.mine.user_id, slots[0]["song_id"], signed_slot)


TOKENS: dict[str, Callable[[Scene, list[dict[str, Any]]], str]] = {
    "good": _good,
    "forged": lambda scene, slots: _forged(slots[0]["slot_token"]),
    "signed by another key": lambda scene, slots: Signer(b"x" * 32).slot(
        scene.mine.user_id, slots[0]["song_id"], SignedSlot(uuid.uuid4(), 0, 0, "random", 1.0, 1.0, None, 0)
    ),
    "swapped between slots": lambda scene, slots: slots[1]["slot_token"],
    "of another user": lambda scene, slots: _of_another(scene, slots[0]["song_id"]),
    "stale": _stale,
    "a receipt": lambda scene, slots: scene.signer.receipt(scene.mine.user_id, Receipt("0" * 32, 0, 0)),
    "a session": lambda scene, slots: scene.mine.token,
    "no token at all": lambda scene, slots: "ｔｏｋｅｎ",
}
REFUSALS = {
    "forged": "forged",
    "signed by another key": "forged",
    "swapped between slots": "swapped",
    "of another user": "foreign",
    "stale": "stale",
    "a receipt": "forged",
    "a session": "forged",
    "no token at all": "malformed",
}


def _of_another(scene: Scene, song_id: str) -> str:
    now = time.time_ns() // 1_000_000
    return scene.signer.slot(
        scene.theirs.user_id, song_id, SignedSlot(uuid.uuid4(), 0, 0, "tfidf", 1.0, 1.0, None, now)
    )


def test_only_a_good_token_gives_an_event_its_arm(scene) -> None:
    slots = scene.mine.playlist()["slots"]
    posted = {name: {**of_slot("liked", slots[0]), "slot_token": make(scene, slots)} for name, make in TOKENS.items()}
    scene.mine.send(*posted.values())
    logged = asyncio.run(_logged(scene))
    found = {name: logged[event["event_id"]] for name, event in posted.items()}
    good = found.pop("good")
    assert (good.attribution, good.arm, good.slot) == ("slot", slots[0]["arm"], slots[0]["slot"])
    assert good.p_arm is not None
    assert {name: event.refusal for name, event in found.items()} == REFUSALS
    assert {event.attribution for event in found.values()} == {"refused"}
    assert {(event.arm, event.playlist_id, event.p_song) for event in found.values()} == {(None, None, None)}


async def _logged(scene: Scene) -> dict[str, FeedbackEvent]:
    events: dict[str, FeedbackEvent] = {}
    async for batch in read_to_end(scene.system.settings().kafka, FEEDBACK.name):
        for record in batch:
            event = FeedbackEvent.model_validate_json(record.value)
            events[str(event.event_id)] = event
    return events


def test_an_event_before_its_token_was_issued_is_taken_without_the_arm(scene) -> None:
    slot = scene.mine.playlist()["slots"][0]
    liked = of_slot("liked", slot)
    answer = scene.mine.post({**liked, "occurred_at": liked["occurred_at"] - 60_000})
    assert (answer["accepted"], answer["rejected"]) == (1, [])
    assert [warning["reason"].partition(":")[0] for warning in answer["warnings"]] == ["before_token"]
    logged = asyncio.run(_logged(scene))[liked["event_id"]]
    assert (logged.attribution, logged.refusal, logged.arm) == ("refused", "before_token", None)
    scene.mine.playlist(answer["receipt"])
    assert slot["song_id"] in scene.mine.profile()["liked"]


BAD_RECEIPTS: dict[str, Callable[[Scene], str]] = {
    "forged": lambda scene: _forged(scene.signer.receipt(scene.mine.user_id, Receipt("0" * 32, 0, 0))),
    "of another user": lambda scene: scene.signer.receipt(scene.theirs.user_id, Receipt("0" * 32, 0, 0)),
    "a slot token": lambda scene: scene.mine.playlist()["slots"][0]["slot_token"],
    "a session": lambda scene: scene.mine.token,
    "not base64": lambda scene: "!!!!",
    "empty": lambda scene: "",
}


@pytest.mark.parametrize("name", BAD_RECEIPTS)
@pytest.mark.parametrize("route", ["new", "rest"])
def test_a_bad_receipt_is_400_with_a_reason(scene, name, route) -> None:
    path, body = "/v1/playlists", {"not_before": BAD_RECEIPTS[name](scene)}
    if route == "rest":
        path, body = f"{path}/{scene.mine.playlist()['playlist_id']}/rest", {**body, "from_slot": 1}
    answer = scene.mine.http.post(path, json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"] == "bad_receipt"
    assert "not_before" in answer.json()["message"]


def test_a_receipt_with_a_huge_offset_waits_half_a_second_and_says_that_it_is_not_fresh(scene) -> None:
    ids = asyncio.run(topic_ids(scene.system.settings().kafka.bootstrap_servers, [FEEDBACK.name]))
    for receipt in (
        Receipt(ids[FEEDBACK.name], 0, 2**62),
        Receipt(ids[FEEDBACK.name], 4_000_000_000, 0),
        Receipt("f" * 32, 0, 0),
    ):
        began = time.monotonic()
        playlist = scene.mine.playlist(scene.signer.receipt(scene.mine.user_id, receipt))
        assert not playlist["fresh"]
        assert playlist["slots"]
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer x", f"Bearer {'A' * 80}", "Basic dXNlcjpwYXNz"])
def test_without_a_good_session_nothing_is_read_or_written(scene, token) -> None:
    headers = {"authorization": token} if token else {}
    http = Listener(scene.system.url).http
    http.headers.pop("authorization")
    for method, path, body in (
        ("POST", "/v1/events", {"events": []}),
        ("POST", "/v1/playlists", {}),
        ("GET", "/v1/me/profile", None),
        ("PUT", "/v1/profile/anime", {"entries": []}),
    ):
        answer = http.request(method, path, json=body, headers=headers)
        assert answer.status_code == 401, (path, answer.text)
        assert answer.json()["error"]


def test_a_playlist_of_another_user_is_not_to_be_had(scene) -> None:
    theirs = scene.theirs.playlist()["playlist_id"]
    assert scene.mine.http.get(f"/v1/playlists/{theirs}").status_code == 404
    assert scene.mine.http.post(f"/v1/playlists/{theirs}/rest", json={"from_slot": 0}).status_code == 404
