"""Noticing a store of profiles that went back: it was wiped or restored, and is catching up again."""

from collections.abc import Callable, Mapping
from typing import Final

from contracts.placement import shard_of
from services.recommender.profile import Profile

PATIENCE_MS: Final = 600_000
_NONE: Final[Mapping[str, int]] = {}


class Watermarks:
    """The highest mark of each (generation, shard, log) that this process has seen.

    A store that stays behind for PATIENCE_MS is taken as it is: the log that it had followed is gone as well.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._highest: dict[tuple[str, int], dict[str, int]] = {}
        self._behind_since: dict[tuple[str, int], int] = {}

    def advance(self, user_id: str, profile: Profile) -> bool:
        """False while a mark of the user's shard lies behind one that was seen before."""
        key = (profile.generation, shard_of(user_id))
        highest = self._highest.get(key, _NONE)
        if profile.marks == highest:
            return True
        if all(profile.marks.get(name, 0) >= mark for name, mark in highest.items()):
            self._highest[key] = dict(profile.marks)
            self._behind_since.pop(key, None)
            return True
        if self._clock() - self._behind_since.setdefault(key, self._clock()) > PATIENCE_MS:
            del self._highest[key], self._behind_since[key]
        return False
