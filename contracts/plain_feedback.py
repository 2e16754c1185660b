"""Feedback off the log, fast: what the gateway wrote is read by one expression, all else by the contract.

Many values are read at once, a line each: the expression's engine then goes from one to the next without Python in
between. What was matched is never tried another way (`?+`, `(?>`, `{1,128}+`): no two ways are there.

The expression accepts a strict part of what `FeedbackEvent` accepts, in the one layout that `FeedbackEvent.log_value`
gives, and only what the fold of profiles needs is taken out of it. Whatever it does not match (another client's
layout, escapes, another version, poison) goes the way of the live consumer. So it can be slower than thought, never
different; a property test holds the two equal.
"""

import re
import struct
from binascii import unhexlify
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from contracts.events import ANIME_KINDS, EVENT_VERSIONS
from contracts.fold import PPM, SONG_FIELD, VETO_FIELD
from contracts.registers import LIKED, SERVED, SETTLED, STARTED, WATCHED

_UUID: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# What needs no escape in JSON, of what the contract allows.
_ID: Final = r"[!#-\[\]-~]{1,128}+"
_TEXT: Final = r"[ !#-\[\]-~]{0,200}+"
_WHOLE: Final = "(?>0|[1-9][0-9]{0,8}+)"
_TIME: Final = "1(?>5[89]|[6-9][0-9])[0-9]{10}"
_SHARE: Final = r"(?>0\.[0-9]{1,20}+|[1-9](?:\.[0-9]{1,20}+)?+e-[0-9]{1,2}+|1\.0)"
_ARM: Final = "(?>mpnet|minilm|node2vec|tfidf|popular|random)"
_KINDS: Final = "shown|started|progress|ended|skipped|liked|unliked|vetoed|unvetoed"


def _maybe(name: str, value: str) -> str:
    return f'(?:,"{name}":{value})?+'


_PLAIN: Final = (
    rf'\{{"schema":{EVENT_VERSIONS.newest},"event_id":"({_UUID})","kind":"({_KINDS})","user_id":"({_ID})"'
    rf',"occurred_at":({_TIME}),"received_at":{_TIME}'
    + _maybe("song_id", f'"({_ID})"')
    + _maybe("anime_id", f'"({_ID})"')
    + _maybe("play_id", f'"{_UUID}"')
    + _maybe("watch_ms", f"({_WHOLE})")
    + _maybe("played_ms", _WHOLE)
    + _maybe("duration_ms", "([1-9][0-9]{0,8}+)")
    + _maybe("direction", '"(?:next|prev)"')
    + _maybe("link", f'"{_TEXT}"')
    + _maybe("rate", r"(?>0|[1-9][0-9]{0,2}+)\.[0-9]{1,20}+")
    + _maybe("muted", "(?:true|false)")
    + _maybe("hidden", "(?:true|false)")
    + ',"attribution":(?>"(?:slot|claimed)"'
    + _maybe("refusal", f'"{_TEXT}"')
    + f',"arm":"{_ARM}"|"(?:none|refused)"'
    + _maybe("refusal", f'"{_TEXT}"')
    + ")"
    + _maybe("playlist_id", f'"{_UUID}"')
    + _maybe("revision", "(?>0|[1-9][0-9]{0,3}+)")
    + _maybe("slot", "(?:1[0-9]{2}|2[0-4][0-9]|25[0-5]|[1-9][0-9]|[0-9])")
    + _maybe("p_arm", _SHARE)
    + _maybe("p_song", _SHARE)
    + _maybe("model_version", '"[0-9a-f]{16}"')
    + _maybe("issued_at", "(?>0|[1-9][0-9]{0,15}+)")
    + r"\}"
).encode()
_LINE: Final = re.compile(_PLAIN)
_LINES: Final = re.compile(b"^" + _PLAIN + b"$", re.MULTILINE)
assert SERVED == (WATCHED, LIKED, STARTED, SETTLED), "what is packed here has this order"
_ABOUT_ANIME: Final = frozenset(kind.encode() for kind in ANIME_KINDS)
_pack_when: Final = struct.Struct(">Q16s").pack
_watched: Final = struct.Struct(">III").pack
_NO_WATCH, _NO_LIKE, _NO_START, _NO_END = (register.identity for register in SERVED)
# What an event packs behind `watched`, from its time and id; the others write nothing there.
_REST: Final[dict[bytes, Callable[[bytes], bytes]]] = {
    b"liked": lambda when: when + b"\1" + _NO_START + when,
    b"unliked": lambda when: when + b"\0" + _NO_START + _NO_END,
    b"started": lambda when: _NO_LIKE + when + _NO_END,
    b"ended": lambda when: _NO_LIKE + _NO_START + when,
    b"skipped": lambda when: _NO_LIKE + _NO_START + when,
}
_NO_REST: Final = _NO_LIKE + _NO_START + _NO_END


# User id, name of a field, its value, both as of `contracts.fold.stored_fields`; empty where the event stores nothing.
Plain = tuple[bytes, bytes, bytes]
_Groups = tuple[bytes, ...]


def is_plain(value: bytes) -> bool:
    """Whether a value is what the contract accepts, in the gateway's own layout: any JSON parser may read it."""
    match = _LINE.fullmatch(value)
    return match is not None and match[6 if match[2] in _ABOUT_ANIME else 5] is not None


def fast_feedback(values: Sequence[bytes]) -> list[Plain | None]:
    """What each of these values of records alone would store; None: ask the contract."""
    text = b"\n".join(values)
    lines: list[_Groups] = _LINES.findall(text)
    if len(lines) == len(values) and text.count(b"\n") == len(values) - 1:
        return list(_stored(lines))
    # A value that is no plain line, or several: then each by itself.
    matches = [_LINE.fullmatch(value) for value in values]
    stored = _stored([match.groups(b"") for match in matches if match is not None])
    return [None if match is None else next(stored) for match in matches]


def _stored(lines: Sequence[_Groups]) -> Iterator[Plain | None]:
    """From what the expression took out of each line; what was not there is empty."""
    for event_id, kind, user_id, occurred_at, song, anime, watch, duration in lines:
        if kind in _ABOUT_ANIME:
            value = _when(occurred_at, event_id) + (b"\1" if kind == b"vetoed" else b"\0")
            yield (user_id, VETO_FIELD + anime, value) if anime else None
            continue
        if not song:
            yield None
            continue
        packs = _REST.get(kind)
        # Most are progress, and its time is not stored.
        rest = _NO_REST if packs is None else packs(_when(occurred_at, event_id))
        if watch and duration:
            watch_ms, duration_ms = int(watch), int(duration)
            watched = _watched(min(PPM, watch_ms * PPM // duration_ms), watch_ms, duration_ms)
            yield user_id, SONG_FIELD + song, watched + rest
        elif packs is not None:
            yield user_id, SONG_FIELD + song, _NO_WATCH + rest
        else:
            yield user_id, b"", b""


def _when(occurred_at: bytes, event_id: bytes) -> bytes:
    return _pack_when(int(occurred_at), unhexlify(event_id.replace(b"-", b"")))
