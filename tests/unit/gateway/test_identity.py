"""Sessions, and the names of the paper's users."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.tokens import Session, Signer
from services.common.settings import GatewaySettings
from services.gateway.identity import DAY_MS, Identity, paper_user
from services.gateway.problems import Refused

NOW = 1_790_000_000_000
SIGNER = Signer(b"k" * 32)


@pytest.fixture
def identity() -> Identity:
    """Two posts a user, two sessions an address."""
    return Identity(SIGNER, GatewaySettings(posts_burst=2, posts_per_second=0.5, sessions_per_minute=2))


def test_each_guest_is_new_and_lasts_as_long_as_set(identity: Identity) -> None:
    tokens = [identity.open_guest("a", NOW) for _ in range(2)]
    users = {identity.user_of(f"Bearer {token}", NOW) for token, _ in tokens}
    assert users == {session.user_id for _, session in tokens}
    assert len(users) == 2
    assert {session.expires_at for _, session in tokens} == {NOW + 30 * DAY_MS}


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (None, "no bearer token"),
        ("", "no bearer token"),
        ("Bearer", "no bearer token"),
        ("Basic dTE6cHc=", "no bearer token"),
        ("Bearer x", "token is malformed"),
        ("Bearer " + Signer(b"x" * 32).session(Session("u1", NOW + 1)), "not signed"),
        ("Bearer " + SIGNER.session(Session("u1", NOW)), "expired"),
        ("Bearer " + SIGNER.session(Session("u1", NOW + 1))[:-2], "not signed"),
    ],
)
def test_the_401_says_how_to_get_a_session(identity: Identity, header: str | None, why: str) -> None:
    with pytest.raises(Refused) as refused:
        identity.user_of(header, NOW)
    assert refused.value.status == 401
    assert why in refused.value.message or "token is malformed" in refused.value.message
    assert "/v1/sessions" in refused.value.message
    assert refused.value.response().headers["www-authenticate"] == "Bearer"


def test_a_bearer_is_found_in_any_spelling_of_its_scheme(identity: Identity) -> None:
    token, session = identity.open_guest("a", NOW)
    assert identity.user_of(f"bearer  {token} ", NOW) == session.user_id


def test_too_many_posts_or_sessions_are_429_with_the_time_to_wait(identity: Identity) -> None:
    for _ in range(2):
        identity.charge_post("u1")
        identity.open_guest("a", NOW)
    identity.charge_post("u2")
    with pytest.raises(Refused) as posts:
        identity.charge_post("u1")
    with pytest.raises(Refused) as sessions:
        identity.open_guest("a", NOW)
    assert (posts.value.status, posts.value.response().headers["retry-after"]) == (429, "2")
    assert (sessions.value.status, sessions.value.response().headers["retry-after"]) == (429, "30")


@given(name=st.text(min_size=1, max_size=64))
def test_any_name_of_the_paper_is_an_id_and_no_guests(name: str) -> None:
    assert re.fullmatch(r"paper-[0-9a-f]{32}", paper_user(name))


def test_two_spellings_of_one_name_are_one_user_and_two_names_are_two() -> None:
    assert paper_user("e\u0301") == paper_user("\u00e9")
    assert paper_user("new") != paper_user("New")
