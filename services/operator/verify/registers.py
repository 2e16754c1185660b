"""Registers: the two stores' own, differences between two folds, and values in words."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from contracts.arms import ARM_CODES
from contracts.fold import ATTRIBUTION_CODES, Folded, Write
from contracts.registers import FIRST_EXPOSURE, PLAYED, SERVED, SERVED_IDENTITY, SERVED_SLICES, VETO, Register
from services.operator.readers.clickhouse import ClickhouseReader
from services.operator.readers.redis import batched

USERS_A_QUERY: Final = 200
# Whole registers are merged under FINAL and taken apart outside.
_REGISTERS: Final = (
    "SELECT user_id, song_id, watched, liked, started, settled, first_exposure FROM animusic.registers FINAL "
    "WHERE user_id IN {users:Array(String)}"
)
_VETOES: Final = "SELECT user_id, anime_id, veto FROM animusic.vetoes FINAL WHERE user_id IN {users:Array(String)}"
_PLAYED: Final = (
    "SELECT user_id, song_id, toString(play_id) AS play_id, played FROM animusic.played FINAL "
    "WHERE user_id IN {users:Array(String)}"
)
# What codes stand for.
_NAMES: Final[dict[str, dict[int, str]]] = {
    "arm": {code: str(arm) for arm, code in ARM_CODES.items()},
    "attribution": {code: str(name) for name, code in ATTRIBUTION_CODES.items()},
}


class Slot(NamedTuple):
    """Where a register of a user lives: its kind, the song or anime, and the play (of `played` only)."""

    register: Register
    key: str
    play_id: str = ""

    def __str__(self) -> str:
        about = "anime" if self.register is VETO else "song"
        play = f", play {self.play_id}" if self.play_id else ""
        return f"{about} {self.key}{play}: {self.register.name}"


def slot_of(write: Write) -> Slot:
    """Where a write goes."""
    return Slot(write.register, write.key, write.play_id)


def slots(folded: Folded) -> Iterator[tuple[Slot, bytes]]:
    """Every register that is not absent."""
    for song, packed in folded.songs.items():
        for register in SERVED:
            if (value := packed[SERVED_SLICES[register.name]]) != register.identity:
                yield Slot(register, song), value
    for anime, value in folded.vetoes.items():
        yield Slot(VETO, anime), value
    for song, value in folded.exposures.items():
        yield Slot(FIRST_EXPOSURE, song), value
    for (song, play), value in folded.played.items():
        yield Slot(PLAYED, song, play), value


def differences(one: Folded, other: Folded) -> list[tuple[Slot, bytes | None, bytes | None]]:
    """(where, one's value, the other's) of each register that differs; None where one has none."""
    left, right = dict(slots(one)), dict(slots(other))
    return [
        (slot, left.get(slot), right.get(slot))
        for slot in sorted(left.keys() | right.keys(), key=str)
        if left.get(slot) != right.get(slot)
    ]


def joined(*folds: Folded | None) -> Folded:
    """One fold of several."""
    whole = Folded()
    for part in folds:
        if part is not None:
            whole.merge(part)
    return whole


def folded_of(fields: Mapping[bytes, bytes]) -> Folded:
    """A user's hash in Redis as a fold; fields that are no songs or vetoes are left out."""
    found = Folded()
    for name, value in fields.items():
        if name[:1] == b"s" and len(value) == len(SERVED_IDENTITY):
            found.songs[name[1:].decode()] = value
        elif name[:1] == b"v" and len(value) == VETO.width:
            found.vetoes[name[1:].decode()] = value
    return found


async def folds_in(warehouse: ClickhouseReader, users: Iterable[str]) -> dict[str, Folded]:
    """ClickHouse's registers of these users, encoded as `contracts.fold` encodes them; absent ones are left out."""
    found: dict[str, Folded] = {}
    for some in batched(sorted(users), USERS_A_QUERY):
        for row in await warehouse.arrow(_REGISTERS, users=some):
            _add_song(found.setdefault(row["user_id"], Folded()), row)
        for row in await warehouse.arrow(_VETOES, users=some):
            found.setdefault(row["user_id"], Folded()).vetoes[row["anime_id"]] = _encoded(VETO, row["veto"])
        for row in await warehouse.arrow(_PLAYED, users=some):
            played = _encoded(PLAYED, row["played"])
            found.setdefault(row["user_id"], Folded()).played[row["song_id"], row["play_id"]] = played
    return found


def _add_song(user: Folded, row: Mapping[str, Any]) -> None:
    packed = b"".join(_encoded(register, row[register.name]) for register in SERVED)
    if packed.strip(b"\0"):
        user.songs[row["song_id"]] = packed
    exposure = _encoded(FIRST_EXPOSURE, row[FIRST_EXPOSURE.name])
    if exposure != FIRST_EXPOSURE.identity:
        user.exposures[row["song_id"]] = exposure


def _encoded(register: Register, value: Mapping[str, Any]) -> bytes:
    """A tuple of ClickHouse as the register's bytes."""
    return register.encode(*(value[name] for name, _ in register.fields))


def described(register: Register, value: bytes | None) -> str:
    """A register's value for people."""
    fields = None if value is None else register.decode(value)
    return "nothing" if fields is None else ", ".join(f"{n} {_described(n, content)}" for n, content in fields.items())


def _described(name: str, content: Any) -> str:
    if name == "occurred_at":
        return datetime.fromtimestamp(content / 1000, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
    if name in ("event_id", "playlist_id"):
        return str(UUID(bytes=content))
    if name in _NAMES:
        return _NAMES[name].get(content, str(content))
    return content.hex() if isinstance(content, bytes) else str(content)
