"""Who asks: bearer tokens, guests, and the paper's users in a namespace of their own.

A verified identity (AniList) will be one more way to come by a `Session`; everything behind it stays the same.
"""

import unicodedata
from hashlib import blake2b
from uuid import uuid4

from contracts.tokens import Session, Signer, TokenRefused
from services.common.settings import GatewaySettings
from services.gateway.limits import Buckets
from services.gateway.problems import Refused

DAY_MS = 86_400_000
_WHAT_TO_DO = {
    "malformed": "the bearer token is not one of ours",
    "forged": "the bearer token was not signed by this installation",
    "expired": "the session has expired",
}


def paper_user(username: str) -> str:
    """The user id of one of the paper's users: any unicode name maps to an id, and never to a guest's."""
    name = unicodedata.normalize("NFC", username)
    return "paper-" + blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class Identity:
    """Opens sessions and says whose a request is, within each user's share."""

    def __init__(self, signer: Signer, settings: GatewaySettings) -> None:
        self._signer = signer
        self._session_ms = int(settings.session_days * DAY_MS)
        self._posts = Buckets(settings.posts_per_second, settings.posts_burst)
        self._sessions = Buckets(settings.sessions_per_minute / 60, max(1.0, settings.sessions_per_minute))

    def open_guest(self, address: str, now: int) -> tuple[str, Session]:
        """A session for a new guest: (token, session). Raises Refused 429."""
        self._charge(self._sessions, address, "this address opens sessions too fast")
        session = Session(f"guest-{uuid4().hex}", now + self._session_ms)
        return self._signer.session(session), session

    def user_of(self, authorization: str | None, now: int) -> str:
        """The user of a bearer. Raises Refused 401."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _unauthorised("the Authorization header has no bearer token")
        try:
            return self._signer.read_session(token.strip(), now=now).user_id
        except TokenRefused as refusal:
            raise _unauthorised(_WHAT_TO_DO[str(refusal)]) from None
        except UnicodeDecodeError:
            raise _unauthorised(_WHAT_TO_DO["malformed"]) from None

    def charge_post(self, user_id: str) -> None:
        """Count one post of a user. Raises Refused 429."""
        self._charge(self._posts, user_id, "this user posts too fast; send events in batches")

    @staticmethod
    def _charge(buckets: Buckets, name: str, sentence: str) -> None:
        wait = buckets.take(name)
        if wait:
            raise Refused(429, "too_many", f"{sentence}; wait for Retry-After", retry_after=wait)


def _unauthorised(why: str) -> Refused:
    return Refused(401, "unauthorised", f'{why}; POST /v1/sessions {{"guest": true}} opens a session')
