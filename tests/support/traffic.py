"""Seeded listeners over HTTP: they post until they are answered, some posts twice, some with clocks that are late.

The same seed gives the same ids, kinds, batches and clocks (relative to now); which songs are played depends on the
playlists that the system serves.
"""

import random
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.ledger import Ledger
from tests.support.system import Listener, event

KINDS = ("shown", "started", "progress", "ended", "skipped", "liked", "unliked", "vetoed", "unvetoed")
TRANSIENT = {429, 500, 502, 503, 504}
DUPLICATES = 0.05
PATIENCE_S = 90.0
KEPT_SLOTS = 120
DAY_MS = 86_400_000
AHEAD_MS = 10 * 60_000


@dataclass
class Batch:
    """Events of one post; `wrong` are those that must be refused, for times that are none."""

    events: list[dict[str, Any]] = field(default_factory=list)
    wrong: set[str] = field(default_factory=set)

    @property
    def ids(self) -> list[str]:
        return [one["event_id"] for one in self.events]


class Guest:
    """One listener. `clocks`: some events come late, out of order, ahead of time, or with a time that is none.

    `stop`: once it is set, a post that has no answer yet is given up (and was then not acknowledged).
    """

    def __init__(
        self,
        url: str,
        seed: str,
        ledger: Ledger,
        *,
        clocks: bool = False,
        patience: float = PATIENCE_S,
        stop: threading.Event | None = None,
    ) -> None:
        self.posts = self.retries = self.acknowledged = self.duplicates = 0
        self.listener = Listener(url, timeout=5.0)
        self._rng, self._picks = random.Random(f"{seed}/events"), random.Random(f"{seed}/songs")
        self._ledger = ledger
        self._clocks = clocks
        self._patience = patience
        self._stop = stop or threading.Event()
        # (slot as served, when its playlist was here)
        self._slots: list[tuple[dict[str, Any], int]] = []

    def listen(self) -> bool:
        """Ask for a playlist; whether one came. Its slots join those that events speak of."""
        try:
            answer = self.listener.http.post("/v1/playlists", json={})
        except httpx.TransportError:
            return False
        if answer.status_code in TRANSIENT:
            return False
        assert answer.status_code == 201, answer.text
        body, now = answer.json(), _now()
        self._ledger.note("served", [body["playlist_id"]])
        self._slots = [*self._slots, *((slot, now) for slot in body["slots"])][-KEPT_SLOTS:]
        return True

    def batch(self, size: int) -> Batch:
        """`size` events of songs that were served."""
        made = Batch()
        for _ in range(size):
            one, wrong = self._event()
            made.events.append(one)
            if wrong:
                made.wrong.add(one["event_id"])
        return made

    def post(self, batch: Batch) -> dict[str, Any] | None:
        """Post to the 202, now and then twice; the answer, None when it was given up.

        Raises AssertionError when there is none in time, or when an event was judged wrongly.
        """
        self._ledger.note("sent", batch.ids)
        answer = self._to_the_end(batch)
        if answer is not None:
            self._told(batch, answer)
            if self._rng.random() < DUPLICATES:
                self.duplicates += len(batch.events)
                self._to_the_end(batch)
        return answer

    def _told(self, batch: Batch, answer: dict[str, Any]) -> None:
        refused = {one["event_id"] for one in answer["rejected"]}
        assert refused == batch.wrong, answer
        good = [one for one in batch.ids if one not in refused]
        assert answer["accepted"] == len(good), answer
        self._ledger.note("acknowledged", good)
        self._ledger.note("refused", sorted(refused))
        self.acknowledged += len(good)
        self.posts += 1

    def _to_the_end(self, batch: Batch) -> dict[str, Any] | None:
        deadline = time.monotonic() + self._patience
        while time.monotonic() < deadline:
            answer = self._try(batch)
            if answer is not None or self._stop.is_set():
                return answer
            self.retries += 1
            time.sleep(random.uniform(0.05, 0.2))
        raise AssertionError(f"a post was not acknowledged within {self._patience:g} s")

    def _try(self, batch: Batch) -> dict[str, Any] | None:
        try:
            answer = self.listener.http.post("/v1/events", json={"events": batch.events})
        except httpx.TransportError:
            return None
        if answer.status_code in TRANSIENT:
            return None
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    # ---- events -----------------------------------------------------------------------------------------------------

    def _event(self) -> tuple[dict[str, Any], bool]:
        rng = self._rng
        slot, here_at = self._picks.choice(self._slots)
        kind = rng.choice(KINDS)
        fields: dict[str, Any] = {"event_id": str(uuid.UUID(int=rng.getrandbits(128)))}
        if kind in ("vetoed", "unvetoed"):
            fields["anime_id"] = slot["anime_id"]
        else:
            fields["song_id"] = slot["song_id"]
            fields |= _playing(kind, rng)
            if rng.random() < 0.8:
                fields["slot_token"] = slot["slot_token"]
        occurred_at, wrong = self._when(here_at if "slot_token" in fields else None)
        return event(kind, **{**fields, "occurred_at": occurred_at}), wrong

    def _when(self, not_before: int | None) -> tuple[int | str, bool]:
        """A time of the event, and whether it must be refused. `not_before`: when its token was surely issued."""
        now, draw = _now(), self._rng.random()
        if not self._clocks or draw < 0.6:
            return now, False
        if draw < 0.61:
            return "now", True
        if draw < 0.65:
            return now + int(self._rng.random() * AHEAD_MS), False
        earliest = now - 3 * DAY_MS if not_before is None else min(not_before, now)
        return now - int(self._rng.random() * (now - earliest)), False


def _playing(kind: str, rng: random.Random) -> dict[str, Any]:
    if kind == "skipped":
        return {"direction": rng.choice(("next", "prev"))}
    if kind not in ("progress", "ended"):
        return {}
    return {
        "watch_seconds": round(rng.uniform(0, 90), 3),
        "duration_seconds": 90.0,
        "play_id": str(uuid.UUID(int=rng.getrandbits(128))),
        "played_seconds": round(rng.uniform(0, 90), 3),
    }


def _now() -> int:
    return time.time_ns() // 1_000_000
