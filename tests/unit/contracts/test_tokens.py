"""Signed tokens: what each kind verifies, and every way in which one is invalid."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.arms import ARMS
from contracts.tokens import Receipt, Session, SignedSlot, Signer, TokenRefused

NOW = 1_790_000_000_000
HOUR_MS = 3_600_000
SIGNER = Signer(b"k" * 32)
CLAIM = SignedSlot(UUID(int=7), 1, 2, "tfidf", 0.25, 0.5, "00000000000000ff", NOW)
SLOT = SIGNER.slot("u1", "song-a", CLAIM)
RECEIPT = SIGNER.receipt("u1", Receipt("ab" * 16, 3, 17))
SESSION = SIGNER.session(Session("u1", NOW + HOUR_MS))


def read_slot(token: str, *, user: str = "u1", song: str = "song-a", now: int = NOW) -> SignedSlot:
    return SIGNER.read_slot(token, user_id=user, song_id=song, now=now, max_age_ms=48 * HOUR_MS)


def altered(token: str, byte: int) -> str:
    raw = bytearray(urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    raw[byte] ^= 1
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


signed_slots = st.builds(
    SignedSlot,
    playlist_id=st.uuids(),
    revision=st.integers(0, 0xFFFF),
    slot=st.integers(0, 0xFF),
    arm=st.sampled_from(ARMS),
    p_arm=st.floats(0, 1),
    p_song=st.floats(0, 1),
    model_version=st.none() | st.integers(1, 2**64 - 1).map(lambda n: f"{n:016x}"),
    issued_at=st.integers(0, NOW),
)


@given(signed_slot=signed_slots, user=st.text(min_size=1, max_size=20), song=st.text(min_size=1, max_size=20))
def test_a_slot_token_gives_back_what_was_signed(signed_slot: SignedSlot, user: str, song: str) -> None:
    token = SIGNER.slot(user, song, signed_slot)
    assert SIGNER.read_slot(token, user_id=user, song_id=song, now=NOW, max_age_ms=NOW) == signed_slot


def test_a_slot_token_is_short_enough_for_an_event() -> None:
    assert len(SLOT) == 112


@pytest.mark.parametrize(
    ("token", "asked", "reason"),
    [
        pytest.param(SLOT, {"user": "u2"}, "foreign", id="another user's"),
        pytest.param(SLOT, {"song": "song-b"}, "swapped", id="another song's"),
        pytest.param(SIGNER.slot("u1", "song-b", replace(CLAIM, slot=3)), {}, "swapped", id="of another slot"),
        pytest.param(SLOT, {"now": NOW + 48 * HOUR_MS + 1}, "stale", id="a millisecond too old"),
        pytest.param(Signer(b"x" * 32).slot("u1", "song-a", CLAIM), {}, "forged", id="signed with another key"),
        pytest.param(SLOT[:-4], {}, "forged", id="truncated"),
        pytest.param(SLOT[4:], {}, "forged", id="its head is missing"),
        pytest.param("", {}, "forged", id="empty"),
        pytest.param("AAAA", {}, "forged", id="shorter than a signature"),
        pytest.param("no base64!\u00e9", {}, "malformed", id="no base64"),
        pytest.param("A", {}, "malformed", id="one character"),
        pytest.param(SLOT * 4, {}, "forged", id="several in a row"),
        pytest.param(RECEIPT, {}, "forged", id="a receipt"),
        pytest.param(SESSION, {}, "forged", id="a session"),
    ],
)
def test_an_invalid_slot_token_says_why(token: str, asked: dict[str, object], reason: str) -> None:
    with pytest.raises(TokenRefused) as refused:
        read_slot(token, **asked)  # type: ignore[arg-type]
    assert str(refused.value) == reason


@pytest.mark.parametrize("byte", range(84))
def test_no_byte_of_a_slot_token_can_be_changed(byte: int) -> None:
    with pytest.raises(TokenRefused) as refused:
        read_slot(altered(SLOT, byte))
    assert str(refused.value) == "forged"


def test_a_slot_token_is_valid_until_its_last_millisecond() -> None:
    assert read_slot(SLOT, now=NOW + 48 * HOUR_MS) == CLAIM


@pytest.mark.parametrize("offset", [0, 1, 2**31, 2**53, 2**64 - 1])
def test_a_receipt_keeps_any_offset(offset: int) -> None:
    receipt = Receipt("0f" * 16, 2**32 - 1, offset)
    assert SIGNER.read_receipt(SIGNER.receipt("u1", receipt), user_id="u1") == receipt


@pytest.mark.parametrize(
    ("token", "user", "reason"),
    [
        pytest.param(RECEIPT, "u2", "foreign", id="another user's"),
        pytest.param(altered(RECEIPT, 35), "u1", "forged", id="a later offset"),
        pytest.param(altered(RECEIPT, 10), "u1", "forged", id="another topic"),
        pytest.param(RECEIPT[:-1], "u1", "malformed", id="truncated by a character"),
        pytest.param(SLOT, "u1", "forged", id="a slot token"),
        pytest.param(SESSION, "u1", "forged", id="a session"),
        pytest.param("{}", "u1", "forged", id="JSON"),
    ],
)
def test_an_invalid_receipt_says_why(token: str, user: str, reason: str) -> None:
    with pytest.raises(TokenRefused) as refused:
        SIGNER.read_receipt(token, user_id=user)
    assert str(refused.value) in (reason, "forged")


def test_a_session_names_its_user_until_it_expires() -> None:
    assert SIGNER.read_session(SESSION, now=NOW + HOUR_MS - 1) == Session("u1", NOW + HOUR_MS)
    with pytest.raises(TokenRefused, match="expired"):
        SIGNER.read_session(SESSION, now=NOW + HOUR_MS)


@pytest.mark.parametrize("token", [SLOT, RECEIPT, SESSION[:-3], altered(SESSION, 0), altered(SESSION, 9), "", "abc"])
def test_an_invalid_session_is_rejected(token: str) -> None:
    with pytest.raises(TokenRefused, match=r"forged|malformed"):
        SIGNER.read_session(token, now=NOW)


def test_a_short_key_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match="openssl rand"):
        Signer(b"short")
