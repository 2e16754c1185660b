"""What became of served slots, in ClickHouse: the table that curves are drawn from, against the rows it is made of.

The rows themselves are held against the log one by one (`rows.py`); what follows from them is asked of ClickHouse, with
the very statement that fills the table. Both are read while events arrive, and a row's outcome comes a moment after the
row: what differs is asked again, and is a fault when it stays as it was.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from services.operator.readers.redis import batched
from services.operator.verify.model import Comparison, Fault
from services.operator.verify.registers import USERS_A_QUERY
from services.warehouse.migrations import migrations

_ROUNDS: Final = 6
_SECONDS: Final = 0.5
_VIEW: Final = "CREATE MATERIALIZED VIEW IF NOT EXISTS animusic.slot_outcomes_of_feedback TO animusic.slot_outcomes AS"
_COLUMNS: Final = (
    "user_id, toString(playlist_id) AS playlist, slot, song_id, toString(arm) AS arm, "
    "toString(attribution) AS attribution, shown, started, ended, skipped, "
    "tupleElement(watched, 1) AS ppm, tupleElement(watched, 2) AS watch_ms, tupleElement(watched, 3) AS duration_ms, "
    "tupleElement(liked, 1) AS occurred_ms, hex(tupleElement(liked, 2)) AS event, tupleElement(liked, 3) AS liking"
)
_KEY: Final = ("user_id", "playlist", "slot", "song_id", "arm", "attribution")
# Of each outcome that differs: what the rows say, and what the table holds; None where it is not there.
Differences = dict[tuple[Any, ...], tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]]


async def check_outcomes(run: Comparison, users: Collection[str]) -> None:
    """Compare every outcome of these users."""
    statement, done = _statement(), 0
    for some in batched(sorted(users), USERS_A_QUERY):
        run.tell("listeners' outcomes", done, len(users))
        await _check(run, statement, some)
        done += len(some)


async def _check(run: Comparison, statement: str, users: Sequence[str]) -> None:
    before: Differences = {}
    for _ in range(_ROUNDS):
        found: Differences = {}
        for row in await run.warehouse.arrow(statement, users=list(users)):
            key = tuple(row[name] for name in _KEY)
            expected, held = found.get(key, (None, None))
            found[key] = (row, held) if row["side"] == "rows" else (expected, row)
        if not found or found == before:
            break
        before, users = found, sorted({key[0] for key in found})
        await asyncio.sleep(_SECONDS)
    else:
        run.report.unsettle(users)
        return
    for key, sides in sorted(found.items()):
        user, playlist, slot, song, arm, attribution = key
        where = f"playlist {playlist} slot {slot}: {song} by {arm} ({attribution})"
        log, store = map(_described, sides)
        run.report.add(Fault("clickhouse", "outcome differs", user, where, log, store))


def _statement() -> str:
    """Of some users: outcomes that only the rows give, and outcomes that only the table holds."""
    (made,) = (
        statement.removeprefix(_VIEW)
        for migration in migrations()
        for statement in migration.statements()
        if statement.startswith(_VIEW)
    )
    expected = f"SELECT {_COLUMNS} FROM ({made}) WHERE user_id IN {{users:Array(String)}}"
    held = f"SELECT {_COLUMNS} FROM animusic.slot_outcomes FINAL WHERE user_id IN {{users:Array(String)}}"
    return (
        f"SELECT 'rows' AS side, * FROM ({expected} EXCEPT {held}) "
        f"UNION ALL SELECT 'table' AS side, * FROM ({held} EXCEPT {expected})"
    )


def _described(outcome: Mapping[str, Any] | None) -> str:
    """An outcome in words; "nothing" where there is none."""
    if outcome is None:
        return "nothing"
    flags = [name for name in ("shown", "started", "ended", "skipped") if outcome[name]]
    watched = [f"watched {outcome['watch_ms'] / 1000:g} of {outcome['duration_ms'] / 1000:g} s"]
    liked = [f"{'liked' if outcome['liking'] else 'un-liked'} at {outcome['occurred_ms']}"]
    return ", ".join(flags + watched * bool(outcome["duration_ms"]) + liked * bool(outcome["occurred_ms"])) or "no more"
