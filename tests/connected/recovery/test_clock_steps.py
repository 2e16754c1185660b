"""The gateway's clock jumps back and forth: events are taken, on its clock, the answer says so, and it passes."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
import pytest_asyncio

from contracts.tokens import SignedSlot
from contracts.topics import FEEDBACK
from services.common.process import clock
from services.common.settings import KafkaSettings
from tests.connected.gateway.conftest import Running, at, records_of, running, settings_of
from tests.support.waiting import apoll

pytestmark = pytest.mark.connected

HOUR_MS = 3_600_000
_READERS = ("parts", "acknowledgements", "routes.sessions", "routes.live", "routes.profile")


class Clock:
    """The gateway's clock, with a step. Everybody else keeps the real one."""

    step_ms = 0

    def __call__(self) -> int:
        return clock.now_ms() + self.step_ms


@pytest.fixture
def stepping(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in _READERS:
        monkeypatch.setattr(f"services.gateway.{module}.now_ms", made)
    return made


@pytest_asyncio.fixture
async def gateway(log: KafkaSettings, tmp_path: Path, stepping: Clock) -> AsyncIterator[Running]:
    """A gateway on the session's log, on the clock that steps."""
    async with running(settings_of(log.model_copy(update={"request_timeout_ms": 3_000}), tmp_path)) as made:
        yield made


def liked(occurred_at: int, **more: object) -> dict[str, object]:
    """A like at a time of a client's choosing."""
    return {"event_id": str(uuid4()), "kind": "liked", "occurred_at": occurred_at, "song_id": "song-a", **more}


async def is_in_the_log(log: KafkaSettings, answer: dict[str, object], event_id: object) -> bool:
    place = answer["log"]
    assert isinstance(place, dict)
    found = at(await records_of(log, FEEDBACK.name), place["partition"], place["first_offset"], place["last_offset"])
    return [orjson.loads(record.value)["event_id"] for record in found] == [event_id]


def code(answer: dict[str, Any]) -> str:
    """That of its only warning."""
    (warning,) = answer["warnings"]
    return str(warning["reason"].partition(":")[0])


async def test_a_step_back_takes_what_cannot_be_true_as_of_now_and_says_so_until_it_is_over(
    gateway: Running, log: KafkaSettings, stepping: Clock
):
    user_id, bearer = await gateway.guest()
    before = (await gateway.post(bearer, liked(clock.now_ms()))).json()
    signed_slot = SignedSlot(
        playlist_id=uuid4(), revision=0, slot=0, arm="random", p_arm=1.0, p_song=1.0, model_version=None,
        issued_at=clock.now_ms(),
    )  # fmt: skip
    token = gateway.signer.slot(user_id, "song-a", signed_slot)
    stepping.step_ms = -HOUR_MS
    plain = (await gateway.post(bearer, liked(clock.now_ms()))).json()
    assert (plain["accepted"], code(plain)) == (1, "clock_ahead")
    corrected = plain["server_time"]
    like = liked(corrected)
    taken = (await gateway.post(bearer, like)).json()
    assert taken["accepted"] == 1
    assert await is_in_the_log(log, taken, like["event_id"])
    early = (await gateway.post(bearer, liked(corrected, slot_token=token))).json()
    assert (early["accepted"], code(early)) == (1, "before_token")
    # A receipt of before the step is as good as ever: it names a place in the log, and no time.
    asked = await gateway.client.post("/v1/playlists", json={"not_before": before["receipt"]}, headers=bearer)
    assert asked.json()["error"] == "recommender_unavailable"
    stepping.step_ms = 0
    late = liked(clock.now_ms(), slot_token=token)
    over = (await gateway.post(bearer, late)).json()
    assert (over["accepted"], over["rejected"], over["warnings"]) == (1, [], [])
    assert await is_in_the_log(log, over, late["event_id"])


async def test_a_step_forward_of_minutes_is_taken_and_what_is_left_of_it_is_brought_down_afterwards(
    gateway: Running, log: KafkaSettings, stepping: Clock
):
    _, bearer = await gateway.guest()
    stepping.step_ms = HOUR_MS // 2
    like = liked(stepping())

    async def taken() -> dict[str, object] | None:
        answer = await gateway.post(bearer, like)
        return answer.json() if answer.status_code == 202 else None

    assert await is_in_the_log(log, await apoll(taken, timeout=30) or {}, like["event_id"])
    stepping.step_ms = 0
    left = liked(clock.now_ms() + HOUR_MS // 2)
    ahead = (await gateway.post(bearer, left)).json()
    assert (ahead["accepted"], code(ahead)) == (1, "clock_ahead")
    assert await is_in_the_log(log, ahead, left["event_id"])
    place = ahead["log"]
    (record,) = at(
        await records_of(log, FEEDBACK.name), place["partition"], place["first_offset"], place["last_offset"]
    )
    assert orjson.loads(record.value)["occurred_at"] == ahead["server_time"]


async def test_a_clock_that_the_log_does_not_believe_is_503_and_named_until_it_is_right(
    gateway: Running, log: KafkaSettings, stepping: Clock
):
    """Kafka takes no record that is more than an hour ahead of its own clock."""
    _, bearer = await gateway.guest()
    stepping.step_ms = 26 * HOUR_MS
    like = liked(stepping())

    async def named() -> bool:
        answer = await gateway.post(bearer, like)
        assert answer.status_code == 503, "acknowledged, and the log does not have it"
        assert int(answer.headers["retry-after"]) >= 1
        return "clock" in answer.json()["message"]

    await apoll(named, timeout=30, interval=0.2, what="the answer names the clock")

    async def red() -> bool:
        return "clock" in str((await gateway.ready())["log"]["detail"])

    await apoll(red, timeout=10, what="readiness names the clock")
    assert await records_of(log, FEEDBACK.name) == []
    stepping.step_ms = 0
    began = time.monotonic()
    mended = liked(clock.now_ms())

    async def taken() -> bool:
        return (await gateway.post(bearer, mended)).status_code == 202

    await apoll(taken, timeout=30, interval=0.1, what="events are taken on the right clock")
    await apoll(gateway.log_is_ready, timeout=20, what="readiness is green")
    print(f"a clock a day ahead: healthy again after {time.monotonic() - began:.1f} s")
