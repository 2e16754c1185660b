"""Listeners that post at a steady rate, each post until it is acknowledged, and a ledger of what they were told."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from contracts.http import Problem
from tests.connected.gateway.conftest import Running, liked
from tests.support.waiting import apoll

_RETRY_SECONDS = 0.25
_PATIENCE_SECONDS = 90.0
SONGS = 40


@dataclass
class Ledger:
    """What the gateway said. `acknowledged`: event id -> (partition, offset) of its last 202."""

    acknowledged: dict[str, tuple[int, int]] = field(default_factory=dict)
    at: dict[int, float] = field(default_factory=dict)
    refused: int = 0

    def note(self, ids: list[str], answer: httpx.Response) -> None:
        place = answer.json()["log"]
        assert place["last_offset"] - place["first_offset"] + 1 == len(ids)
        for offset, event_id in enumerate(ids, place["first_offset"]):
            self.acknowledged[event_id] = (place["partition"], offset)
        self.at[place["partition"]] = time.monotonic()

    def refuse(self, answer: httpx.Response) -> None:
        assert answer.status_code == 503, answer.text
        assert Problem.model_validate_json(answer.content).error == "log_unavailable"
        assert int(answer.headers["retry-after"]) >= 1
        self.refused += 1

    async def flows_again(self, since: float, *, timeout: float = 60.0) -> float:
        """Wait until every partition that is posted to was acknowledged after `since`; the seconds from it to then."""

        async def there() -> bool:
            return all(at > since for at in self.at.values())

        await apoll(there, timeout=timeout, what="every partition takes events again")
        return max(self.at.values()) - since


@dataclass
class Posting:
    """Listeners that post for as long as the block lasts. `rate`: events a second of all together."""

    gateway: Running
    ledger: Ledger = field(default_factory=Ledger)
    began: float = field(default_factory=time.monotonic)

    def summary(self) -> str:
        """What was posted, in words."""
        count, seconds = len(self.ledger.acknowledged), max(self.ledger.at.values()) - self.began
        return f"{count} events acknowledged in {seconds:.0f} s, {self.ledger.refused} posts refused"

    async def listener(self, seed: int, batch: int, every: float, stop: asyncio.Event) -> None:
        rng = random.Random(seed)
        _, bearer = await self.gateway.guest()
        due = time.monotonic()
        while not stop.is_set():
            post = [self._event(rng) for _ in range(batch)]
            await self._until_acknowledged(bearer, post)
            # What could not be posted in an outage is posted after it, as by a client with an outbox.
            due += every
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _event(self, rng: random.Random) -> dict[str, object]:
        return liked(f"song-{rng.randint(1, SONGS)}", kind=rng.choice(("liked", "unliked", "started")))

    async def _until_acknowledged(self, bearer: dict[str, str], post: list[dict[str, object]]) -> None:
        ids = [str(event["event_id"]) for event in post]
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while (answer := await self.gateway.post(bearer, *post)).status_code != 202:
            self.ledger.refuse(answer)
            assert time.monotonic() < deadline, "a post was not acknowledged"
            await asyncio.sleep(_RETRY_SECONDS)
        self.ledger.note(ids, answer)


@asynccontextmanager
async def posting(gateway: Running, *, rate: int, listeners: int = 20, batch: int = 15) -> AsyncIterator[Posting]:
    """Traffic while the block lasts; in the end every post has been acknowledged."""
    traffic, stop = Posting(gateway), asyncio.Event()
    every = listeners * batch / rate
    tasks = [asyncio.create_task(traffic.listener(seed, batch, every, stop)) for seed in range(listeners)]
    try:
        yield traffic
        stop.set()
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
