"""Writes through a real gateway into a real log: where they lie, and that they lie there."""

import asyncio
from pathlib import Path

import orjson
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from contracts.events import FeedbackEvent
from contracts.http import MAX_BODY_BYTES, EventsAnswer
from contracts.placement import partition_of
from contracts.profiles import PROFILE_RECORD, AnimeList
from contracts.topics import FEEDBACK, PROFILES
from services.common.kafka import ensure_topics, topic_ids
from services.common.process.clock import now_ms
from services.common.settings import KafkaSettings
from tests.connected.gateway.conftest import Running, at, liked, records_of, running, settings_of
from tests.support.waiting import apoll

pytestmark = pytest.mark.connected


async def test_a_post_is_at_the_position_of_its_answer(gateway: Running, log: KafkaSettings) -> None:
    user_id, bearer = await gateway.guest()
    events = [liked(f"song-{n}") for n in range(5)]
    response = await gateway.post(bearer, *events[:2], {**events[2], "kind": "loved"}, *events[3:])
    answer = EventsAnswer.model_validate_json(response.content)
    assert (response.status_code, answer.accepted) == (202, 4)
    assert [each.event_id for each in answer.rejected] == [events[2]["event_id"]]
    assert abs(answer.server_time - now_ms()) < 5_000
    assert answer.log is not None
    assert answer.receipt is not None
    position = answer.log
    records = at(await records_of(log, FEEDBACK.name), position.partition, position.first_offset, position.last_offset)
    logged = [FeedbackEvent.model_validate_json(record.value) for record in records]
    assert [str(event.event_id) for event in logged] == [events[n]["event_id"] for n in (0, 1, 3, 4)]
    assert {event.user_id for event in logged} == {user_id}
    assert {record.key for record in records} == {user_id.encode()}
    assert position.partition == partition_of(user_id, log.partitions)
    receipt = gateway.signer.read_receipt(answer.receipt, user_id=user_id)
    ids = await topic_ids(log.bootstrap_servers, [FEEDBACK.name])
    assert (receipt.topic_id, receipt.partition, receipt.offset) == (
        ids[FEEDBACK.name], position.partition, position.last_offset,
    )  # fmt: skip


async def test_a_post_without_a_good_event_writes_nothing_and_has_no_receipt(
    gateway: Running, log: KafkaSettings
) -> None:
    _, bearer = await gateway.guest()
    answer = EventsAnswer.model_validate_json((await gateway.post(bearer, {}, None)).content)
    assert (answer.accepted, len(answer.rejected), answer.receipt, answer.log) == (0, 2, None, None)
    assert await records_of(log, FEEDBACK.name) == []


async def test_many_posts_at_once_share_batches_and_keep_their_own_places(gateway: Running, log: KafkaSettings) -> None:
    guests = [await gateway.guest() for _ in range(12)]
    posts = [[liked() for _ in range(1 + n % 7)] for n in range(96)]
    answers = await asyncio.gather(*(gateway.post(guests[n % 12][1], *post) for n, post in enumerate(posts)))
    records = await records_of(log, FEEDBACK.name)
    assert len(records) == sum(map(len, posts))
    for post, response in zip(posts, answers, strict=True):
        place = response.json()["log"]
        found = at(records, place["partition"], place["first_offset"], place["last_offset"])
        assert [orjson.loads(each.value)["event_id"] for each in found] == [each["event_id"] for each in post]


async def test_the_largest_post_is_accepted_whole(gateway: Running, log: KafkaSettings) -> None:
    _, bearer = await gateway.guest()
    filling = (MAX_BODY_BYTES - 14) // 500 - len(orjson.dumps(liked())) - 12
    body = orjson.dumps({"events": [liked(link="x" * min(200, filling)) for _ in range(500)]})
    body += b" " * (MAX_BODY_BYTES - len(body))
    headers = {**bearer, "Content-Type": "application/json"}
    answer = await gateway.client.post("/v1/events", content=body, headers=headers)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 500)
    assert len(await records_of(log, FEEDBACK.name)) == 500


async def test_dropped_values_get_warnings_and_the_rest_is_logged(gateway: Running, log: KafkaSettings) -> None:
    _, bearer = await gateway.guest()
    past, ahead = liked(watch_seconds=130, duration_seconds=90), liked(occurred_at=now_ms() + 240_000)
    body = orjson.dumps({"events": [past, ahead]}).replace(b'"watch_seconds":130', b'"watch_seconds":130,"rate":NaN')
    headers = {**bearer, "Content-Type": "application/json"}
    response = await gateway.client.post("/v1/events", content=body, headers=headers)
    answer = EventsAnswer.model_validate_json(response.content)
    assert (response.status_code, answer.accepted, answer.rejected) == (202, 2, [])
    assert [(each.event_id, each.reason.split(":")[0]) for each in answer.warnings] == [
        (past["event_id"], "dropped"), (past["event_id"], "dropped"),
        (ahead["event_id"], "clock_ahead"),
    ]  # fmt: skip
    records = await records_of(log, FEEDBACK.name)
    logged = sorted(
        (FeedbackEvent.model_validate_json(record.value) for record in records), key=lambda e: e.occurred_at
    )
    assert [str(event.event_id) for event in logged] == [past["event_id"], ahead["event_id"]]
    assert (logged[0].watch_ms, logged[0].duration_ms, logged[0].rate) == (None, None, None)
    assert logged[1].occurred_at == logged[1].received_at == answer.server_time
    text = (await gateway.client.get("/metrics")).text
    assert 'animusic_gateway_event_warnings_total{code="dropped"} 2.0' in text


@pytest.mark.parametrize("count", [0, 3, 20_000])
async def test_an_anime_list_of_any_length_is_one_record(gateway: Running, log: KafkaSettings, count: int) -> None:
    user_id, bearer = await gateway.guest()
    entries = [{"mal_id": n + 1, "status": "plan_to_watch", "score": 10} for n in range(count)]
    answer = await gateway.client.put("/v1/profile/anime", json={"entries": entries}, headers=bearer)
    assert (answer.status_code, answer.json()["count"]) == (200, count)
    (record,) = await records_of(log, PROFILES.name)
    assert record.key == user_id.encode()
    assert record.partition == partition_of(user_id, log.partitions)
    written = PROFILE_RECORD.validate_json(record.value)
    assert isinstance(written, AnimeList)
    assert (written.user_id, len(written.entries)) == (user_id, count)
    receipt = gateway.signer.read_receipt(answer.json()["receipt"], user_id=user_id)
    ids = await topic_ids(log.bootstrap_servers, [PROFILES.name])
    assert (receipt.topic_id, receipt.offset) == (ids[PROFILES.name], record.offset)


async def test_receipts_name_a_recreated_topic(gateway: Running, log: KafkaSettings) -> None:
    user_id, bearer = await gateway.guest()

    async def topic_of_a_post() -> str | None:
        answer = await gateway.post(bearer, liked())
        if answer.status_code != 202:
            return None
        return gateway.signer.read_receipt(answer.json()["receipt"], user_id=user_id).topic_id

    before = await topic_of_a_post()
    admin = AIOKafkaAdminClient(bootstrap_servers=log.bootstrap_servers)
    await admin.start()
    try:
        await admin.delete_topics([FEEDBACK.name])

        async def gone() -> bool:
            return FEEDBACK.name not in await admin.list_topics()

        await apoll(gone, what="the topic is gone")
    finally:
        await admin.close()
    await ensure_topics(log)
    after = (await topic_ids(log.bootstrap_servers, [FEEDBACK.name]))[FEEDBACK.name]
    assert after != before

    async def noticed() -> bool:
        return await topic_of_a_post() == after

    await apoll(noticed, timeout=15, interval=0.1, what="receipts carry the new topic's id")


async def test_readiness_names_each_part(gateway: Running) -> None:
    await apoll(gateway.log_is_ready, what="the log is ready")
    answer = await gateway.client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (503, False)
    states = answer.json()["parts"]
    assert states["log"] == {"ok": True, "detail": None}
    (recommender,) = (state for name, state in states.items() if name.startswith("recommender "))
    assert recommender["ok"] is False
    assert "cannot be reached" in recommender["detail"]


async def test_outcomes_are_counted(gateway: Running) -> None:
    _, bearer = await gateway.guest()
    await gateway.post(bearer, liked(), liked(slot_token="x"), liked(kind="loved"))
    text = (await gateway.client.get("/metrics")).text
    for line in (
        'animusic_gateway_events_total{outcome="accepted"} 2.0',
        'animusic_gateway_events_total{outcome="unknown_kind"} 1.0',
        'animusic_gateway_attributions_total{attribution="none"} 1.0',
        'animusic_gateway_attributions_total{attribution="refused_malformed"} 1.0',
        'animusic_gateway_log_records_total{topic="animusic.feedback.v1"} 2.0',
        "animusic_gateway_log_ready 1.0",
    ):
        assert line in text


async def test_a_stopping_gateway_answers_and_flushes_what_is_under_way(log: KafkaSettings, tmp_path: Path) -> None:
    async with running(settings_of(log, tmp_path)) as gateway:
        _, bearer = await gateway.guest()
        await gateway.post(bearer, liked())
        under_way = [asyncio.create_task(gateway.post(bearer, liked())) for _ in range(30)]

        async def begun() -> bool:
            return any(task.done() for task in under_way)

        await apoll(begun, interval=0.001, what="the first answer is back")
        stopping = gateway
    answers = await asyncio.gather(*under_way, return_exceptions=True)
    acknowledged = [each for each in answers if not isinstance(each, BaseException) and each.status_code == 202]
    assert stopping is gateway
    assert len(await records_of(log, FEEDBACK.name)) >= 1 + len(acknowledged)
