"""Differences between two folds, register by register, in words."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from contracts.arms import ARM_CODES
from contracts.fold import ATTRIBUTION_CODES, Folded, Write
from contracts.registers import FIRST_EXPOSURE, PLAYED, SERVED, SERVED_IDENTITY, SERVED_SLICES, VETO, Register

_ARMS = {code: arm for arm, code in ARM_CODES.items()}
_ATTRIBUTIONS = {code: name for name, code in ATTRIBUTION_CODES.items()}


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
            value = packed[SERVED_SLICES[register.name]]
            if value != register.identity:
                yield Slot(register, song), value
    for anime, value in folded.vetoes.items():
        yield Slot(VETO, anime), value
    for song, value in folded.exposures.items():
        yield Slot(FIRST_EXPOSURE, song), value
    for (song, play), value in folded.played.items():
        yield Slot(PLAYED, song, play), value


def folded_of(fields: dict[bytes, bytes]) -> tuple[Folded, list[bytes]]:
    """Stored fields as a fold, and the names of fields that are none (of songs or vetoes)."""
    found, others = Folded(), []
    for name, value in fields.items():
        if name[:1] == b"s" and len(value) == len(SERVED_IDENTITY):
            found.songs[name[1:].decode()] = value
        elif name[:1] == b"v" and len(value) == VETO.width:
            found.vetoes[name[1:].decode()] = value
        else:
            others.append(name)
    return found, others


def differences(log: Folded, store: Folded) -> list[tuple[Slot, bytes | None, bytes | None]]:
    """(where, the log's value, the store's value) of every register in which the two differ."""
    told, held = dict(slots(log)), dict(slots(store))
    named = sorted(told.keys() | held.keys(), key=str)
    return [(slot, told.get(slot), held.get(slot)) for slot in named if told.get(slot) != held.get(slot)]


def said(register: Register, value: bytes | None) -> str:
    """A register's value for people."""
    fields = None if value is None else register.decode(value)
    if fields is None:
        return "nothing"
    return ", ".join(f"{name} {_one(name, content)}" for name, content in fields.items())


def _one(name: str, content: Any) -> str:
    if name == "occurred_at":
        return datetime.fromtimestamp(content / 1000, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
    if name in ("event_id", "playlist_id"):
        return str(UUID(bytes=content))
    if name == "arm":
        return str(_ARMS.get(content, content))
    if name == "attribution":
        return str(_ATTRIBUTIONS.get(content, content))
    return str(content.hex() if isinstance(content, bytes) else content)
