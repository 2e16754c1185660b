"""Live events for a user: an event was accepted; the profile reflects it after n ms; the playlist changed.

Each subscriber has a bounded queue; a slow one loses the oldest messages. Without a subscriber of the user the
recommender is not asked.
"""

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

import orjson

from contracts.events import ClientEvent
from contracts.http import LogPosition, MarkAnswer
from contracts.tokens import Receipt
from services.gateway.metrics import Metrics
from services.gateway.problems import Refused

logger = logging.getLogger(__name__)

QUEUE: Final = 512
STREAMS_PER_USER: Final = 8
STREAMS: Final = 2_000
HEARTBEAT_SECONDS: Final = 10.0
PROFILE_WAIT_MS: Final = 5_000
FOLLOWED_POSTS: Final = 64

WaitFor = Callable[[str, Receipt, int], Awaitable[MarkAnswer]]


class Subscription:
    """One open stream of a user."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._closed = False

    def put(self, message: bytes) -> bool:
        """Queue a message; False if the oldest one was dropped for it."""
        lost = len(self._waiting) >= QUEUE
        if lost:
            self._waiting.popleft()
        self._waiting.append(message)
        self._wake.set()
        return not lost

    def close(self) -> None:
        """End the stream after the queued messages."""
        self._closed = True
        self._wake.set()

    async def messages(self) -> AsyncIterator[bytes]:
        """The stream: queued messages, and a heartbeat while there are none."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._closed:
                return
            self._wake.clear()
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                yield b": still here\n\n"


class Hub:
    """All live streams of this process."""

    def __init__(self, wait_for: WaitFor, metrics: Metrics) -> None:
        self._wait_for = wait_for
        self._metrics = metrics
        self._streams: defaultdict[str, set[Subscription]] = defaultdict(set)
        self._last_list: dict[str, list[str]] = {}
        self._following: dict[asyncio.Task[None], str] = {}
        self._open = 0
        self._closed = False

    def has_subscribers(self, user_id: str) -> bool:
        """Whether this user has a subscriber."""
        return user_id in self._streams

    def check_limits(self, user_id: str) -> None:
        """Raises Refused 429 when too many streams are open."""
        if self._open >= STREAMS or len(self._streams.get(user_id, ())) >= STREAMS_PER_USER:
            raise Refused(429, "too_many", "too many live streams are open; close one", retry_after=5)

    def subscribe(self, user_id: str) -> Subscription:
        """A new stream; end it with `unsubscribe`."""
        stream = Subscription()
        self._streams[user_id].add(stream)
        self._count(1)
        if self._closed:
            stream.close()
        return stream

    def unsubscribe(self, user_id: str, stream: Subscription) -> None:
        """Remove a stream; the last one of a user also removes the user's last playlist."""
        streams = self._streams.get(user_id)
        if streams is None or stream not in streams:
            return
        streams.remove(stream)
        self._count(-1)
        if not streams:
            del self._streams[user_id]
            self._last_list.pop(user_id, None)

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        self._closed = True
        for streams in self._streams.values():
            for stream in streams:
                stream.close()
        for task in self._following:
            task.cancel()

    def accepted(self, user_id: str, events: Sequence[ClientEvent], at: LogPosition, receipt: Receipt) -> None:
        """Publish the position of each event, and follow them into the profile."""
        if not self.has_subscribers(user_id):
            return
        for offset, event in enumerate(events, at.first_offset):
            self._publish(user_id, "accepted", _whereabouts(event, at, offset))
        self._begin_following(user_id, [str(event.event_id) for event in events], at.topic, receipt)

    def list_written(self, user_id: str, count: int, at: LogPosition, receipt: Receipt) -> None:
        """Publish that the anime list was replaced, and follow it into the profile."""
        if self.has_subscribers(user_id):
            self._publish(user_id, "anime_list", {"count": count, "partition": at.partition, "offset": at.last_offset})
            self._begin_following(user_id, [], at.topic, receipt)

    def resumed(self, user_id: str, body: bytes) -> None:
        """Remember the songs of a resumed playlist. `body` is a PlaylistAnswer's JSON."""
        if self.has_subscribers(user_id):
            self._last_list[user_id] = _songs_of(orjson.loads(body))

    def served(self, user_id: str, body: bytes) -> None:
        """Publish which songs of a playlist are new. `body` is a PlaylistAnswer's JSON."""
        if not self.has_subscribers(user_id):
            return
        playlist: dict[str, Any] = orjson.loads(body)
        songs = _songs_of(playlist)
        before = self._last_list.get(user_id, [])
        self._last_list[user_id] = songs
        data = {
            "playlist_id": playlist["playlist_id"],
            "revision": playlist["revision"],
            "fresh": playlist["fresh"],
            "songs": songs,
            "changed": [song for song in songs if song not in before],
            "gone": [song for song in before if song not in songs],
        }
        self._publish(user_id, "playlist", data)

    def _begin_following(self, user_id: str, event_ids: list[str], topic: str, receipt: Receipt) -> None:
        if sum(user == user_id for user in self._following.values()) >= FOLLOWED_POSTS:
            return
        task = asyncio.create_task(self._follow(user_id, event_ids, topic, receipt))
        self._following[task] = user_id
        task.add_done_callback(self._following.pop)

    async def _follow(self, user_id: str, event_ids: list[str], topic: str, receipt: Receipt) -> None:
        began = time.monotonic()
        try:
            answer = await self._wait_for(user_id, receipt, PROFILE_WAIT_MS)
        except Refused as refused:
            logger.info("an event of %s could not be followed into the profile: %s", user_id, refused)
            reached = False
        else:
            reached = answer.reached
        after_ms = round((time.monotonic() - began) * 1000, 1)
        where = {"topic": topic, "partition": receipt.partition, "offset": receipt.offset}
        self._publish(user_id, "profile", {"event_ids": event_ids, "reached": reached, "after_ms": after_ms, **where})

    def _publish(self, user_id: str, name: str, data: dict[str, Any]) -> None:
        message = message_of(name, data)
        for stream in self._streams.get(user_id, ()):
            if not stream.put(message):
                self._metrics.live_dropped.inc()

    def _count(self, change: int) -> None:
        self._open += change
        self._metrics.subscribers.set(self._open)


def message_of(name: str, data: dict[str, Any]) -> bytes:
    """One server-sent event; its data is one line of JSON."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))


def _whereabouts(event: ClientEvent, at: LogPosition, offset: int) -> dict[str, Any]:
    return {
        "event_id": str(event.event_id),
        "kind": event.kind,
        "song_id": event.song_id,
        "anime_id": event.anime_id,
        "topic": at.topic,
        "partition": at.partition,
        "offset": offset,
    }


def _songs_of(playlist: dict[str, Any]) -> list[str]:
    return [slot["song_id"] for slot in playlist["slots"]]
