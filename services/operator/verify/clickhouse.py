"""ClickHouse's side, asked in SQL where analysts ask."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import httpx
import pyarrow as pa

from contracts.fold import Folded
from contracts.marks import MarkName
from contracts.registers import FIRST_EXPOSURE, PLAYED, SERVED, VETO, Register
from services.common.clickhouse import parameter
from services.common.settings import ClickhouseSettings

_USERS_A_QUERY: Final = 200
_SECONDS: Final = 60.0
_MARKS: Final = "SELECT topic_id, `partition`, mark FROM animusic.marks_clean"
# What `log.Range` adds up, of rows that are not mere copies of each other.
RANGES: Final = """
SELECT intDiv(`offset`, {range:UInt64}) AS at, count() AS records, lower(hex(sum(digest))) AS digest
FROM (
    SELECT DISTINCT `offset`, (toUInt128(event_id) + halfMD5(user_id)) * (`offset` + 1) + received_ms AS digest, user_id
    FROM animusic.feedback
    WHERE topic_id = {topic_id:String} AND `partition` = {partition:UInt32}
        AND `offset` >= {first:UInt64} AND `offset` < {upto:UInt64}
)
GROUP BY at
"""
ROWS: Final = """
SELECT DISTINCT `offset`, toString(event_id) AS event_id, user_id, received_ms
FROM animusic.feedback
WHERE topic_id = {topic_id:String} AND `partition` = {partition:UInt32}
    AND `offset` >= {first:UInt64} AND `offset` < {upto:UInt64}
ORDER BY `offset`, received_ms, event_id, user_id
"""
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
_LISTENERS: Final = "SELECT uniq(user_id) AS listeners FROM animusic.feedback"
_FORGOTTEN: Final = "SELECT DISTINCT user_id FROM animusic.forgotten"


class Warehouse:
    """Reads. Every method may raise httpx.HTTPError, and RuntimeError with what ClickHouse says."""

    def __init__(self, settings: ClickhouseSettings) -> None:
        parts = urlsplit(settings.dsn)
        self._auth = (parts.username or "default", parts.password or "") if parts.username else None
        self._url = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
        self._client = httpx.AsyncClient(timeout=_SECONDS, auth=self._auth)

    async def aclose(self) -> None:
        """Hang up."""
        await self._client.aclose()

    async def ask(self, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of one statement."""
        answer = await self._client.post(
            self._url,
            params={"default_format": "ArrowStream"},
            files={
                "query": (None, statement),
                **{f"param_{name}": (None, parameter(value)) for name, value in parameters.items()},
            },
        )
        if answer.is_error:
            raise RuntimeError(f"ClickHouse says: {answer.text.strip()[:500]}")
        if not answer.content:
            return []
        found: list[dict[str, Any]] = pa.ipc.open_stream(answer.content).read_all().to_pylist()
        return found

    async def marks(self) -> dict[MarkName, int]:
        """How far each partition is."""
        return {MarkName(row["topic_id"], row["partition"]): row["mark"] for row in await self.ask(_MARKS)}

    async def listeners(self) -> int:
        """How many users have events, nearly."""
        (row,) = await self.ask(_LISTENERS)
        return int(row["listeners"])

    async def forgotten(self) -> set[str]:
        """Who is forgotten."""
        return {row["user_id"] for row in await self.ask(_FORGOTTEN)}

    async def folds(self, users: Collection[str]) -> dict[str, Folded]:
        """The registers of these users, encoded as `contracts.fold` encodes them; absent ones are left out."""
        found: dict[str, Folded] = {}
        for some in pieces(sorted(users)):
            asked = listed(some)
            for row in await self.ask(_REGISTERS, users=asked):
                _add_song(found.setdefault(row["user_id"], Folded()), row)
            for row in await self.ask(_VETOES, users=asked):
                found.setdefault(row["user_id"], Folded()).vetoes[row["anime_id"]] = encoded(VETO, row["veto"])
            for row in await self.ask(_PLAYED, users=asked):
                played = encoded(PLAYED, row["played"])
                found.setdefault(row["user_id"], Folded()).played[row["song_id"], row["play_id"]] = played
        return found


def listed(users: Iterable[str]) -> str:
    """Users as the value of a parameter `Array(String)`."""
    return "[" + ",".join("'" + user.replace("\\", "\\\\").replace("'", "\\'") + "'" for user in users) + "]"


def pieces(users: list[str]) -> Iterable[list[str]]:
    """As many as a query asks for at once."""
    for start in range(0, len(users), _USERS_A_QUERY):
        yield users[start : start + _USERS_A_QUERY]


def _add_song(user: Folded, row: Mapping[str, Any]) -> None:
    packed = b"".join(encoded(register, row[register.name]) for register in SERVED)
    if packed.strip(b"\0"):
        user.songs[row["song_id"]] = packed
    exposure = encoded(FIRST_EXPOSURE, row[FIRST_EXPOSURE.name])
    if exposure != FIRST_EXPOSURE.identity:
        user.exposures[row["song_id"]] = exposure


def encoded(register: Register, value: Mapping[str, Any]) -> bytes:
    """A tuple of ClickHouse as the register's bytes."""
    return register.encode(*(value[name] for name, _ in register.fields))
