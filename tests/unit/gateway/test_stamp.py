"""Stamping: what the gateway makes of a post, without a clock or a store."""

from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.arms import ARMS
from contracts.events import ClientEvent, FeedbackEvent
from contracts.tokens import SignedSlot, Signer
from services.gateway.stamp import Attribution, Stamp, Stamped, Stamper, log_value

NOW = 1_790_000_000_000
HOUR_MS = 3_600_000
SIGNER = Signer(b"k" * 32)
STAMP = Stamp("u1", NOW, 48 * HOUR_MS)
ID = "0198b0a4-6c5e-7d53-a9c2-0f2f8f0a7d11"
LIKED: dict[str, Any] = {"event_id": ID, "kind": "liked", "occurred_at": NOW, "song_id": "song-a"}
PROGRESS: dict[str, Any] = {**LIKED, "kind": "progress", "watch_seconds": 61.5, "duration_seconds": 90}
CLAIM = SignedSlot(UUID(int=7), 1, 2, "tfidf", 0.25, 0.5, "00000000000000ff", NOW - 1000)


def stamper() -> Stamper:
    return Stamper(SIGNER)


def token(user: str = "u1", song: str = "song-a", issued_at: int = NOW - 1000) -> str:
    return SIGNER.slot(user, song, SignedSlot(UUID(int=7), 1, 2, "tfidf", 0.25, 0.5, "00000000000000ff", issued_at))


def logged(stamped: Stamped) -> dict[str, Any]:
    assert not stamped.rejected
    (value,) = stamped.values
    FeedbackEvent.model_validate_json(value)
    return orjson.loads(value)


ids = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)
seconds = st.floats(0, 86_400)
client_events = st.fixed_dictionaries(
    {"event_id": st.uuids(), "occurred_at": st.integers(NOW - HOUR_MS, NOW), "song_id": ids, "anime_id": ids},
    optional={
        "kind": st.sampled_from(("shown", "started", "ended", "liked", "unliked", "vetoed", "unvetoed")),
        "play_id": st.none() | st.uuids(),
        "played_seconds": st.none() | seconds,
        "duration_seconds": st.none() | st.floats(0.001, 86_400),
        "direction": st.sampled_from((None, "next", "prev")),
        "link": st.none() | st.text(max_size=30),
        "rate": st.none() | st.floats(1e-9, 16),
        "muted": st.none() | st.booleans(),
        "hidden": st.none() | st.booleans(),
    },
).map(lambda fields: ClientEvent.model_validate({"kind": "liked", **fields}))
signed_slots = st.builds(
    SignedSlot,
    playlist_id=st.uuids(),
    revision=st.integers(0, 0xFFFF),
    slot=st.integers(0, 0xFF),
    arm=st.sampled_from(ARMS),
    p_arm=st.floats(0, 1),
    p_song=st.floats(0, 1, allow_subnormal=True),
    model_version=st.none() | st.integers(0, 2**64 - 1).map(lambda n: f"{n:016x}"),
    issued_at=st.integers(NOW - HOUR_MS, NOW),
)
attributions = st.one_of(
    st.just(Attribution("none")),
    st.sampled_from(("stale", "forged", "no_song")).map(lambda why: Attribution("refused", why)),
    st.sampled_from(ARMS).map(lambda arm: Attribution("claimed", arm=arm)),
    signed_slots.map(lambda signed_slot: Attribution("slot", signed_slot=signed_slot)),
)


# Many fields make an event: on a loaded machine making them takes long, which says nothing of the encoder.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(event=client_events, attribution=attributions)
def test_the_fast_encoder_writes_the_very_bytes_of_the_contract(event: ClientEvent, attribution: Attribution) -> None:
    signed_slot = vars(attribution.signed_slot) if attribution.signed_slot else {}
    fields = {name: value for name, value in vars(event).items() if name in FeedbackEvent.model_fields}
    record = FeedbackEvent(
        **{
            **fields,
            **event.millis(),
            "user_id": STAMP.user_id,
            "received_at": STAMP.received_at,
            "attribution": attribution.kind,
            "refusal": attribution.refusal,
            "arm": attribution.arm,
            **signed_slot,
        }
    )
    assert log_value(event, attribution, STAMP, event.occurred_at) == record.log_value()


def test_progress_is_logged_in_whole_milliseconds() -> None:
    watched = {**LIKED, "kind": "progress", "watch_seconds": 61.5, "played_seconds": 58, "duration_seconds": 60}
    value = logged(stamper().post([watched], STAMP))
    assert (value["watch_ms"], value["played_ms"], value["duration_ms"]) == (60_000, 58_000, 60_000)


def test_a_client_cannot_set_its_user_or_arm() -> None:
    forged = {"user_id": "u2", "received_at": 1, "attribution": "slot", "arm": "tfidf", "playlist_id": ID, "p_arm": 1}
    value = logged(stamper().post([{**LIKED, **forged}], STAMP))
    assert value == {
        "schema": 1, "event_id": ID, "kind": "liked", "user_id": "u1", "occurred_at": NOW, "received_at": NOW,
        "song_id": "song-a", "attribution": "none",
    }  # fmt: skip


def test_a_valid_token_stamps_the_arm() -> None:
    value = logged(stamper().post([{**LIKED, "slot_token": token()}], STAMP))
    assert value["attribution"] == "slot"
    stamped = {name: value[name] for name in ("arm", "revision", "slot", "p_arm", "p_song", "model_version")}
    assert stamped == {
        "arm": "tfidf", "revision": 1, "slot": 2, "p_arm": 0.25, "p_song": 0.5, "model_version": "00000000000000ff",
    }  # fmt: skip
    assert (value["playlist_id"], value["issued_at"]) == (str(UUID(int=7)), NOW - 1000)


@pytest.mark.parametrize(
    ("given_token", "refusal"),
    [
        pytest.param(token(user="u2"), "foreign", id="another user's"),
        pytest.param(token(song="song-b"), "swapped", id="another slot's"),
        pytest.param(token(issued_at=NOW - 49 * HOUR_MS), "stale", id="stale"),
        pytest.param(Signer(b"x" * 32).slot("u1", "song-a", CLAIM), "forged", id="forged"),
        pytest.param(token()[:-8], "forged", id="truncated"),
        pytest.param("\u00e9", "malformed", id="no base64"),
        pytest.param("", "forged", id="empty"),
    ],
)
def test_an_invalid_token_leaves_the_arm_null_and_says_why(given_token: str, refusal: str) -> None:
    stamped = stamper().post([{**LIKED, "slot_token": given_token}], STAMP)
    value = logged(stamped)
    assert (value["attribution"], value["refusal"]) == ("refused", refusal)
    assert not {"arm", "playlist_id", "slot", "revision", "p_arm", "p_song", "model_version"} & set(value)
    assert stamped.attributions == [f"refused_{refusal}"]
    (warned,) = stamped.warnings
    assert (warned.event_id, warned.code) == (ID, "token_refused")
    assert refusal in warned.reason


def test_a_valid_token_becomes_stale_and_stays_its_users() -> None:
    event_id_as_sent, to = {**LIKED, "slot_token": token()}, stamper()
    later = NOW + 48 * HOUR_MS
    attributions = [
        to.post([{**event_id_as_sent, "occurred_at": stamp.received_at}], stamp).attributions[0]
        for stamp in (STAMP, Stamp("u1", later, 48 * HOUR_MS), Stamp("u2", NOW, 48 * HOUR_MS), STAMP)
    ]
    assert attributions == ["slot", "refused_stale", "refused_foreign", "slot"]


def test_a_token_on_an_event_without_a_song_is_rejected() -> None:
    veto = {"event_id": ID, "kind": "vetoed", "occurred_at": NOW, "anime_id": "mal-1", "slot_token": token()}
    assert logged(stamper().post([veto], STAMP))["refusal"] == "no_song"


def test_a_self_reported_arm_has_no_slot() -> None:
    value = logged(stamper().self_reported([ClientEvent.model_validate(LIKED)], "node2vec", STAMP))
    assert (value["attribution"], value["arm"]) == ("claimed", "node2vec")
    assert "playlist_id" not in value


@pytest.mark.parametrize(
    ("event", "echoed", "code"),
    [
        pytest.param({**LIKED, "kind": "loved"}, ID, "unknown_kind", id="unknown kind"),
        pytest.param({**LIKED, "schema": 9}, ID, "unknown_schema", id="unknown schema"),
        pytest.param({**LIKED, "occurred_at": float("inf")}, ID, "bad_time", id="an infinite time"),
        pytest.param({**LIKED, "occurred_at": float("nan")}, ID, "bad_time", id="a time that is no number"),
        pytest.param({**LIKED, "occurred_at": "yesterday"}, ID, "bad_time", id="a time in words"),
        pytest.param({**LIKED, "occurred_at": None}, ID, "bad_time", id="no time"),
        pytest.param({**LIKED, "occurred_at": True}, ID, "bad_time", id="a time that is a boolean"),
        pytest.param({**LIKED, "song_id": None}, ID, "incomplete", id="a like of nothing"),
        pytest.param({**LIKED, "song_id": 7, "muted": "?"}, ID, "bad_value", id="a like of a number"),
        pytest.param({**LIKED, "kind": "skipped"}, ID, "incomplete", id="skipped to nowhere"),
        pytest.param({**LIKED, "kind": "skipped", "direction": "up"}, ID, "bad_value", id="skipped up"),
        pytest.param({**PROGRESS, "watch_seconds": 130}, ID, "bad_value", id="progress past the end"),
        pytest.param({**PROGRESS, "watch_seconds": -1}, ID, "bad_value", id="negative progress"),
        pytest.param({**PROGRESS, "duration_seconds": None}, ID, "incomplete", id="progress of an unknown length"),
        pytest.param({"kind": "liked", "occurred_at": NOW}, None, "missing", id="no id"),
        pytest.param({**LIKED, "event_id": "17"}, "17", "bad_event_id", id="a bad id is echoed"),
        pytest.param({**LIKED, "event_id": "x" * 65}, None, "bad_event_id", id="a long id is not"),
        pytest.param({**LIKED, "event_id": "\ud800"}, None, "bad_event_id", id="half a character is not"),
        pytest.param({**LIKED, "event_id": 5}, None, "bad_event_id", id="a number for an id"),
        pytest.param(None, None, "incomplete", id="null"),
        pytest.param([], None, "incomplete", id="a list"),
        pytest.param("liked", None, "incomplete", id="a string"),
    ],
)
def test_a_bad_event_is_rejected_with_a_reason_and_the_others_are_accepted(
    event: object, echoed: str | None, code: str
) -> None:
    good = [{**LIKED, "event_id": str(UUID(int=n))} for n in (1, 2)]
    stamped = stamper().post([good[0], event, good[1]], STAMP)
    assert [str(each.event_id) for each in stamped.events] == [each["event_id"] for each in good]
    (rejection,) = stamped.rejected
    assert (rejection.event_id, rejection.code) == (echoed, code)
    assert rejection.reason.startswith(f"{code}: ")
    assert len(rejection.reason) > len(code) + 10


@pytest.mark.parametrize(
    ("wrong", "dropped"),
    [
        pytest.param({"watch_seconds": 130, "duration_seconds": 90}, ["watch_seconds, duration_seconds"], id="past"),
        pytest.param({"watch_seconds": 0, "duration_seconds": 1e-4}, ["watch_seconds, duration_seconds"], id="short"),
        pytest.param({"watch_seconds": float("nan")}, ["watch_seconds"], id="NaN"),
        pytest.param({"played_seconds": float("inf")}, ["played_seconds"], id="infinite"),
        pytest.param({"watch_seconds": 10**400}, ["watch_seconds"], id="over a float"),
        pytest.param({"played_seconds": -1}, ["played_seconds"], id="negative"),
        pytest.param({"watch_seconds": "1:30"}, ["watch_seconds"], id="a clock face"),
        pytest.param({"duration_seconds": 0}, ["duration_seconds"], id="no length yet"),
        pytest.param({"duration_seconds": 36_000_000}, ["duration_seconds"], id="milliseconds"),
        pytest.param({"watch_seconds": [], "rate": {}}, ["watch_seconds, rate"], id="no numbers"),
        pytest.param({"play_id": "17"}, ["play_id"], id="a play that is no UUID"),
        pytest.param({"link": "\ud800"}, ["link"], id="a link with half a character"),
        pytest.param({"link": "x" * 201}, ["link"], id="a long link"),
        pytest.param({"direction": "up"}, ["direction"], id="a direction that is none"),
        pytest.param({"muted": "perhaps", "hidden": 7}, ["muted, hidden"], id="neither yes nor no"),
        pytest.param({"anime_id": ""}, ["anime_id"], id="an empty anime"),
        pytest.param(
            {"watch_seconds": 130, "duration_seconds": 90, "rate": -1},
            ["rate", "watch_seconds, duration_seconds"],
            id="one after the other",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["liked", "unliked", "started", "ended", "shown"])
def test_an_event_is_not_lost_for_an_invalid_optional_value(
    kind: str, wrong: dict[str, Any], dropped: list[str]
) -> None:
    stamped = stamper().post([{**LIKED, "kind": kind, **wrong}], STAMP)
    value = logged(stamped)
    assert value == {**value, "kind": kind, "song_id": "song-a", "occurred_at": NOW}
    assert not {"watch_ms", "duration_ms", *", ".join(dropped).split(", ")} & set(value)
    assert [warned.event_id for warned in stamped.warnings] == [ID] * len(dropped)
    assert [warned.reason.split(": ")[:2] for warned in stamped.warnings] == [["dropped", name] for name in dropped]


def test_valid_values_beside_an_invalid_one_are_kept() -> None:
    wrong = {**LIKED, "watch_seconds": "61.5", "duration_seconds": "90", "played_seconds": -3, "slot_token": token()}
    value = logged(stamper().post([wrong], STAMP))
    assert (value["watch_ms"], value["duration_ms"], value["attribution"]) == (61_500, 90_000, "slot")


@pytest.mark.parametrize("watched", [90.0004, 94.9])
def test_a_position_slightly_past_the_end_is_the_end(watched: float) -> None:
    stamped = stamper().post([{**LIKED, "watch_seconds": watched, "duration_seconds": 90}], STAMP)
    assert logged(stamped)["watch_ms"] == 90_000
    assert stamped.warnings == []


@pytest.mark.parametrize("wrong", [7, "x" * 513, ["a"]])
def test_an_unreadable_token_is_rejected_and_its_event_accepted(wrong: object) -> None:
    stamped = stamper().post([{**LIKED, "slot_token": wrong}], STAMP)
    value = logged(stamped)
    assert (value["attribution"], value["refusal"]) == ("refused", "malformed")
    assert stamped.warnings[0].reason.startswith("dropped: slot_token: ")


def test_a_veto_is_not_lost_for_a_song_that_cannot_be_read() -> None:
    veto = {"event_id": ID, "kind": "vetoed", "occurred_at": NOW, "anime_id": "mal-1", "song_id": "a b"}
    assert logged(stamper().post([veto], STAMP))["anime_id"] == "mal-1"


def test_an_event_before_its_token_is_accepted_without_the_arm() -> None:
    stamped = stamper().post([{**LIKED, "slot_token": token(), "occurred_at": NOW - 1001}], STAMP)
    value = logged(stamped)
    assert (value["attribution"], value["refusal"], value["occurred_at"]) == ("refused", "before_token", NOW - 1001)
    assert not {"arm", "playlist_id", "slot", "p_arm", "p_song", "issued_at"} & set(value)
    assert [warned.code for warned in stamped.warnings] == ["before_token"]


@pytest.mark.parametrize("occurred_at", [NOW + 300_000, NOW - 1000, NOW // 1000])
def test_the_edges_of_the_clock_keep_their_arm(occurred_at: int) -> None:
    stamped = stamper().post([{**LIKED, "occurred_at": occurred_at, "slot_token": token()}], STAMP)
    assert logged(stamped)["attribution"] == "slot"


def test_a_refused_token_does_not_set_the_earliest_time() -> None:
    stale = token(issued_at=NOW - 49 * HOUR_MS)
    value = logged(stamper().post([{**LIKED, "occurred_at": NOW - 60 * HOUR_MS, "slot_token": stale}], STAMP))
    assert value["refusal"] == "stale"
