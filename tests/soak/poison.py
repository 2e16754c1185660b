"""Records that nobody can read, appended to the topics behind the gateway's back."""

import random
from collections.abc import Callable

from contracts.topics import FEEDBACK, PLAYLISTS, PROFILES
from services.common.settings import KafkaSettings
from tests.support.following import producing, put

_MAKE: tuple[Callable[[random.Random], bytes], ...] = (
    lambda rng: b"",
    lambda rng: rng.randbytes(40),
    lambda rng: b"not json",
    lambda rng: b"[]",
    lambda rng: b'{"schema": 0, "kind": "liked"}',
    lambda rng: b'{"schema": 1, "kind": "applauded", "user_id": "u", "song_id": "s"}',
    lambda rng: b'{"schema": 1, "kind": "liked", "song_id": "s", "occurred_at": "yesterday"}',
    lambda rng: b'{"truncated": "' + b"x" * rng.randint(1, 5_000),
)


class Poisoner:
    """Appends poison; `keys`: of all records that are surely or perhaps in a topic, with their values."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"poison/{seed}")
        self.keys: dict[bytes, bytes] = {}

    async def inject(self, log: KafkaSettings, count: int) -> None:
        """Return once `count` more records are durable. Raises KafkaError."""
        async with producing(log) as to:
            for _ in range(count):
                key, value = f"poison-{len(self.keys)}", self._rng.choice(_MAKE)(self._rng)
                self.keys[key.encode()] = value
                topic = self._rng.choice((FEEDBACK, FEEDBACK, PLAYLISTS, PROFILES))
                await put(to, topic.name, key, value)
