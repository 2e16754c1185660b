"""Reads the body of a request to the SQL endpoint: decompressed text, or the fields of a form."""

import email
from email.message import Message
from typing import Final

from starlette.requests import Request

from services.common.clickhouse import ClickhouseError
from services.warehouse.coding import TooLong, decoded, of_blocks

_LONGEST_BODY: Final = 1_000_000


def refused(reason: str, code: int) -> ClickhouseError:
    """An error of this endpoint, worded as ClickHouse words its own."""
    return ClickhouseError(f"Code: {code}. DB::Exception: Refused: {reason}.")


async def sent_text(request: Request, *, blocks: bool) -> str:
    """The body as text; `blocks` says that it is in ClickHouse's compressed blocks. Raises ClickhouseError."""
    body = await _body(request, blocks=blocks)
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise refused(
            "the statement is not UTF-8; if it is compressed, say so by Content-Encoding (or decompress=1)", 62
        ) from None


def is_form(request: Request) -> bool:
    """Whether the body is a multipart form."""
    return request.headers.get("content-type", "").startswith("multipart/form-data")


async def form_fields(request: Request) -> dict[str, str]:
    """The fields of a multipart form: clickhouse-connect sends one when the statement or its parameters are long.

    Raises ClickhouseError for a form with rows: ClickHouse would make a temporary table of them.
    """
    if not is_form(request):
        return {}
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    parts = email.message_from_bytes(head + await _body(request, blocks=False)).get_payload()
    fields: dict[str, str] = {}
    for part in parts if isinstance(parts, list) else []:
        name = part.get_param("name", header="content-disposition") if isinstance(part, Message) else None
        content = part.get_payload(decode=True) if isinstance(part, Message) else None
        if isinstance(name, str) and isinstance(content, bytes):
            fields[name] = content.decode(errors="replace")
    _refuse_rows(fields)
    return fields


def _refuse_rows(fields: dict[str, str]) -> None:
    table = next((name for name in fields if {f"{name}_structure", f"{name}_types"} & set(fields)), None)
    if table is not None:
        raise refused(f"the form has rows for a table {table}, but this endpoint is read-only", 164)


async def _body(request: Request, *, blocks: bool) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_BODY:
            raise _too_long()
    try:
        plain = decoded(bytes(body), request.headers.get("content-encoding", ""), _LONGEST_BODY)
        return of_blocks(plain, _LONGEST_BODY) if blocks else plain
    except TooLong:
        raise _too_long() from None
    except ValueError as error:
        raise refused(str(error), 271) from None


def _too_long() -> ClickhouseError:
    return refused(f"the request is longer than {_LONGEST_BODY} bytes", 307)
