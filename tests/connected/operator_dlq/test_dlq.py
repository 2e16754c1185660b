"""Poison through the real parts: named once, mended, sent again any number of times, let go of without losing any."""

import asyncio
import json
from uuid import uuid4

import pytest

from contracts.events import FeedbackEvent
from contracts.topics import DEAD_LETTERS, PROFILES
from services.operator.dlq import redriving
from services.operator.dlq.editing import assignments, exactly
from services.operator.dlq.log import purge, read_bytes
from services.operator.dlq.model import DeadLetter
from services.operator.dlq.redriving import MOST_ATTEMPTS, redrive
from services.operator.status import stores
from tests.connected.operator_dlq.house import House
from tests.support.following import dead_letters, folded, profiles_in
from tests.support.histories import BASE_MS

pytestmark = [pytest.mark.connected, pytest.mark.usefixtures("watchful")]
MENDED = assignments(["schema=1"], [])


def like(user: str, song: str = "a") -> FeedbackEvent:
    """A like of its own."""
    return FeedbackEvent(
        event_id=uuid4(), kind="liked", user_id=user, song_id=song, occurred_at=BASE_MS, received_at=BASE_MS
    )


def spoiled(event: FeedbackEvent) -> bytes:
    """The same event, of a version that never was."""
    return event.log_value().replace(b'"schema":1', b'"schema":0')


async def only(home: House) -> DeadLetter:
    """The one letter that there is."""
    (dead_letter,) = await home.dead_letters()
    return dead_letter


async def test_one_poison_is_one_letter_of_two_steps_and_redrives_once(home: House):
    event = like("u")
    await home.put([("u", spoiled(event))])
    await home.settled()
    dead_letter = await only(home)
    assert (dead_letter.steps, dead_letter.attempts, dead_letter.state, dead_letter.user) == (
        ("profiles", "warehouse"),
        1,
        "open",
        "u",
    )
    assert len(await dead_letters(home.log)) == 2
    tried = await redrive(home.log, [dead_letter], MENDED, dry_run=True)
    assert [one.to for one in tried.redriven] == [None]
    assert (await only(home)).state == "open"
    done = await redrive(home.log, [dead_letter], MENDED)
    assert [str(one.to) for one in done.redriven] == [
        f"{dead_letter.last.place.topic}/{dead_letter.last.place.partition}@1"
    ]
    await home.settled()
    assert await profiles_in(home.redis) == folded([event])
    assert (await only(home)).state == "redriven"
    again = await redrive(home.log, [await only(home)], MENDED)
    assert again.redriven == []
    assert "already redriven" in again.kept[0][1]


async def test_killed_between_append_and_note_it_is_sent_twice_and_counts_once(
    home: House, monkeypatch: pytest.MonkeyPatch
):
    event = like("u")
    await home.put([("u", spoiled(event))])
    await home.settled()

    def killed(_sent: object) -> dict[str, object]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(redriving, "_note", killed)
        await redrive(home.log, await home.dead_letters(), MENDED)
    assert (await only(home)).state == "open"
    assert len((await redrive(home.log, await home.dead_letters(), MENDED)).redriven) == 1
    await home.settled()
    assert await home.clickhouse_holds(2)
    (row,) = home.ask("SELECT count() AS n FROM animusic.feedback_clean")
    assert row["n"] == 1
    assert await profiles_in(home.redis) == folded([event])


async def test_what_would_fail_again_is_kept_and_said(home: House):
    event = like("u")
    await home.put([("u", spoiled(event)), ("u", b'{"schema":1}'), ("u", b"\xff{")])
    await home.settled()
    in_dlq = await home.dead_letters()
    outcome = await redrive(home.log, in_dlq)
    assert outcome.redriven == []
    assert all("profiles and warehouse would refuse it again: " in why for _, why in outcome.kept)
    no_json = await redrive(home.log, in_dlq[2:], MENDED)
    assert "not JSON" in no_json.kept[0][1]
    mended = await redrive(home.log, in_dlq[2:], exactly(like("w").log_value()))
    assert len(mended.redriven) == 1
    await home.settled()
    # The mended record is somebody else's, and lies where that listener's records lie.
    assert set(await profiles_in(home.redis)) == {"w"}


async def test_a_letter_that_is_poison_itself_counts_its_attempts_and_does_not_loop(home: House):
    await home.put([("u", spoiled(like("u")))])
    await home.settled()
    first = await only(home)
    for attempt in range(2, MOST_ATTEMPTS + 1):
        assert len((await redrive(home.log, [await only(home)], force=True)).redriven) == 1
        await home.settled()
        dead_letter = await only(home)
        assert (dead_letter.id, dead_letter.attempts, dead_letter.state) == (first.id, attempt, "open")
    outcome = await redrive(home.log, [dead_letter], MENDED)
    assert f"it has failed {MOST_ATTEMPTS} times" in outcome.kept[0][1]


async def test_a_wiped_store_that_reads_the_poison_again_opens_no_letter(home: House):
    event = like("u")
    await home.put([("u", spoiled(event))])
    await home.settled()
    await redrive(home.log, await home.dead_letters(), MENDED)
    await home.settled()
    before = len(await dead_letters(home.log))
    await home.redis.flushall()
    await home.put([("v", (other := like("v")).log_value())])
    await home.settled()
    assert len(await dead_letters(home.log)) > before
    assert (await only(home)).state == "redriven"
    assert await profiles_in(home.redis) == folded([event, other])


async def test_an_old_list_does_not_come_back_over_a_newer_one(home: House):
    old = {"schema": 0, "kind": "anime_list", "user_id": "u", "received_at": BASE_MS, "entries": [{"mal_id": 1}]}
    new = {**old, "schema": 1, "entries": [{"mal_id": 2}]}
    await home.put([("u", json.dumps(old).encode())], PROFILES.name)
    await home.settled()
    await home.put([("u", json.dumps(new).encode())], PROFILES.name)
    await home.settled()
    before = await profiles_in(home.redis)
    outcome = await redrive(home.log, await home.dead_letters(), MENDED)
    assert "a newer record of u has replaced it" in outcome.kept[0][1]
    await home.settled()
    assert await profiles_in(home.redis) == before


async def test_purging_keeps_what_was_never_redriven_unless_that_is_said(home: House):
    await home.put([("u", spoiled(like("u"))), ("u", b"rubbish")])
    await home.settled()
    fixed, rubbish = await home.dead_letters()
    await redrive(home.log, [fixed], MENDED)
    done = await purge(home.log, await home.dead_letters())
    assert ([dead_letter.id for dead_letter in done.purged], [dead_letter.id for dead_letter in done.kept]) == (
        [fixed.id],
        [rubbish.id],
    )
    assert {dead_letter.id: dead_letter.state for dead_letter in await home.dead_letters()}[rubbish.id] == "open"
    assert [value async for _, _, value in read_bytes(home.log, [rubbish])] == [b"rubbish"]
    rest = await purge(home.log, await home.dead_letters(), unredriven=True)
    assert [dead_letter.id for dead_letter in rest.purged] == [rubbish.id]
    assert await home.dead_letters() == []
    assert [value for value, _ in await dead_letters(home.log)] == []
    assert rest.begins_at > 0


async def test_the_command_lists_shows_mends_and_purges(home: House, tmp_path):
    events = [like(f"u{n}") for n in range(3)]
    await home.put([(event.user_id, spoiled(event)) for event in events])
    await home.put([("u9", b"rubbish")])
    await home.settled()
    listed = await home.animusic("dlq", "list")
    assert "3" in listed.split("\n")[1]
    assert "profiles, warehouse" in listed
    lines = (await home.animusic("dlq", "list", "--json", "--reason", "schema")).splitlines()
    assert {json.loads(line)["user"] for line in lines} == {"u0", "u1", "u2"}
    (rubbish,) = (await home.animusic("dlq", "list", "--each", "--user", "u9")).splitlines()[1:]
    name = rubbish.split()[0]
    assert await home.animusic("dlq", "show", name, "--raw") == "rubbish"
    assert f"{DEAD_LETTERS.name}" not in await home.animusic("dlq", "show", name)
    said = await home.animusic("dlq", "redrive", "--reason", "schema", "--set", "schema=1", "--limit", "2")
    assert "2 redriven, 0 kept" in said
    assert "say which" in await home.animusic("dlq", "redrive", status=1)
    tried = await home.animusic("dlq", "redrive", "--reason", "schema", "--set", "schema=1", "--dry-run")
    assert "1 would be redriven" in tried
    mended = tmp_path / "mended.json"
    await asyncio.to_thread(mended.write_bytes, like("u9").log_value())
    assert "1 redriven" in await home.animusic("dlq", "redrive", name, "--value", str(mended))
    assert "1 kept: they were never redriven" in await home.animusic("dlq", "purge", "--all", status=1)
    await home.settled()
    users = set(await profiles_in(home.redis))
    assert len(users) == 3
    assert "u9" in users
    assert (await home.animusic("dlq", "list", "--json")).count("\n") == 1
    # What was resolved is not open for `animusic status`.
    assert (await stores.dead_letters(home.log, 24)).open == 1
