"""Signed tokens: sessions, served slots, receipts.

All are `base64url(payload || HMAC-SHA256 truncated to 16 bytes)`, with a purpose byte under the signature, so that one
kind is not accepted as another. Verifying needs the key and no store.
Errors are `TokenRefused`; its reason is safe to show.
"""

import binascii
import hmac
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final
from uuid import UUID

from contracts.arms import ARM_CODES, ARM_OF_CODE

_MAC_BYTES: Final = 16
_HASH: Final = "sha256"
_SLOT, _RECEIPT, _SESSION = b"S", b"R", b"U"
# user digest, playlist, revision, slot, song digest, arm, P(arm at slot), P(song | arm), model version, issued at
_SLOT_STRUCT: Final = struct.Struct(">8s16sHB8sBdd8sQ")
_RECEIPT_STRUCT: Final = struct.Struct(">8s16sIQ")
_SESSION_STRUCT: Final = struct.Struct(">Q")


class TokenRefused(ValueError):
    """An invalid token. `str()` is a short reason: malformed, forged, foreign, swapped, stale or expired."""


@dataclass(frozen=True)
class SignedSlot:
    """What a slot token verifies. Probabilities are those of the draw; `model_version` is 16 hex digits or None."""

    playlist_id: UUID
    revision: int
    slot: int
    arm: str
    p_arm: float
    p_song: float
    model_version: str | None
    issued_at: int


@dataclass(frozen=True)
class Receipt:
    """The position of accepted events: topic id (32 hex digits), partition, offset of its last record."""

    topic_id: str
    partition: int
    offset: int


@dataclass(frozen=True)
class Session:
    """The user of a bearer token, until `expires_at` (ms)."""

    user_id: str
    expires_at: int


@lru_cache(maxsize=50_000)
def _digest8(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=8).digest()


class Signer:
    """Signs and verifies with one secret key of at least 32 bytes."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 32:
            raise ValueError("the signing key must have at least 32 bytes; create one with `openssl rand -hex 32`")
        self._key = key

    def _sign(self, purpose: bytes, payload: bytes) -> str:
        mac = hmac.digest(self._key, purpose + payload, _HASH)[:_MAC_BYTES]
        return urlsafe_b64encode(payload + mac).rstrip(b"=").decode()

    def _verify(self, purpose: bytes, token: str) -> bytes:
        try:
            raw = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
        except (binascii.Error, ValueError):
            raise TokenRefused("malformed") from None
        payload, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if not hmac.compare_digest(hmac.digest(self._key, purpose + payload, _HASH)[:_MAC_BYTES], mac):
            raise TokenRefused("forged")
        return payload

    # ---- served slots -------------------------------------------------------------------------------------------

    def slot(self, user_id: str, song_id: str, signed_slot: SignedSlot) -> str:
        """The token of a served slot, 112 characters."""
        version = bytes.fromhex(signed_slot.model_version) if signed_slot.model_version else bytes(8)
        payload = _SLOT_STRUCT.pack(
            _digest8(user_id),
            signed_slot.playlist_id.bytes,
            signed_slot.revision,
            signed_slot.slot,
            _digest8(song_id),
            ARM_CODES[signed_slot.arm],
            signed_slot.p_arm,
            signed_slot.p_song,
            version,
            signed_slot.issued_at,
        )
        return self._sign(_SLOT, payload)

    def read_slot(self, token: str, *, user_id: str, song_id: str, now: int, max_age_ms: int) -> SignedSlot:
        """The signed slot, if it is this user's, of this song, and not older than `max_age_ms`.

        Raises TokenRefused: malformed, forged, foreign (another user's), swapped (another song's), stale.
        """
        payload = self._verify(_SLOT, token)
        if len(payload) != _SLOT_STRUCT.size:
            raise TokenRefused("malformed")
        user, playlist, revision, slot, song, arm, p_arm, p_song, version, issued = _SLOT_STRUCT.unpack(payload)
        if user != _digest8(user_id):
            raise TokenRefused("foreign")
        if song != _digest8(song_id):
            raise TokenRefused("swapped")
        if now - issued > max_age_ms:
            raise TokenRefused("stale")
        model_version = version.hex() if any(version) else None
        name = ARM_OF_CODE.get(arm)
        if name is None:
            raise TokenRefused("malformed")
        return SignedSlot(UUID(bytes=playlist), revision, slot, name, p_arm, p_song, model_version, issued)

    # ---- receipts -----------------------------------------------------------------------------------------------

    def receipt(self, user_id: str, receipt: Receipt) -> str:
        """The opaque receipt of an accepted write."""
        packed = _RECEIPT_STRUCT.pack(
            _digest8(user_id), bytes.fromhex(receipt.topic_id), receipt.partition, receipt.offset
        )
        return self._sign(_RECEIPT, packed)

    def read_receipt(self, token: str, *, user_id: str) -> Receipt:
        """The receipt, if it is this user's. Raises TokenRefused: malformed, forged, foreign."""
        payload = self._verify(_RECEIPT, token)
        if len(payload) != _RECEIPT_STRUCT.size:
            raise TokenRefused("malformed")
        user, topic_id, partition, offset = _RECEIPT_STRUCT.unpack(payload)
        if user != _digest8(user_id):
            raise TokenRefused("foreign")
        return Receipt(topic_id.hex(), partition, offset)

    # ---- sessions -----------------------------------------------------------------------------------------------

    def session(self, session: Session) -> str:
        """A bearer token for a user until `expires_at`."""
        return self._sign(_SESSION, _SESSION_STRUCT.pack(session.expires_at) + session.user_id.encode())

    def read_session(self, token: str, *, now: int) -> Session:
        """The session of a bearer token. Raises TokenRefused: malformed, forged, expired."""
        payload = self._verify(_SESSION, token)
        if len(payload) <= _SESSION_STRUCT.size:
            raise TokenRefused("malformed")
        (expires_at,) = _SESSION_STRUCT.unpack_from(payload)
        if now >= expires_at:
            raise TokenRefused("expired")
        return Session(payload[_SESSION_STRUCT.size :].decode(), expires_at)
