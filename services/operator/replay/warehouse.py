"""Asking the warehouse to rebuild its tables: it holds the engine, this side only watches."""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import httpx

from services.common.settings import Settings
from services.warehouse.rebuild_route import PATH, admin_token
from services.warehouse.rebuild_status import RebuildRequest, Status

_LOOK_SECONDS: Final = 0.25
_AWAY_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 10.0


def address(settings: Settings) -> str:
    """Where the warehouse process itself answers, without a path."""
    if settings.clickhouse.external:
        return f"http://{settings.warehouse.host}:{settings.warehouse.port}"
    parts = urlsplit(settings.clickhouse.dsn)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


class WarehouseRebuild:
    """A rebuild as its watcher sees it. A context.

    Every method may raise httpx.TransportError, and RuntimeError with the warehouse's own sentence.
    """

    def __init__(self, settings: Settings, at: str | None = None) -> None:
        self._client = httpx.AsyncClient(
            base_url=at or address(settings),
            headers={"authorization": f"Bearer {admin_token(settings.signing_key())}"},
            timeout=_ANSWER_SECONDS,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def start(self, request: RebuildRequest) -> Status:
        """Begin, or go on with what an interrupted one has built."""
        return self._read(await self._client.post(PATH, content=request.model_dump_json()))

    async def status(self) -> Status:
        """How it is."""
        return self._read(await self._client.get(PATH))

    async def stop(self) -> Status:
        """Stop it where it can go on."""
        return self._read(await self._client.delete(PATH))

    async def watch(self, request: RebuildRequest, tell: Callable[[Status], None] = lambda status: None) -> Status:
        """Start, and follow it to its end; a warehouse that is started again meanwhile is asked to go on.

        Returns the last status; its `error` says why it failed.
        """
        status = await self.start(request)
        away_since: float | None = None
        while True:
            tell(status)
            if status.state in ("done", "failed"):
                return status
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                status = await self._look(request)
                away_since = None
            except (httpx.TransportError, _Starting) as error:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > _AWAY_SECONDS:
                    raise ConnectionError(
                        f"the warehouse at {self._client.base_url} has been away for {_AWAY_SECONDS:.0f} s ({error}): "
                        "start it again and give the same command, which goes on from where it was"
                    ) from error

    async def _look(self, request: RebuildRequest) -> Status:
        status = await self.status()
        if status.state == "interrupted":
            return await self.start(request.model_copy(update={"new": False}))
        if status.state == "none":
            # The switch was brought to its end while the warehouse started again.
            return status.model_copy(update={"state": "done", "switched": True})
        return status

    def _read(self, answer: httpx.Response) -> Status:
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            raise _Starting(str(answer.json().get("error")))
        if answer.is_error:
            said = answer.json().get("error") if "json" in answer.headers.get("content-type", "") else answer.text
            raise RuntimeError(f"{said} ({self._client.base_url})")
        return Status.model_validate_json(answer.content)


class _Starting(RuntimeError):
    """The warehouse answers, and is not there yet."""
