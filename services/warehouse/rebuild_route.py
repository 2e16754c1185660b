"""The admin route: `animusic replay warehouse` asks the process that holds the engine.

Its callers prove that they know the signing key of this installation.
"""

import hmac
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from contracts.events import first_error
from services.warehouse.rebuild import Rebuilds
from services.warehouse.rebuild_status import RebuildRequest, Status

PATH: Final = "/admin/rebuild"


def admin_token(signing_key: bytes) -> str:
    """What the route asks for as a bearer token: whoever can read the signing key may rebuild."""
    return blake2b(signing_key, digest_size=32, person=b"warehouse-admin").hexdigest()


class RebuildRoute:
    """GET how it is, POST a request, DELETE stops it. `rebuilds` is known once the service has started.

    `signing_key` may raise ValueError: then nobody may rebuild, and the answer says why.
    """

    def __init__(self, signing_key: Callable[[], bytes]) -> None:
        self._signing_key = signing_key
        self.rebuilds: Rebuilds | None = None

    def routes(self) -> list[Route]:
        """For the endpoint's application."""
        return [Route(PATH, self._answer, methods=["GET", "POST", "DELETE"])]

    async def _answer(self, request: Request) -> Response:
        try:
            wanted = f"Bearer {admin_token(self._signing_key())}"
        except ValueError as error:
            return _refusal(503, str(error))
        if not hmac.compare_digest(request.headers.get("authorization", "").encode(), wanted.encode()):
            return _refusal(401, "this route is for `animusic replay warehouse` with the secret of this installation")
        if self.rebuilds is None:
            return _refusal(503, "the warehouse is starting")
        if request.method == "POST":
            return await self._start(request, self.rebuilds)
        if request.method == "DELETE":
            await self.rebuilds.stop()
        return _said(await self.rebuilds.status())

    async def _start(self, request: Request, rebuilds: Rebuilds) -> Response:
        try:
            rebuilds.start(RebuildRequest.model_validate_json(await request.body()))
        except ValidationError as error:
            return _refusal(400, first_error(error))
        except RuntimeError as error:
            return _refusal(409, str(error))
        return _said(await rebuilds.status(), 202)


def _said(status: Status, code: int = 200) -> Response:
    return JSONResponse(status.model_dump(), code)


def _refusal(code: int, reason: str) -> Response:
    return JSONResponse({"error": reason}, code)
