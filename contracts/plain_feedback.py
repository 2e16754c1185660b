"""Feedback off the log, fast: what the gateway wrote is read by one expression, all else by the contract.

The expression accepts a strict part of what `FeedbackEvent` accepts, in the one layout that `FeedbackEvent.log_value`
gives, and only what the fold of profiles needs is taken out of it. Whatever it does not match (another client's
layout, escapes, another version, poison) goes the way of the live consumer. So it can be slower than thought, never
different; a property test holds the two equal.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple, cast

from contracts.events import ANIME_KINDS, EVENT_VERSIONS, FeedbackEvent, Kind
from contracts.fold import Write, served_writes

_UUID: Final = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
# What needs no escape in JSON, of what the contract allows.
_ID: Final = r"[!#-\[\]-~]{1,128}"
_TEXT: Final = r"[ !#-\[\]-~]{0,200}"
_WHOLE: Final = "(?:0|[1-9][0-9]{0,8})"
_TIME: Final = "1(?:5[89]|[6-9][0-9])[0-9]{10}"
_SHARE: Final = r"(?:0\.[0-9]{1,20}|[01]\.0|[1-9](?:\.[0-9]{1,20})?e-[0-9]{1,2})"
_ARM: Final = "(?:mpnet|minilm|node2vec|tfidf|popular|random)"
_KINDS: Final = "shown|started|progress|ended|skipped|liked|unliked|vetoed|unvetoed"


def _maybe(name: str, value: str) -> str:
    return f'(?:,"{name}":{value})?'


_LINE: Final = re.compile(
    (
        rf'\{{"schema":{EVENT_VERSIONS.newest},"event_id":"({_UUID})","kind":"({_KINDS})","user_id":"({_ID})"'
        rf',"occurred_at":({_TIME}),"received_at":{_TIME}'
        + _maybe("song_id", f'"({_ID})"')
        + _maybe("anime_id", f'"({_ID})"')
        + _maybe("play_id", f'"{_UUID}"')
        + _maybe("watch_ms", f"({_WHOLE})")
        + _maybe("played_ms", _WHOLE)
        + _maybe("duration_ms", "([1-9][0-9]{0,8})")
        + _maybe("direction", '"(?:next|prev)"')
        + _maybe("link", f'"{_TEXT}"')
        + _maybe("rate", r"(?:0|[1-9][0-9]{0,2})\.[0-9]{1,20}")
        + _maybe("muted", "(?:true|false)")
        + _maybe("hidden", "(?:true|false)")
        + ',"attribution":(?:"(?:slot|claimed)"'
        + _maybe("refusal", f'"{_TEXT}"')
        + f',"arm":"{_ARM}"|"(?:none|refused)"'
        + _maybe("refusal", f'"{_TEXT}"')
        + ")"
        + _maybe("playlist_id", f'"{_UUID}"')
        + _maybe("revision", "(?:0|[1-9][0-9]{0,3})")
        + _maybe("slot", "(?:[0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])")
        + _maybe("p_arm", _SHARE)
        + _maybe("p_song", _SHARE)
        + _maybe("model_version", '"[0-9a-f]{16}"')
        + _maybe("issued_at", "(?:0|[1-9][0-9]{0,15})")
        + r"\}"
    ).encode()
)
_KIND: Final[dict[bytes, tuple[Kind, bool]]] = {
    kind.encode(): (cast(Kind, kind), kind in ANIME_KINDS) for kind in _KINDS.split("|")
}


class _Id(NamedTuple):
    bytes: bytes


class _Heard(NamedTuple):
    """What `contracts.fold.served_writes` reads of an event."""

    kind: Kind
    event_id: _Id
    occurred_at: int
    song_id: str | None
    anime_id: str | None
    watch_ms: int | None
    duration_ms: int | None


def is_plain(value: bytes) -> bool:
    """Whether a value is what the contract accepts, in the gateway's own layout: any JSON parser may read it."""
    match = _LINE.fullmatch(value)
    return match is not None and match[6 if _KIND[match[2]][1] else 5] is not None


def fast_feedback(value: bytes) -> tuple[str, Iterator[Write]] | None:
    """(user id, register writes that profiles hold) of a record's value; None: ask the contract."""
    match = _LINE.fullmatch(value)
    if match is None:
        return None
    event_id, kind_name, user_id, occurred_at, song, anime, watch, duration = match.groups()
    kind, about_anime = _KIND[kind_name]
    if (anime if about_anime else song) is None:
        return None
    heard = _Heard(
        kind,
        _Id(bytes.fromhex(event_id.replace(b"-", b"").decode())),
        int(occurred_at),
        None if song is None else song.decode(),
        None if anime is None else anime.decode(),
        None if watch is None else int(watch),
        None if duration is None else int(duration),
    )
    # The fold asks an event for these fields only; building the whole event costs three times as much.
    return user_id.decode(), served_writes(cast(FeedbackEvent, heard))
