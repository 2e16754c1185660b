"""Checks what Redis has beside registers against the log: anime lists, and the histories of playlists.

Both are fields of which the highest bytes count (a list begins with its offset, a line of the history with its time);
of the lines of a history the newest `HISTORY_LISTS` stay. Both go on moving while they are compared: what differs is
read again from log and store, and is a fault once the log has nothing newer of the listener.
"""

import json
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Final

from contracts.fold import LIST_FIELD
from contracts.topics import PLAYLISTS, PROFILES
from services.operator.readers.log import offsets, records
from services.operator.readers.redis import Hash, Sort, differing
from services.operator.verify.model import ROUNDS, Comparison, Fault, place_of
from services.profiles.writes import HISTORY_LISTS, Listed, Served, effect_of

# The hash in Redis -> the topic that its fields come from.
_TOPICS: Final[dict[Sort, str]] = {"u": PROFILES.name, "h": PLAYLISTS.name}


async def check_lists(run: Comparison) -> None:
    """Compare anime lists, then histories of playlists."""
    for sort in _TOPICS:
        await _Check(run, sort).run()


class _Check:
    """One of the two: anime lists (`u`), or histories (`h`)."""

    def __init__(self, run: Comparison, sort: Sort) -> None:
        self._run = run
        self._sort = sort
        # (user id, field, value) -> where the record lies that wrote it.
        self._places: dict[tuple[str, bytes, bytes], str] = {}
        self._partial = False

    async def run(self) -> None:
        run, lists = self._run, self._sort == "u"
        expected = await self._expected(None)
        users = expected.keys() | {user async for user in run.profiles.users(self._sort) if run.sample.holds(user)}
        # Of forgotten users nothing may be left; what is left of a list is a fault of their registers' check.
        left = users - run.forgotten if lists else users
        # A user's hash without a list is that of a user who has none.
        run.report.lists += len(expected.keys() if lists else users)
        for _ in range(ROUNDS):
            held = await run.profiles.stored(left, self._sort)
            if lists:
                held = {user: {n: v for n, v in fields.items() if n == LIST_FIELD} for user, fields in held.items()}
            left = {user for user in left if self._differing(expected.get(user, {}), held[user])}
            if not left:
                return
            again = await self._expected(left)
            for user in sorted(user for user in left if again.get(user) == expected.get(user)):
                self._note(user, expected.get(user, {}), held[user])
                left.remove(user)
            expected = again
        run.report.unsettle(left)

    async def _expected(self, users: Collection[str] | None) -> dict[str, Hash]:
        """What the log says up to its end of now, of the sample or of these users; Redis has come as far.

        Of these users the places of their records are noted, too.
        """
        run, topic = self._run, _TOPICS[self._sort]
        expected: dict[str, Hash] = {}
        log = await offsets(run.kafka, [topic])
        self._partial = self._sort == "h" and any(log.starts.values())
        async for record in records(run.kafka, log.spans(topic)):
            # Records of users are keyed by them: another user's is not decoded.
            if record.key is not None and not self._asked(record.key.decode("utf-8", "replace"), users):
                continue
            effect = None if "profiles" in run.refused_by(record) else effect_of(record)
            if not isinstance(effect, Listed | Served) or not self._asked(effect.user_id, users):
                continue
            if isinstance(effect, Listed):
                name, value = LIST_FIELD, effect.value
            else:
                name, value = effect.playlist_id.encode(), effect.entry
            fields = expected.setdefault(effect.user_id, {})
            fields[name] = max(value, fields.get(name, b""))
            if users is not None:
                self._places[effect.user_id, name, value] = place_of(record)
        await run.reached(log, "redis")
        return {user: _newest(fields) for user, fields in expected.items() if user not in run.forgotten}

    def _asked(self, user_id: str, users: Collection[str] | None) -> bool:
        return self._run.sample.holds(user_id) if users is None else user_id in users

    def _differing(self, expected: Hash, held: Hash) -> list[bytes]:
        """The fields that differ. Where the log's start has expired, Redis may hold more."""
        return [name for name in differing(expected, held) if name in expected or not self._partial]

    def _note(self, user: str, expected: Hash, held: Hash) -> None:
        for name in self._differing(expected, held):
            values = expected.get(name), held.get(name)
            places = tuple(sorted({self._places.get((user, name, value), "") for value in values if value} - {""}))
            if self._sort == "u":
                log, store = map(_list, values)
                self._run.report.add(Fault("redis", "anime list differs", user, "", log, store, places))
            else:
                log, store = map(_line, values)
                what = f"playlist {name.decode('utf-8', 'replace')}"
                self._run.report.add(Fault("redis", "history differs", user, what, log, store, places))


def _newest(fields: Hash) -> Hash:
    """The lines that stay: see `trim` in services.profiles.scripts. Of a list there is one."""
    return dict(sorted(fields.items(), key=lambda line: (line[1], line[0]), reverse=True)[:HISTORY_LISTS])


def _list(value: bytes | None) -> str:
    """An anime list for people."""
    if value is None:
        return "nothing"
    return f"offset {int.from_bytes(value[:8], 'big')}, {value[8:].decode('utf-8', 'replace')}"


def _line(value: bytes | None) -> str:
    """A line of a history for people."""
    if value is None:
        return "nothing"
    try:
        at = datetime.fromtimestamp(int.from_bytes(value[:8], "big") / 1000, UTC).isoformat(timespec="milliseconds")
        songs = ", ".join(json.loads(value[10:]))
    except (ValueError, OverflowError, OSError):
        return f"bytes that are no line of a history: {value.hex()}"
    return f"served at {at.removesuffix('+00:00')}, revision {int.from_bytes(value[8:10], 'big')}: {songs}"
