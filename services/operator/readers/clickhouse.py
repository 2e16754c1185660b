"""ClickHouse over HTTP: the warehouse's own endpoint, or a server."""

from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import httpx

from contracts.marks import MarkName
from services.common.settings import ClickhouseSettings

_MARKS: Final = "SELECT topic_id, `partition`, mark FROM animusic.marks_clean"
_ESCAPED: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class ClickhouseRefused(ValueError):
    """ClickHouse refused a statement; `str()` is the first line of what it says."""


class ClickhouseReader:
    """Runs statements; `{name:Type}` in one takes its value from the parameters. A list is an Array(String).

    Every method may raise httpx.HTTPError and ClickhouseRefused.
    """

    def __init__(self, settings: ClickhouseSettings, seconds: float) -> None:
        """`seconds`: how long an answer may take."""
        parts = urlsplit(settings.dsn)
        scheme = "https" if parts.scheme in ("https", "clickhouses") else "http"
        url = urlunsplit((scheme, parts.netloc, "/", "", ""))
        # Reading the system's certificates takes longer than the whole question.
        self._client = httpx.AsyncClient(base_url=url, timeout=seconds, verify=scheme == "https")

    async def aclose(self) -> None:
        """Close the connection."""
        await self._client.aclose()

    async def rows(self, statement: str, **parameters: object) -> list[dict[str, Any]]:
        """A dictionary a row, as JSON says it: numbers of 64 bits may be text."""
        answer = await self._answer(statement, "JSON", parameters)
        found: list[dict[str, Any]] = answer.json()["data"]
        return found

    async def arrow(self, statement: str, **parameters: object) -> list[dict[str, Any]]:
        """A dictionary a row, by way of Arrow: bytes are bytes, and numbers are numbers."""
        # Imported here: the probe never needs it, and it takes 40 MB.
        import pyarrow as pa

        answer = await self._answer(statement, "ArrowStream", parameters)
        found: list[dict[str, Any]] = (
            pa.ipc.open_stream(answer.content).read_all().to_pylist() if answer.content else []
        )
        return found

    async def marks(self) -> dict[MarkName, int]:
        """How far the tables reach."""
        return {MarkName(r["topic_id"], int(r["partition"])): int(r["mark"]) for r in await self.rows(_MARKS)}

    async def _answer(self, statement: str, output: str, parameters: dict[str, object]) -> httpx.Response:
        # In the body, since a list of users is longer than an address may be.
        fields = {"query": statement, **{f"param_{name}": _text(value) for name, value in parameters.items()}}
        parts = {name: (None, value) for name, value in fields.items()}
        answer = await self._client.post("/", params={"default_format": output}, files=parts)
        if answer.is_error:
            message = answer.text.strip()
            raise ClickhouseRefused(
                message.splitlines()[0][:500] if message else f"ClickHouse answers {answer.status_code}"
            )
        return answer


def _text(value: object) -> str:
    """A parameter as ClickHouse reads it: an array literal, or plain text; escaped as in a tab-separated file."""
    if isinstance(value, list):
        value = "[" + ",".join("'" + str(one).replace("\\", "\\\\").replace("'", "\\'") + "'" for one in value) + "]"
    return str(value).translate(_ESCAPED)
