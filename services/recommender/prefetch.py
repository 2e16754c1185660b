"""Fetches the nearest songs from remote indexes, for all arms at once, before a playlist is composed.

Composing does not wait: it is one computation from the drawn order to the last pick. So remote results are fetched
before and kept with the listener's vector, like the results of a local index. If a remote index is late or fails, the
arm computes the scores from the raw rows, which are in this process as well.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from services.common.vectors.index import Query, RemoteIndex
from services.recommender.metrics import INDEX_FAILURES, INDEX_SECONDS, QUERIES
from services.recommender.models import BoundModel
from services.recommender.profile_vectors import ProfileVector

logger = logging.getLogger(__name__)

# More than from a local index: there is no second query, and many of the nearest songs may have been heard.
NEAREST: Final = 256
# After a failure an arm skips the index for this long, so that a server that hangs delays few playlists.
SILENT_SECONDS: Final = 5.0


class Prefetcher:
    """Fills `ProfileVector.nearest`. `longest`: the maximum wait for all answers, in seconds."""

    def __init__(self, longest: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._longest = longest
        self._clock = clock
        self._silent_until: dict[str, float] = {}

    async def fill(self, models: Sequence[BoundModel], vector_of: Callable[[BoundModel], ProfileVector]) -> None:
        """Query each model's index for the songs nearest to the listener, unless they are known. Never raises."""
        questions = [
            self._asked(bound, remote, at, query) for bound, remote, at, query in self._open(models, vector_of)
        ]
        if questions:
            await asyncio.gather(*questions)

    def _open(
        self, models: Sequence[BoundModel], vector_of: Callable[[BoundModel], ProfileVector]
    ) -> list[tuple[BoundModel, RemoteIndex, ProfileVector, Query]]:
        found = []
        for bound in models:
            model, profile = bound.model, vector_of(bound)
            silent = self._silent_until.get(model.record.arm, 0.0) > self._clock()
            if profile.nearest is None and model.remote is not None and not silent:
                query = model.query(profile.vector)
                if query is not None and not model.prefers_scan(query):
                    found.append((bound, model.remote, profile, query))
        return found

    async def _asked(self, bound: BoundModel, remote: RemoteIndex, profile: ProfileVector, query: Query) -> None:
        arm = bound.model.record.arm
        try:
            with INDEX_SECONDS.labels(arm).time():
                async with asyncio.timeout(self._longest):
                    profile.nearest = await remote.ask(query, k=NEAREST)
            QUERIES.labels(arm).inc()
        except Exception as fault:  # noqa: BLE001 - on any error the arm computes the scores itself
            INDEX_FAILURES.labels(arm).inc()
            self._silent_until[arm] = self._clock() + SILENT_SECONDS
            logger.warning(
                "the index of %s does not answer, so the arm computes all scores: %s",
                arm,
                fault or type(fault).__name__,
            )
