"""The fold: from a feedback event to the registers that it writes, and a whole profile in plain Python.

This is the reference implementation. The Redis script of `services.profiles` and the ClickHouse tables of
`services.warehouse` must give the same bytes for the same set of events; one differential test runs all three.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from contracts.arms import ARM_CODES
from contracts.events import AttributionKind, FeedbackEvent
from contracts.registers import (
    FIRST_EXPOSURE,
    LIKED,
    PLAYED,
    SERVED_IDENTITY,
    SERVED_SLICES,
    SETTLED,
    STARTED,
    VETO,
    WATCHED,
    Register,
    merge_served,
)

ATTRIBUTION_CODES: dict[AttributionKind, int] = {"slot": 1, "claimed": 2}
_SETTLING = frozenset({"ended", "skipped", "liked"})
PPM = 1_000_000


class Write(NamedTuple):
    """One register write: of a song, of an anime (veto) or of a (song, play) pair (played)."""

    register: Register
    key: str
    play_id: str
    value: bytes


def watched_value(watch_ms: int, duration_ms: int) -> bytes:
    """The watched register: progress in ppm (integer division, at most 1,000,000), watch ms, duration ms."""
    return WATCHED.encode(min(PPM, watch_ms * PPM // duration_ms), watch_ms, duration_ms)


def exposure_value(event: FeedbackEvent) -> bytes | None:
    """The first-exposure register that an attributed event writes; None if the event has no arm."""
    code = ATTRIBUTION_CODES.get(event.attribution)
    if code is None or event.arm is None:
        return None
    return FIRST_EXPOSURE.encode(
        event.occurred_at,
        event.event_id.bytes,
        ARM_CODES[event.arm],
        event.playlist_id.bytes if event.playlist_id else bytes(16),
        event.revision or 0,
        event.slot or 0,
        code,
        bytes.fromhex(event.model_version or "").ljust(8, b"\0"),
    )


def writes(event: FeedbackEvent) -> Iterator[Write]:
    """The register writes of one event. An event of a song may write several registers, a veto writes one."""
    yield from served_writes(event)
    yield from analysts_writes(event)


def served_writes(event: FeedbackEvent) -> Iterator[Write]:
    """The writes that serving reads: of the SERVED registers and of vetoes."""
    when = (event.occurred_at, event.event_id.bytes)
    if event.kind in ("vetoed", "unvetoed"):
        yield Write(VETO, event.anime_id or "", "", VETO.encode(*when, event.kind == "vetoed"))
        return
    song = event.song_id or ""
    if event.watch_ms is not None and event.duration_ms:
        yield Write(WATCHED, song, "", watched_value(event.watch_ms, event.duration_ms))
    if event.kind in ("liked", "unliked"):
        yield Write(LIKED, song, "", LIKED.encode(*when, event.kind == "liked"))
    if event.kind == "started":
        yield Write(STARTED, song, "", STARTED.encode(*when))
    if event.kind in _SETTLING:
        yield Write(SETTLED, song, "", SETTLED.encode(*when))


def analysts_writes(event: FeedbackEvent) -> Iterator[Write]:
    """The writes that only analysts read: seconds played, first exposure. An event of an anime has none."""
    if event.kind in ("vetoed", "unvetoed"):
        return
    song = event.song_id or ""
    if event.played_ms is not None and event.play_id is not None:
        yield Write(PLAYED, song, str(event.play_id), PLAYED.encode(event.played_ms))
    exposure = exposure_value(event)
    if exposure is not None:
        yield Write(FIRST_EXPOSURE, song, "", exposure)


@dataclass
class Folded:
    """The registers of one user.

    Attributes:
        songs: song id -> packed SERVED registers (watched, liked, started, settled).
        vetoes: anime id -> encoded veto register.
        exposures: song id -> encoded first-exposure register.
        played: (song id, play id) -> encoded played register.
    """

    songs: dict[str, bytes] = field(default_factory=dict)
    vetoes: dict[str, bytes] = field(default_factory=dict)
    exposures: dict[str, bytes] = field(default_factory=dict)
    played: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def apply(self, write: Write) -> None:
        """Merge one register write in."""
        if write.register is VETO:
            self.vetoes[write.key] = VETO.merge(self.vetoes.get(write.key, VETO.identity), write.value)
        elif write.register is FIRST_EXPOSURE:
            old = self.exposures.get(write.key, FIRST_EXPOSURE.identity)
            self.exposures[write.key] = FIRST_EXPOSURE.merge(old, write.value)
        elif write.register is PLAYED:
            key = (write.key, write.play_id)
            self.played[key] = PLAYED.merge(self.played.get(key, PLAYED.identity), write.value)
        else:
            self._apply_served(write)

    def _apply_served(self, write: Write) -> None:
        at = SERVED_SLICES[write.register.name]
        old = self.songs.get(write.key, SERVED_IDENTITY)
        if write.value > old[at] or write.key not in self.songs:
            self.songs[write.key] = old[: at.start] + max(old[at], write.value) + old[at.stop :]

    def merge(self, other: "Folded") -> None:
        """Join another fold of the same user into this one."""
        for song, packed in other.songs.items():
            self.songs[song] = merge_served(self.songs.get(song, SERVED_IDENTITY), packed)
        for anime, value in other.vetoes.items():
            self.vetoes[anime] = VETO.merge(self.vetoes.get(anime, VETO.identity), value)
        for song, value in other.exposures.items():
            old = self.exposures.get(song, FIRST_EXPOSURE.identity)
            self.exposures[song] = FIRST_EXPOSURE.merge(old, value)
        for play, value in other.played.items():
            self.played[play] = PLAYED.merge(self.played.get(play, PLAYED.identity), value)


def fold(events: Iterable[FeedbackEvent]) -> dict[str, Folded]:
    """Fold events of any users, in any order and with any duplication, to user id -> registers."""
    users: dict[str, Folded] = {}
    for event in events:
        user = users.setdefault(event.user_id, Folded())
        for write in writes(event):
            user.apply(write)
    return users


# ---- fields and digests in a store of profiles --------------------------------------------------------

SONG_FIELD = b"s"
VETO_FIELD = b"v"
LIST_FIELD = b"l"
VERSION_FIELD = b"#"
CHANGES_FIELD = b"~"
# Readers find changes by these. They do not follow from the events, and are partly random.
UNFOLDED_FIELDS = frozenset({VERSION_FIELD, CHANGES_FIELD})


def song_field(song_id: str) -> bytes:
    """The field of a user's Redis hash that holds a song's packed registers."""
    return SONG_FIELD + song_id.encode()


def veto_field(anime_id: str) -> bytes:
    """The field of a user's Redis hash that holds an anime's veto register."""
    return VETO_FIELD + anime_id.encode()


Stored = dict[bytes, bytes]


def merge_stored(fields: Stored, name: bytes, value: bytes) -> None:
    """Merge one field into a user's, as the store does: songs by register, other fields by the higher bytes."""
    old = fields.get(name)
    if old is None:
        fields[name] = value
    elif name[:1] == SONG_FIELD:
        fields[name] = merge_served(old, value)
    elif value > old:
        fields[name] = value


def stored_fields(folded: Folded) -> Stored:
    """The exact fields of one user's feedback in a store of profiles: field -> value."""
    fields = {song_field(song): packed for song, packed in folded.songs.items()}
    fields.update((veto_field(anime), value) for anime, value in folded.vetoes.items())
    return fields


def digest_sum(user_id: str, fields: Iterable[tuple[bytes, bytes]]) -> int:
    """The sum of 128-bit digests of stored fields (name, value) of a user: comparing stores needs no order."""
    user = user_id.encode()
    # The common prefix is hashed once.
    start = blake2b(len(user).to_bytes(4, "big") + user, digest_size=16)
    total = 0
    for name, value in fields:
        one = start.copy()
        one.update(len(name).to_bytes(4, "big") + name + value)
        total += int.from_bytes(one.digest(), "big")
    return total


def user_digest(user_id: str, fields: dict[bytes, bytes]) -> str:
    """The digest of all of a user's stored fields but the unfolded ones, 32 hex digits, independent of their order."""
    total = digest_sum(user_id, (field for field in fields.items() if field[0] not in UNFOLDED_FIELDS))
    return f"{total % (1 << 128):032x}"
