"""Questions to the warehouse over HTTP: its own endpoint, or a ClickHouse server."""

from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx


class Sql:
    """A connection that is kept open. `rows` raises httpx.HTTPError or ValueError with ClickHouse's own words."""

    def __init__(self, dsn: str, seconds: float) -> None:
        """`dsn`: http(s)://user:password@host:port/database."""
        parts = urlsplit(dsn)
        scheme = "https" if parts.scheme in ("https", "clickhouses") else "http"
        self._client = httpx.AsyncClient(base_url=urlunsplit((scheme, parts.netloc, "/", "", "")), timeout=seconds)

    async def close(self) -> None:
        """Let go of the connection."""
        await self._client.aclose()

    async def rows(self, statement: str, **parameters: object) -> list[dict[str, Any]]:
        """The result, a dictionary a row; `{name:Type}` in the statement takes its value from `parameters`."""
        asked = {"default_format": "JSON", **{f"param_{name}": str(value) for name, value in parameters.items()}}
        answer = await self._client.post("/", params=asked, content=statement)
        if answer.is_error:
            said = answer.text.strip()
            raise ValueError(said.splitlines()[0] if said else f"ClickHouse answered {answer.status_code}")
        found: list[dict[str, Any]] = answer.json()["data"]
        return found
