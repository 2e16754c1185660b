"""What Redis keeps of listeners beside registers, against the log: anime lists, and the histories of playlists.

Both are fields of which the highest bytes count (a list begins with its offset, a line of the history with its time);
of the lines of a history the newest `HISTORY_LISTS` stay. Both go on moving while they are compared: what differs is
read again from log and store, and is a fault once the log has told nothing more of a listener meanwhile.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from contracts.fold import LIST_FIELD
from contracts.marks import MarkName
from contracts.topics import PLAYLISTS, PROFILES
from services.common.kafka import topic_ids
from services.common.settings import KafkaSettings
from services.operator.verify.log import Letters, edges, records, refused_by
from services.operator.verify.model import CannotCompare, Fault, Kind, Report, Sample
from services.operator.verify.redis import Fields, Profiles, Sort
from services.profiles.store import HISTORY_LISTS
from services.profiles.writes import Listed, Served, effect_of

_ROUNDS: Final = 8
# User id -> what is kept of them.
Told = dict[str, Fields]
# (user id, field, value) -> where the record lies that wrote it.
Places = dict[tuple[str, bytes, bytes], str]


@dataclass(frozen=True)
class Kept:
    """One of the two. `sort` names its keys in Redis."""

    topic: str
    sort: Sort
    kind: Kind
    say: Callable[[bytes, bytes | None], str]


class KeptCheck:
    """Compares both. May raise CannotCompare, and what the clients of log and Redis raise."""

    def __init__(
        self,
        kafka: KafkaSettings,
        profiles: Profiles,
        report: Report,
        *,
        sample: Sample,
        letters: Letters,
        forgotten: Set[str],
        reach_seconds: float,
    ) -> None:
        self._kafka = kafka
        self._profiles = profiles
        self._sample = sample
        self._letters = letters
        self._forgotten = forgotten
        self._report = report
        self._reach_seconds = reach_seconds
        self._places: Places = {}
        self._partial = False

    async def run(self) -> None:
        """Compare lists, then histories."""
        for kept in (LISTS, HISTORIES):
            self._places.clear()
            await self._compare(kept)

    async def _compare(self, kept: Kept) -> None:
        told = await self._told(kept, None)
        users = told.keys() | {user async for user in self._profiles.users(kept.sort) if self._sample.holds(user)}
        # Of who is forgotten nothing may be left; what there is of a list was said already, with the registers.
        left = users - self._forgotten if kept.sort == "u" else users
        # A user's hash without a list is of somebody who has none.
        self._report.kept += len(users if kept.sort == "h" else told.keys())
        for _ in range(_ROUNDS):
            held = {user: _of(kept, fields) for user, fields in (await self._profiles.kept(left, kept.sort)).items()}
            left = {user for user in left if self._differ(told.get(user, {}), held[user])}
            if not left:
                return
            again = await self._told(kept, left)
            for user in sorted(user for user in left if again.get(user) == told.get(user)):
                self._note(kept, user, told.get(user, {}), held[user])
                left.remove(user)
            told = again
        self._report.unsettled += sorted(left)

    async def _told(self, kept: Kept, users: Collection[str] | None) -> Told:
        """What the log tells up to its end of now, of the sample or of these users; Redis has come as far.

        Of these users the places of their records are noted, too.
        """
        told: Told = {}
        async for user, name, value, place in self._records(kept.topic, users):
            fields = told.setdefault(user, {})
            fields[name] = max(value, fields.get(name, b""))
            if users is not None:
                self._places[user, name, value] = place
        if kept.sort == "h":
            told = {user: _newest(fields) for user, fields in told.items()}
        return {user: fields for user, fields in told.items() if user not in self._forgotten}

    async def _records(self, topic: str, users: Collection[str] | None) -> AsyncIterator[tuple[str, bytes, bytes, str]]:
        """(user, field, value, place) of each record that Redis keeps something of."""
        spans = await edges(self._kafka, [topic])
        self._partial = topic == PLAYLISTS.name and any(begin for begin, _ in spans.values())
        async for batch in records(self._kafka, spans):
            for record in batch:
                # Records of users are keyed by them; who is not meant is not decoded.
                if record.key is not None and not self._asked(record.key.decode("utf-8", "replace"), users):
                    continue
                effect = None if "profiles" in refused_by(self._letters, record) else effect_of(record)
                if not isinstance(effect, Listed | Served) or not self._asked(effect.user_id, users):
                    continue
                place = f"{record.topic}/{record.partition}@{record.offset}"
                if isinstance(effect, Listed):
                    yield effect.user_id, LIST_FIELD, effect.value, place
                else:
                    yield effect.user_id, effect.playlist_id.encode(), effect.entry, place
        ids = await topic_ids(self._kafka.bootstrap_servers, [topic])
        await self._reached({MarkName(ids[topic], tp.partition): end for tp, (_, end) in spans.items()})

    def _asked(self, user_id: str, users: Collection[str] | None) -> bool:
        return self._sample.holds(user_id) if users is None else user_id in users

    async def _reached(self, ends: Mapping[MarkName, int]) -> None:
        deadline = time.monotonic() + self._reach_seconds
        while not await self._profiles.reached(ends):
            if time.monotonic() > deadline:
                raise CannotCompare("Redis does not come to the log's end; `animusic status` says how far it is")
            await asyncio.sleep(0.1)

    def _differ(self, told: Fields, held: Fields) -> list[bytes]:
        """The fields that differ. Where the log lost its beginning, Redis may rightly hold more."""
        differing = [name for name in sorted(told.keys() | held.keys()) if told.get(name) != held.get(name)]
        return [name for name in differing if name in told or not self._partial]

    def _note(self, kept: Kept, user: str, told: Fields, held: Fields) -> None:
        for name in self._differ(told, held):
            values = told.get(name), held.get(name)
            places = {self._places.get((user, name, value), "") for value in values if value} - {""}
            what = "" if kept.sort == "u" else f"playlist {name.decode('utf-8', 'replace')}"
            said = [kept.say(name, value) for value in values]
            self._report.add(Fault("redis", kept.kind, user, what, said[0], said[1], tuple(sorted(places))))


def _of(kept: Kept, fields: Fields) -> Fields:
    """Of a user's hash only the list is kept; of a history every field."""
    return fields if kept.sort == "h" else {name: value for name, value in fields.items() if name == LIST_FIELD}


def _newest(fields: Fields) -> Fields:
    """The lines that stay: see `trim` in services.profiles.scripts."""
    return dict(sorted(fields.items(), key=lambda line: (line[1], line[0]), reverse=True)[:HISTORY_LISTS])


def _said_list(_name: bytes, value: bytes | None) -> str:
    if value is None:
        return "nothing"
    return f"offset {int.from_bytes(value[:8], 'big')}, {value[8:].decode('utf-8', 'replace')}"


def _said_line(_name: bytes, value: bytes | None) -> str:
    if value is None:
        return "nothing"
    try:
        at = datetime.fromtimestamp(int.from_bytes(value[:8], "big") / 1000, UTC).isoformat(timespec="milliseconds")
        songs = ", ".join(json.loads(value[10:]))
    except (ValueError, OverflowError, OSError):
        return f"bytes that are no line of a history: {value.hex()}"
    return f"served at {at.removesuffix('+00:00')}, revision {int.from_bytes(value[8:10], 'big')}: {songs}"


LISTS: Final = Kept(PROFILES.name, "u", "anime list differs", _said_list)
HISTORIES: Final = Kept(PLAYLISTS.name, "h", "history differs", _said_line)
