"""The metrics of the recommender."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from prometheus_client import Counter, Gauge, Histogram

from contracts.arms import ARMS

_MILLISECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

# A playlist from request to answer: `new`, `rest` or `resume`, without the wait for a receipt's mark.
PLAYLIST_SECONDS = Histogram(
    "animusic_recommender_playlist_seconds", "A playlist made, logged and answered", ["what"], buckets=_MILLISECONDS
)
# Its steps: `profile` (Redis), `derive`, `compose`, `log` (Kafka's acknowledgement), `why`.
STEP_SECONDS = Histogram("animusic_recommender_step_seconds", "One step of a playlist", ["step"], buckets=_MILLISECONDS)
ARM_SECONDS = Histogram("animusic_recommender_arm_seconds", "One arm's pick", ["arm"], buckets=_MILLISECONDS)
# On a Qdrant server only: the wait for an arm's nearest songs before the picks, and the failures, after which the arm
# computed them itself.
INDEX_SECONDS = Histogram(
    "animusic_recommender_index_seconds", "A query to a Qdrant server", ["arm"], buckets=_MILLISECONDS
)
INDEX_FAILURES = Counter("animusic_recommender_index_failures_total", "Queries without an answer", ["arm"])
# Queries to a collection. More than one for a playlist and arm means that earlier picks used up the candidates.
QUERIES = Counter("animusic_recommender_candidate_queries_total", "Queries for candidates", ["arm"])
# Why an arm picked nothing: not_built, nothing_left, failed.
LEFT_OUT = Counter("animusic_recommender_left_out_total", "Arms that picked nothing for a playlist", ["arm", "why"])
# Playlists that ran out of songs, by the last reason that was lifted: resting, blacklisted, heard.
LIFTED = Counter("animusic_recommender_lifted_total", "Playlists that ran out of songs", ["what"])
PLAYLISTS = Counter("animusic_recommender_playlists_total", "Playlists by outcome", ["outcome"])
# Waits for a mark: `reached` or `late` (answered with fresh = false).
WAITS = Counter("animusic_recommender_waits_total", "Waits for a receipt's mark", ["outcome"])
# Why a playlist was not fresh: see `stale` in contracts.http.PlaylistAnswer.
STALE = Counter("animusic_recommender_stale_total", "Playlists made from a stale profile", ["why"])
# Polls of the feedback topic's ends: `answered` or `failed`.
END_POLLS = Counter("animusic_recommender_feedback_looks_total", "Polls of the feedback topic's ends", ["outcome"])
PROFILE_FAILURES = Counter("animusic_recommender_profile_failures_total", "Profiles that could not be read from Redis")
CATALOGUE_SONGS = Gauge("animusic_recommender_catalogue_songs", "Songs of the catalogue snapshot")
SWITCHES = Counter("animusic_recommender_model_switches_total", "Collections opened", ["arm"])
MODEL_FAILURES = Counter("animusic_recommender_model_failures_total", "Collections that could not be opened", ["arm"])
BEHIND = Gauge(
    "animusic_recommender_model_behind", "1 while an arm serves another version than that of its record", ["arm"]
)
UNREADABLE = Counter("animusic_recommender_unreadable_records_total", "Records that could not be read", ["topic"])


PROFILE_STEP, DERIVE_STEP, COMPOSE_STEP, LOG_STEP, WHY_STEP = (
    STEP_SECONDS.labels(step) for step in ("profile", "derive", "compose", "log", "why")
)
_ARM_SECONDS = {arm: ARM_SECONDS.labels(arm) for arm in ARMS}

# Arm -> seconds, of the playlist that this task composes.
_turns: ContextVar[dict[str, float] | None] = ContextVar("_turns", default=None)


@contextmanager
def arm_turns() -> Iterator[dict[str, float]]:
    """The time of each arm inside the block, in seconds; filled while it runs."""
    turns: dict[str, float] = {}
    token = _turns.set(turns)
    try:
        yield turns
    finally:
        _turns.reset(token)


def observe_arm(arm: str, seconds: float, left_out: str | None) -> None:
    """Record one arm's pick."""
    _ARM_SECONDS[arm].observe(seconds)
    turns = _turns.get()
    if turns is not None:
        turns[arm] = turns.get(arm, 0.0) + seconds
    if left_out is not None:
        LEFT_OUT.labels(arm, left_out).inc()
