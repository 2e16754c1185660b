"""The dependencies of the routes: the gateway's parts, and the user of a request."""

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.requests import Request

from contracts.tokens import Receipt, Signer, TokenRefused
from services.common.process.clock import now_ms
from services.common.settings import Settings
from services.gateway.event_log import EventLog
from services.gateway.identity import Identity
from services.gateway.live import Hub
from services.gateway.metrics import Metrics
from services.gateway.problems import Refused
from services.gateway.recommender_client import RecommenderClient
from services.gateway.stamp import Stamp, Stamper

_HOUR_MS: Final = 3_600_000
_RECEIPT_PROBLEMS: Final = {
    "malformed": "is not a receipt",
    "forged": "was not signed by this installation",
    "foreign": "is another user's",
}


@dataclass(frozen=True)
class Parts:
    """Everything that a route may use."""

    settings: Settings
    metrics: Metrics
    signer: Signer
    stamper: Stamper
    identity: Identity
    event_log: EventLog
    recommender: RecommenderClient
    hub: Hub

    def stamp(self, user_id: str) -> Stamp:
        """The stamp of a post of this user that arrives now."""
        return Stamp(user_id, now_ms(), int(self.settings.gateway.slot_token_hours * _HOUR_MS))

    def receipt_of(self, token: str | None, user_id: str) -> Receipt | None:
        """The user's receipt; None without a token. Raises Refused 400."""
        if token is None:
            return None
        try:
            return self.signer.read_receipt(token, user_id=user_id)
        except TokenRefused as refused:
            why = _RECEIPT_PROBLEMS.get(str(refused), str(refused))
            raise Refused(400, "bad_receipt", f"not_before {why}; leave it out, or send the last receipt") from None


async def _parts(request: Request) -> Parts:
    return _parts_of(request)


def _parts_of(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


class _Session(SecurityBase):
    """The user of the request's bearer token. Raises Refused 401."""

    scheme_name = "bearer"
    model = HTTPBearer()

    async def __call__(self, request: Request) -> str:
        return _parts_of(request).identity.user_of(request.headers.get("authorization"), now_ms())


class _SessionWithinRate(_Session):
    """The same, counted against the user's rate limit. Raises Refused 401 or 429."""

    async def __call__(self, request: Request) -> str:
        user_id = await super().__call__(request)
        _parts_of(request).identity.charge_post(user_id)
        return user_id


# Parameters of routes: the parts; the user of a read; the user of a write, within the rate limit.
GatewayParts = Annotated[Parts, Depends(_parts)]
Reader = Annotated[str, Depends(_Session())]
Writer = Annotated[str, Depends(_SessionWithinRate())]
