"""Token buckets: how many posts of one user, or sessions of one address, are taken before 429."""

import time
from collections import OrderedDict
from collections.abc import Callable


class Buckets:
    """One bucket a name. A bucket holds `burst` tokens and regains `per_second`.

    At most `most` buckets are remembered; the one that was asked longest ago is forgotten first, which can only be
    kind to it.
    """

    def __init__(
        self, per_second: float, burst: float, *, most: int = 100_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._most = most
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> float:
        """Take a token: 0.0 when there was one, else the seconds until there is."""
        now = self._clock()
        level, then = self._levels.pop(name, (self._burst, now))
        level = min(self._burst, level + (now - then) * self._per_second)
        wait = 0.0 if level >= 1 else (1 - level) / self._per_second
        self._levels[name] = (level if wait else level - 1, now)
        if len(self._levels) > self._most:
            self._levels.popitem(last=False)
        return wait
