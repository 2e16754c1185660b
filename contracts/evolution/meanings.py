"""What an event means: its register writes. Pure.

A schema cannot express this, so published events are stored with their writes. A code change that alters the writes of
a published event is rejected, because a replay of the same log would then build different profiles.
"""

import json
from collections.abc import Iterator
from typing import Any, Final, get_args

from contracts.events import ANIME_KINDS, Kind, read_event
from contracts.fold import writes

_TIME: Final = 1_762_000_000_000
_SLOT: Final[dict[str, Any]] = {
    "attribution": "slot", "arm": "tfidf", "playlist_id": "018f2f6e-8c1d-7c3a-9b5e-2f4d6a8c0e13", "revision": 1,
    "slot": 2, "p_arm": 0.25, "p_song": 1.0, "model_version": "9d41c7a2b05e8f63", "issued_at": _TIME - 60_000,
}  # fmt: skip
_WATCHING: Final[dict[str, Any]] = {
    "watch_ms": 61_000, "duration_ms": 90_000, "played_ms": 64_000, "play_id": "5f0c2b7e-1d3a-4c8e-9b6f-7a2d4e8c1b35",
}  # fmt: skip
# One of each: bare, with what was watched, and with every kind of attribution.
_VARIANTS: Final[tuple[dict[str, Any], ...]] = (
    {},
    _WATCHING,
    {**_WATCHING, **_SLOT},
    {"attribution": "claimed", "arm": "popular"},
    {**_WATCHING, "attribution": "refused", "refusal": "expired"},
)


def specimens() -> Iterator[dict[str, Any]]:
    """Events of version 1, every kind in every variant; the same each time."""
    for kind in get_args(Kind):
        about = {"anime_id": "mal-1"} if kind in ANIME_KINDS else {"song_id": "anidb-10223"}
        for number, variant in enumerate(_VARIANTS if kind not in ANIME_KINDS else _VARIANTS[:1]):
            yield {
                "schema": 1,
                "event_id": f"0f4c1d9e-3b52-4c8a-9f10-00000000{len(kind):02}{number:02}",
                "kind": kind,
                "user_id": "g-5e3b1f0c9a7d4e21",
                "occurred_at": _TIME + number,
                "received_at": _TIME + 120,
                **about,
                **variant,
            }


def meaning(record: dict[str, Any]) -> list[list[str]]:
    """The register writes of an event: register, key, play, value in hex digits; sorted.

    Raises pydantic.ValidationError when no version reads it.
    """
    event = read_event(json.dumps(record, separators=(",", ":")).encode())
    return sorted([w.register.name, w.key, w.play_id, w.value.hex()] for w in writes(event))
