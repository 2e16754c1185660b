"""Noticing a store of profiles that went back: it was wiped or restored, and is catching up again."""

from collections.abc import Mapping
from typing import Final

from contracts.placement import shard_of
from services.recommender.profile import Profile

_NONE: Final[Mapping[str, int]] = {}


class Watermarks:
    """The highest mark of each (generation, shard, log) that this process has seen."""

    def __init__(self) -> None:
        self._highest: dict[tuple[str, int], dict[str, int]] = {}

    def advance(self, user_id: str, profile: Profile) -> bool:
        """False while a mark of the user's shard lies behind one that was seen before."""
        key = (profile.generation, shard_of(user_id))
        highest = self._highest.get(key, _NONE)
        if profile.marks == highest:
            return True
        ahead = all(profile.marks.get(name, 0) >= mark for name, mark in highest.items())
        merged = {name: max(mark, highest.get(name, 0)) for name, mark in profile.marks.items()}
        self._highest[key] = {**highest, **merged}
        return ahead
