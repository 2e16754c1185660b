"""Promises about what comes next: a receipt is honoured every time, and what was heard does not come back."""

import base64
import random
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.system import Listener, event, of_slot

pytestmark = pytest.mark.system

LISTENERS = 10
TRIES_EACH = 50


def test_a_receipt_is_honoured_500_times_of_500(system) -> None:
    with ThreadPoolExecutor(4) as pool:
        honoured = sum(pool.map(lambda number: _honoured(system.url, number), range(LISTENERS)))
    assert honoured == LISTENERS * TRIES_EACH == 500


def _honoured(url: str, seed: int) -> int:
    listener, rng, count = Listener(url), random.Random(seed), 0
    playlist = listener.playlist()
    for _ in range(TRIES_EACH):
        slot = rng.choice(playlist["slots"])
        receipt = listener.send(of_slot("liked", slot))
        playlist = listener.playlist(receipt)
        heard = slot["song_id"] in {other["song_id"] for other in playlist["slots"]}
        count += playlist["fresh"] and _reflects(playlist, receipt) and not heard
    listener.close()
    return count


def _reflects(playlist: dict[str, dict[str, int]], receipt: str) -> bool:
    """Whether the marks that a playlist says it reflects lie behind the record of the receipt."""
    raw = base64.urlsafe_b64decode(receipt + "=" * (-len(receipt) % 4))
    name = f"{raw[8:24].hex()}/{int.from_bytes(raw[24:28], 'big')}"
    return playlist["reflects"].get(name, 0) > int.from_bytes(raw[28:36], "big")


def test_no_heard_song_comes_back_in_a_long_session(listener) -> None:
    rng, heard, receipt = random.Random(7), set(), None
    for _ in range(30):
        playlist = listener.playlist(receipt)
        songs = [slot["song_id"] for slot in playlist["slots"]]
        assert len(songs) == len(set(songs)) > 0
        assert not heard & set(songs)
        assert len({slot["anime_id"] for slot in playlist["slots"]}) == len(songs)
        receipt = listener.send(*[e for slot in playlist["slots"] for e in _listening(slot, rng)])
        heard.update(songs)


def _listening(slot: dict[str, object], rng: random.Random) -> list[dict[str, object]]:
    play, watched = {"play_id": str(uuid.uuid4())}, round(rng.uniform(1, 90), 2)
    progress = of_slot("progress", slot, watch_seconds=watched, duration_seconds=90.0, **play)
    end = of_slot("ended", slot, **play) if watched > 60 else of_slot("skipped", slot, direction="next", **play)
    return [of_slot("started", slot, **play), progress, end, *([of_slot("liked", slot)] if rng.random() < 0.3 else [])]


def test_the_same_event_posted_twice_counts_once(listener) -> None:
    liked = of_slot("liked", listener.playlist()["slots"][0])
    first = listener.send(liked)
    listener.playlist(first)
    before = listener.profile()["digest"]
    listener.playlist(listener.send(liked, liked))
    assert listener.profile()["digest"] == before


def test_an_unlike_is_a_write_and_the_last_one_wins(listener) -> None:
    slot = listener.playlist()["slots"][0]
    liked = of_slot("liked", slot)
    # Both before now, wherever a millisecond is lost: a time ahead of the server's would not be believed.
    liked["occurred_at"] -= 2
    unliked = {**of_slot("unliked", slot), "occurred_at": liked["occurred_at"] + 1}
    # The later one arrives first: arrival takes no part in the fold.
    listener.playlist(listener.send(unliked))
    listener.playlist(listener.send(liked))
    assert listener.profile()["liked"] == []


def test_one_bad_event_does_not_lose_the_others(listener) -> None:
    good = event("liked", song_id=listener.playlist()["slots"][0]["song_id"])
    answer = listener.post(good, {**good, "kind": "adored"}, {**good, "occurred_at": "now"})
    assert answer["accepted"] == 1
    assert [rejected["reason"].split(":")[0] for rejected in answer["rejected"]] == ["unknown_kind", "bad_time"]


@pytest.mark.parametrize(
    ("do", "undo", "about", "listed"),
    [("liked", "unliked", "song_id", "liked"), ("vetoed", "unvetoed", "anime_id", "vetoed")],
)
def test_what_was_done_on_a_clock_that_is_ahead_is_undone_now(listener, do, undo, about, listed) -> None:
    what = {about: listener.playlist()["slots"][0][about]}
    for ahead_ms in (4 * 60_000, 86_400_000):
        done = event(do, **what)
        listener.playlist(listener.send({**done, "occurred_at": done["occurred_at"] + ahead_ms}))
        assert listener.profile()[listed] == [what[about]]
        listener.playlist(listener.send(event(undo, **what)))
        assert listener.profile()[listed] == []
        both = event(do, **what), event(undo, **what)
        both[0]["occurred_at"] += ahead_ms
        listener.playlist(listener.send(*both))
        assert listener.profile()[listed] == []


def test_a_like_is_kept_without_the_progress_that_cannot_be_true(listener) -> None:
    slot = listener.playlist()["slots"][0]
    answer = listener.post(of_slot("liked", slot, watch_seconds=130, duration_seconds=90))
    assert (answer["accepted"], answer["rejected"]) == (1, [])
    assert {warning["reason"].split(": ")[0] for warning in answer["warnings"]} == {"dropped"}
    listener.playlist(answer["receipt"])
    (heard,) = listener.profile()["heard"]
    assert (heard["song_id"], heard["liked"], heard["progress"]) == (slot["song_id"], True, 0)


def test_of_an_anime_list_what_can_be_read_is_taken(listener) -> None:
    entries = [
        {"mal_id": 5114, "status": "COMPLETED", "score": 85}, {"mal_id": None, "status": "CURRENT"},
        {"mal_id": 9253, "status": "SEEN", "score": 0}, {"mal_id": 5114}, None,
    ]  # fmt: skip
    answer = listener.http.put("/v1/profile/anime", json={"entries": entries})
    assert answer.status_code == 200, answer.text
    assert answer.json()["count"] == 2
    assert {note["reason"].split(":")[0]: note["count"] for note in answer.json()["left_out"]} == {
        "no_mal_id": 2, "duplicate": 1,
    }  # fmt: skip
    listener.playlist(answer.json()["receipt"])
    assert listener.profile()["anime_list"] == [
        {"mal_id": 5114, "status": "completed", "score": 8.5}, {"mal_id": 9253, "status": None, "score": None},
    ]  # fmt: skip
    nothing = listener.http.put("/v1/profile/anime", json={"entries": [{"mal_id": None}]})
    assert (nothing.status_code, nothing.json()["error"]) == (400, "malformed")
    assert len(listener.profile()["anime_list"]) == 2
