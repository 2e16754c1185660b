"""The interface of all arms.

A new arm needs a line in `content.py` or a file beside it, a place in `all_arms`, and a code in `contracts/arms.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

from services.common.vectors.index import PointIds
from services.recommender.catalogue import Catalogue, Mask
from services.recommender.models import BoundModel
from services.recommender.profile_vectors import ProfileVector


class LeftOut(Exception):
    """An arm picks nothing. `code` labels the metric; `str()` says in the answer why, and what to do."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Pick(NamedTuple):
    """A picked row of the catalogue.

    `p_song` = P(song | arm, earlier picks): 1 where the arm had no choice.
    """

    row: int
    score: float
    p_song: float
    version: str | None = None


@dataclass
class PickRequest:
    """One request for picks, the same for all arms.

    Attributes:
        eligible: (songs,) bool, the same for every arm of the request. Never changed.
        open: the eligible songs after the earlier picks of this playlist; no song and no anime is picked twice.
        models: by arm, one version each for the whole request. `left_out`: why an arm has no model.
        vector_of: the listener's vector in a model's space.
        queries: number of candidate queries so far, by arm.
    """

    catalogue: Catalogue
    eligible: Mask
    models: Mapping[str, BoundModel]
    left_out: Mapping[str, str]
    vector_of: Callable[[BoundModel], ProfileVector]
    rng: np.random.Generator
    open: Mask = field(init=False)
    queries: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.open = self.eligible.copy()

    def take(self, row: int) -> None:
        """Close a picked song, and every song that shares an anime with it, to the picks that follow."""
        self.catalogue.block_with_its_anime(self.open, row)

    @cached_property
    def point_filter(self) -> "PointFilter":
        """The eligible set as a filter of an index; shared by all arms."""
        return PointFilter(self.catalogue, self.eligible)


class PointFilter:
    """A mask as a list of allowed or of forbidden points, whichever is shorter."""

    def __init__(self, catalogue: Catalogue, mask: Mask) -> None:
        self._by_allowing = 2 * int(np.count_nonzero(mask)) <= len(mask)
        self._points: PointIds = catalogue.points[mask if self._by_allowing else ~mask]

    def filter(self, model: BoundModel) -> dict[str, PointIds]:
        """`allowed` or `forbidden`, as an argument of `VectorIndex.search`."""
        if self._by_allowing:
            return {"allowed": self._points}
        if len(model.unknown_points):
            return {"forbidden": np.concatenate([self._points, model.unknown_points])}
        return {"forbidden": self._points} if len(self._points) else {}


class Arm(Protocol):
    """A source of songs."""

    @property
    def name(self) -> str:
        """The name in `contracts.arms`."""
        ...

    def pick(self, request: PickRequest) -> Pick | None:
        """The song that this arm picks, among `request.open`; None only if none of its candidates is open.

        Raises LeftOut if the arm cannot pick at all. Any other exception leaves it out as failed.
        """
        ...
