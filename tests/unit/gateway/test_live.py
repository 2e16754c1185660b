"""Live events about each click of a user, bounded in memory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import orjson
import pytest

from contracts.events import ClientEvent
from contracts.http import LogPosition, MarkAnswer
from contracts.tokens import Receipt
from services.gateway.live import QUEUE, STREAMS_PER_USER, Hub, Subscription
from services.gateway.metrics import Metrics
from services.gateway.problems import Refused, recommender_unavailable

NOW = 1_790_000_000_000
AT = LogPosition(topic="t", partition=3, first_offset=7, last_offset=8)
RECEIPT = Receipt("ab" * 16, 3, 8)
EVENTS = [
    ClientEvent(event_id=UUID(int=n), kind="liked", occurred_at=NOW, song_id=f"s{n}", schema=1) for n in (1, 2)
]  # fmt: skip


class Asked:
    """Answers of the recommender, and how often it was asked."""

    def __init__(self, answer: MarkAnswer | Refused) -> None:
        self.answer = answer
        self.calls: list[tuple[str, Receipt, int]] = []

    async def __call__(self, user_id: str, receipt: Receipt, timeout_ms: int) -> MarkAnswer:
        self.calls.append((user_id, receipt, timeout_ms))
        if isinstance(self.answer, Refused):
            raise self.answer
        return self.answer


def hub(answer: MarkAnswer | Refused | None = None) -> tuple[Hub, Asked]:
    asked = Asked(answer or MarkAnswer(reached=True, waited_ms=1, mark=9))
    return Hub(asked, Metrics()), asked


async def told(stream: Subscription, n: int) -> list[tuple[str, dict[str, Any]]]:
    news: list[tuple[str, dict[str, Any]]] = []
    messages: AsyncIterator[bytes] = stream.messages()
    while len(news) < n:
        name, data = (await asyncio.wait_for(anext(messages), 5)).decode().rstrip("\n").split("\n")
        news.append((name.removeprefix("event: "), orjson.loads(data.removeprefix("data: "))))
    return news


def playlist(revision: int, *songs: str) -> bytes:
    slots = [{"song_id": song} for song in songs]
    return orjson.dumps({"playlist_id": "p", "revision": revision, "fresh": True, "slots": slots})


async def test_a_click_is_followed_into_the_profile() -> None:
    live, asked = hub()
    stream = live.subscribe("u1")
    live.accepted("u1", EVENTS, AT, RECEIPT)
    first, second, profile = await told(stream, 3)
    assert first == (
        "accepted",
        {"event_id": str(UUID(int=1)), "kind": "liked", "song_id": "s1", "anime_id": None, "topic": "t",
         "partition": 3, "offset": 7},
    )  # fmt: skip
    assert (second[0], second[1]["offset"]) == ("accepted", 8)
    assert profile[0] == "profile"
    assert profile[1]["reached"] is True
    assert profile[1]["event_ids"] == [str(UUID(int=1)), str(UUID(int=2))]
    assert asked.calls == [("u1", RECEIPT, 5_000)]


async def test_a_recommender_error_is_reported_as_not_reached() -> None:
    live, _ = hub(recommender_unavailable("is away"))
    stream = live.subscribe("u1")
    live.accepted("u1", EVENTS[:1], AT, RECEIPT)
    assert (await told(stream, 2))[1][1]["reached"] is False


async def test_the_recommender_is_not_asked_without_a_subscriber() -> None:
    live, asked = hub()
    other = live.subscribe("u2")
    stream = live.subscribe("u1")
    live.unsubscribe("u1", stream)
    live.accepted("u1", EVENTS, AT, RECEIPT)
    live.served("u1", b"this is not even read")
    await asyncio.sleep(0)
    assert asked.calls == []
    assert not live.has_subscribers("u1")
    assert live.has_subscribers("u2")
    live.unsubscribe("u2", other)


async def test_a_playlist_message_lists_new_and_removed_songs() -> None:
    live, _ = hub()
    stream = live.subscribe("u1")
    live.resumed("u1", playlist(0, "a", "b", "c"))
    live.served("u1", playlist(1, "a", "d", "c"))
    ((name, told_of),) = await told(stream, 1)
    assert (name, told_of["revision"], told_of["changed"], told_of["gone"]) == ("playlist", 1, ["d"], ["b"])


async def test_a_slow_reader_loses_the_oldest_messages() -> None:
    live, _ = hub()
    stream = live.subscribe("u1")
    for revision in range(QUEUE + 10):
        live.served("u1", playlist(revision, "a"))
    heard = await told(stream, QUEUE)
    assert [each[1]["revision"] for each in heard] == list(range(10, QUEUE + 10))


async def test_a_users_streams_are_bounded() -> None:
    live, _ = hub()
    streams = [live.subscribe("u1") for _ in range(STREAMS_PER_USER)]
    with pytest.raises(Refused) as refused:
        live.check_limits("u1")
    assert refused.value.status == 429
    live.unsubscribe("u1", streams[0])
    live.unsubscribe("u1", streams[0])
    live.check_limits("u1")


async def test_closing_ends_every_stream_after_what_it_holds() -> None:
    live, _ = hub()
    stream = live.subscribe("u1")
    live.served("u1", playlist(0, "a"))
    live.close()
    late = live.subscribe("u1")
    assert len([message async for message in stream.messages()]) == 1
    assert [message async for message in late.messages()] == []
