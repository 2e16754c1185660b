"""The synthetic listener: likes and un-likes a song, and measures how soon profile, playlist and warehouse have it.

It uses the system as any client does, as a user of the reserved namespace whom no analyst's view shows. One song a
playlist, one playlist in six hours: its profile grows by four songs a day.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID, uuid4

import httpx

from contracts.ledger import PROBE_PREFIX, Round
from contracts.tokens import Session, Signer
from services.common.process.clock import now_ms
from services.operator.readers.clickhouse import ClickhouseReader

USER: Final = f"{PROBE_PREFIX}listener"
_PLAYLIST_SECONDS: Final = 6 * 3600.0
_SESSION_MS: Final = 3_600_000
_LEG_SECONDS: Final = 10.0
_FIRST_WAIT: Final = 0.01
_LONGEST_WAIT: Final = 0.25
_STORED: Final = "SELECT count() AS n FROM animusic.feedback WHERE user_id = {user:String} AND event_id = {id:UUID}"


class SyntheticListener:
    """One listener; `round` is one like or un-like."""

    def __init__(self, url: str, signer: Signer, warehouse: ClickhouseReader) -> None:
        """`url` of the gateway; `signer` has its key, so that no session route need know of this user."""
        self._http = httpx.AsyncClient(base_url=url, timeout=_LEG_SECONDS)
        self._signer = signer
        self._warehouse = warehouse
        self._playlist: dict[str, Any] = {}
        self._playlist_at = float("-inf")
        self._liked = False

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def round(self) -> Round:
        """Post, and wait until it arrives everywhere. Failures of the system are in `trouble`; they raise nothing."""
        began = now_ms()
        try:
            accepted, answer, event_id = await self._post()
        except (httpx.HTTPError, ValueError, LookupError) as error:
            self._playlist_at = float("-inf")
            return Round(kind="round", user_id=USER, began_at=began, trouble=_described("post", error))
        legs = {
            "profile": self._in_profile,
            "playlist": lambda: self._in_playlist(answer["receipt"]),
            "warehouse": lambda: self._in_warehouse(event_id),
        }
        found = dict(zip(legs, await asyncio.gather(*(self._leg(*leg) for leg in legs.items())), strict=True))
        took: dict[str, Any] = {f"{leg}_ms": ms for leg, ms in found.items() if isinstance(ms, float)}
        trouble = "; ".join(late for late in found.values() if isinstance(late, str))[:400] or None
        return Round(kind="round", user_id=USER, began_at=began, accepted_ms=accepted, trouble=trouble, **took)

    async def _post(self) -> tuple[float, dict[str, Any], UUID]:
        headers = self._bearer()
        if time.monotonic() - self._playlist_at > _PLAYLIST_SECONDS:
            self._playlist = await self._post_json("/v1/playlists", {}, headers)
            self._playlist_at, self._liked = time.monotonic(), False
        slot, event_id, self._liked = self._playlist["slots"][0], uuid4(), not self._liked
        event = {
            "event_id": str(event_id), "kind": "liked" if self._liked else "unliked", "song_id": slot["song_id"],
            "slot_token": slot["slot_token"], "occurred_at": now_ms(), "schema": 1,
        }  # fmt: skip
        started = time.perf_counter()
        answer = await self._post_json("/v1/events", {"events": [event]}, headers)
        if answer["rejected"]:
            raise ValueError(f"rejected: {answer['rejected'][0]['reason']}")
        return 1_000 * (time.perf_counter() - started), answer, event_id

    async def _in_profile(self) -> bool:
        answer = await self._http.get("/v1/me/profile", headers=self._bearer())
        answer.raise_for_status()
        return (self._playlist["slots"][0]["song_id"] in answer.json()["liked"]) == self._liked

    async def _in_playlist(self, receipt: str) -> bool:
        body = {"from_slot": 1, "not_before": receipt}
        answer = await self._post_json(f"/v1/playlists/{self._playlist['playlist_id']}/rest", body, self._bearer())
        return bool(answer["fresh"])

    async def _in_warehouse(self, event_id: UUID) -> bool:
        return int((await self._warehouse.rows(_STORED, user=USER, id=event_id))[0]["n"]) > 0

    async def _post_json(self, path: str, body: object, headers: dict[str, str]) -> dict[str, Any]:
        answer = await self._http.post(path, json=body, headers=headers)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    async def _leg(self, leg: str, arrived: Callable[[], Awaitable[bool]]) -> float | str:
        """Milliseconds until it arrived, or why it did not."""
        started, wait = time.perf_counter(), _FIRST_WAIT
        try:
            async with asyncio.timeout(_LEG_SECONDS):
                while not await arrived():
                    await asyncio.sleep(wait)
                    wait = min(_LONGEST_WAIT, 1.5 * wait)
        except (TimeoutError, httpx.HTTPError, ValueError) as error:
            return _described(leg, error)
        return 1_000 * (time.perf_counter() - started)

    def _bearer(self) -> dict[str, str]:
        token = self._signer.session(Session(USER, now_ms() + _SESSION_MS))
        return {"Authorization": f"Bearer {token}"}


def _described(leg: str, error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"{leg}: not within {_LEG_SECONDS:.0f} s"
    if isinstance(error, httpx.HTTPStatusError):
        return f"{leg}: {error.response.status_code} {error.response.text[:120]}"
    return f"{leg}: {type(error).__name__} {error}"[:200]
