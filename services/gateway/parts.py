"""What the routes are made of, built once by the composition root."""

from dataclasses import dataclass

from starlette.requests import Request

from contracts.tokens import Receipt, Signer, TokenRefused
from services.common.clock import now_ms
from services.common.settings import Settings
from services.gateway.identity import Identity
from services.gateway.live import Hub
from services.gateway.log import Log
from services.gateway.metrics import Metrics
from services.gateway.problems import Refused
from services.gateway.recommender import Recommender
from services.gateway.stamp import Stamp, Stamper

_HOUR_MS = 3_600_000
_RECEIPT_WAS = {
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
    log: Log
    recommender: Recommender
    hub: Hub

    def reader(self, request: Request) -> str:
        """The user who asks. Raises Refused 401."""
        return self.identity.user_of(request.headers.get("authorization"), now_ms())

    def writer(self, request: Request) -> str:
        """The user who posts, counted against their share. Raises Refused 401 or 429."""
        user_id = self.reader(request)
        self.identity.charge_post(user_id)
        return user_id

    def stamp(self, user_id: str) -> Stamp:
        """What a post of this user that arrives now is stamped with."""
        return Stamp(user_id, now_ms(), int(self.settings.gateway.slot_token_hours * _HOUR_MS))

    def receipt_of(self, token: str | None, user_id: str) -> Receipt | None:
        """The user's receipt, None for none. Raises Refused 400."""
        if token is None:
            return None
        try:
            return self.signer.read_receipt(token, user_id=user_id)
        except TokenRefused as refused:
            why = _RECEIPT_WAS.get(str(refused), str(refused))
            raise Refused(400, "bad_receipt", f"not_before {why}; leave it out, or send the last receipt") from None
