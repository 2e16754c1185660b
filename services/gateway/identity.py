"""Identity and rate limits: bearer tokens, guests, and the paper's users, whose ids have their own namespace.

A verified identity (AniList) will be another way to get a `Session`; nothing else will change.
"""

import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import Final
from uuid import uuid4

from contracts.tokens import Session, Signer, TokenRefused
from services.common.settings import GatewaySettings
from services.gateway.problems import Refused

DAY_MS: Final = 86_400_000
_TOKEN_PROBLEMS: Final = {
    "malformed": "the bearer token is malformed",
    "forged": "the bearer token was not signed by this installation",
    "expired": "the session has expired",
}


def paper_user(username: str) -> str:
    """The user id of one of the paper's users: any unicode name maps to an id that no guest has."""
    name = unicodedata.normalize("NFC", username)
    return "paper-" + blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class Buckets:
    """Token buckets, one for each name. A bucket holds `burst` tokens and regains `per_second`.

    At most `most` buckets are kept. The least recently used one is dropped first, and starts full again.
    """

    def __init__(
        self, per_second: float, burst: float, *, most: int = 100_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._most = most
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> float:
        """Take a token. Returns 0.0, or the seconds until the next token if the bucket is empty."""
        now = self._clock()
        level, then = self._levels.pop(name, (self._burst, now))
        level = min(self._burst, level + (now - then) * self._per_second)
        wait = 0.0 if level >= 1 else (1 - level) / self._per_second
        self._levels[name] = (level if wait else level - 1, now)
        if len(self._levels) > self._most:
            self._levels.popitem(last=False)
        return wait


class Identity:
    """Opens sessions, identifies the user of a request, and enforces rate limits."""

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
            raise _unauthorised(_TOKEN_PROBLEMS[str(refusal)]) from None
        except UnicodeDecodeError:
            raise _unauthorised(_TOKEN_PROBLEMS["malformed"]) from None

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
