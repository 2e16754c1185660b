"""Playlists of then composed again: the same from the same models, from others what a recommender with them serves."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from typer.testing import CliRunner

from collectors.synthetic import synthetic_songs
from contracts.catalogue import Link, WithdrawnSong
from contracts.models import LiveModel
from contracts.topics import CATALOGUE, PROFILES
from services.cli.main import app
from services.common.process.clock import now_ms
from services.common.settings import KafkaSettings
from services.common.vectors.published import published_models
from services.local.processes.valkey import ValkeyNode
from services.operator.replay.contexts import Wanted
from services.operator.replay.playlists import Answer, Replayed, chosen, composed_again, tallied
from services.recommender.interface import opening
from tests.connected.recommender.running import (
    RunningRecommender,
    publish_songs,
    running_recommender,
    settings_for,
    switch_to,
)
from tests.support.following import following, producing, put
from tests.unit.profiles.test_writes import FORGOTTEN, encoded
from tests.unit.recommender.made_up import publish, publish_all, words

pytestmark = pytest.mark.connected

SONGS = synthetic_songs(120)
IDS = [song.song_id for song in SONGS]
USERS = ("ann", "ben", "cyn")


@pytest.fixture(params=["random"])
async def recommender(
    request: pytest.FixtureRequest, log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path
) -> AsyncIterator[tuple[RunningRecommender, list[LiveModel]]]:
    """A recommender with all arms, and the profiles' consumer beside it."""
    settings = settings_for(log, valkey.url, tmp_path, order=request.param)
    first = publish_all(settings.vectors_dir, IDS)
    await publish_songs(log, SONGS)
    await switch_to(log, *first)
    async with running_recommender(settings) as opened, following(settings, redis):
        yield opened, first


async def listen(recommender: RunningRecommender, user: str, liked: list[str], playlists: int = 1) -> dict[str, Any]:
    """Like songs, and ask for playlists that know it; the last one."""
    for song_id in liked:
        mark = await recommender.feedback(user, "liked", song_id)
    for _ in range(playlists):
        answer = await recommender.new_playlist(user, not_before=mark)
        assert answer["fresh"]
    return answer


async def again(
    recommender: RunningRecommender, at: int, *users: str, changed: dict[str, LiveModel] | None = None
) -> Answer:
    """What is composed again, here."""
    with opening(recommender.settings.vectors_dir, published_models(recommender.settings.vectors_dir)) as opened:
        wanted = Wanted(at, frozenset(users))
        return await composed_again(recommender.settings, wanted, opened, changed or {}, lambda *_: None)


def songs_of(one: Replayed, how: str) -> dict[str, str | None]:
    """Arm -> song of one way of composing."""
    return {seat.arm: getattr(seat, how) for seat in one.seats}


async def test_the_models_of_then_bring_the_songs_of_then_whatever_happened_since(recommender):
    recommender, _ = recommender
    # So often that songs rest which nobody starts.
    for number, user in enumerate(USERS):
        await listen(recommender, user, IDS[10 * number : 10 * number + 3], playlists=6)
    mark = await recommender.feedback("ann", "liked", IDS[50])
    last = await recommender.new_playlist("ann", not_before=mark)
    await recommender.feedback("ann", "liked", last["slots"][0]["song_id"])
    assert (await recommender.rest(last["playlist_id"], 2, "ann")).status_code == 201
    at = now_ms()
    await asyncio.sleep(0.02)
    await everything_changes(recommender)
    answer = await again(recommender, at)
    assert sorted(one.playlist.user_id for one in answer.found) == sorted(USERS)
    for one in answer.found:
        assert one.faithful, one.playlist.user_id
        assert one.same, one
    (ann,) = [one for one in answer.found if one.playlist.user_id == "ann"]
    assert (ann.playlist.revision, [seat.kept for seat in ann.seats]) == (1, [True] * 2 + [False] * 4)
    assert {arm: tally.same for arm, tally in tallied(answer.found).items()} == {
        arm: tally.slots for arm, tally in tallied(answer.found).items()
    }
    assert (len(answer.catalogue), answer.later) == (len(SONGS), 0)


async def everything_changes(recommender: RunningRecommender) -> None:
    """Other likes, playlists and models; a song that everybody listens to; one that is gone."""
    log = recommender.settings.kafka
    hit = SONGS[0].model_copy(update={"song_id": "hit", "links": (Link(site="youtube", id="hit", views=10**12),)})
    await publish_songs(log, [hit])
    async with producing(log) as to:
        gone = WithdrawnSong(song_id=IDS[3], withdrawn=True)
        await to.send_and_wait(CATALOGUE.name, gone.model_dump_json(by_alias=True).encode(), key=IDS[3].encode())
    second = publish_all(recommender.settings.vectors_dir, IDS, seed=1)
    await switch_to(log, *second)
    await recommender.serving(**{record.arm: record.version for record in second})
    for user in USERS:
        await listen(recommender, user, IDS[70:75])


@pytest.mark.parametrize("recommender", ["fixed"], indirect=True)
async def test_another_version_brings_what_a_recommender_with_it_serves(recommender):
    recommender, first = recommender
    other = publish(recommender.settings.vectors_dir, "tfidf", IDS, words(len(IDS), 60, seed=9))
    for user in USERS:
        await listen(recommender, user, IDS[:4])
    at = now_ms()
    await asyncio.sleep(0.02)
    await switch_to(recommender.settings.kafka, other)
    await recommender.serving(tfidf=other.version)
    would = {user: {s["arm"]: s["song_id"] for s in (await recommender.new_playlist(user))["slots"]} for user in USERS}
    answer = await again(recommender, at, changed={"tfidf": other})
    for one in answer.found:
        assert one.faithful and one.same
        expected = would[one.playlist.user_id]
        # Chance picks last in this order, and stays as it was where its song is open.
        assert songs_of(one, "instead") | {"random": ""} == expected | {"random": ""}
    assert any(songs_of(one, "instead")["tfidf"] != songs_of(one, "served")["tfidf"] for one in answer.found)
    assert tallied(answer.found)["tfidf"].other > 0
    # The other way round: what was served with the one is what comes of the other with the one.
    old = next(record for record in first if record.arm == "tfidf")
    back = await again(recommender, now_ms(), changed={"tfidf": old})
    assert all(one.same for one in back.found)
    assert [songs_of(one, "instead")["tfidf"] for one in sorted(back.found, key=lambda o: o.playlist.user_id)] == [
        songs_of(one, "served")["tfidf"] for one in sorted(answer.found, key=lambda o: o.playlist.user_id)
    ]


async def test_an_arm_without_a_model_then_is_asked_last_and_a_pruned_version_is_told(recommender):
    recommender, first = recommender
    await listen(recommender, "ann", IDS[:3])
    at = now_ms()
    gone = next(record for record in first if record.arm == "mpnet")
    shutil.rmtree(recommender.settings.vectors_dir / gone.collection)
    (one,) = (await again(recommender, at)).found
    assert one.same
    assert {seat.arm for seat in one.seats if not seat.replayed} == {"mpnet"}
    async with producing(recommender.settings.kafka) as to:
        await to.send_and_wait("animusic.models.v1", None, key=b"tfidf")
    await asyncio.sleep(0.02)
    while "tfidf" in (await recommender.client.get("/readyz")).json()["arms"]:
        await asyncio.sleep(0.05)
    await recommender.new_playlist("ann")
    old = next(record for record in first if record.arm == "tfidf")
    (one,) = (await again(recommender, now_ms(), changed={"tfidf": old})).found
    (late,) = [seat for seat in one.seats if seat.slot is None]
    assert (late.arm, late.served, late.again) == ("tfidf", None, None)
    assert late.instead in set(IDS) - set(songs_of(one, "served").values())


async def test_who_is_forgotten_is_not_looked_at_and_a_time_without_playlists_is_told(recommender):
    recommender, _ = recommender
    begun = now_ms()
    with pytest.raises(LookupError, match="no playlist is in the log yet"):
        await again(recommender, begun)
    await asyncio.sleep(0.02)
    await listen(recommender, "ann", IDS[:2])
    await listen(recommender, "ben", IDS[2:4])
    async with producing(recommender.settings.kafka) as to:
        await put(to, PROFILES.name, "ann", encoded({**FORGOTTEN, "user_id": "ann"}))
    answer = await again(recommender, now_ms())
    assert ([one.playlist.user_id for one in answer.found], answer.forgotten) == (["ben"], 1)
    assert [one.playlist.user_id for one in (await again(recommender, now_ms(), "ben", "unserved")).found] == ["ben"]
    with pytest.raises(LookupError, match=r"the log's first one was served at .* UTC"):
        await again(recommender, begun)
    with pytest.raises(LookupError, match="no listener in the 60 minutes before"):
        await again(recommender, now_ms() + 2 * 3_600_000)
    with pytest.raises(LookupError, match="none of cyn was served one"):
        await again(recommender, now_ms(), "cyn")


async def test_the_command_prints_slots_and_says_what_is_wrong_with_an_arm(
    recommender, monkeypatch: pytest.MonkeyPatch
):
    recommender, first = recommender
    settings = recommender.settings
    second = publish(settings.vectors_dir, "tfidf", IDS, words(len(IDS), 60, seed=3))
    await listen(recommender, "ann", IDS[:3])
    monkeypatch.setenv("ANIMUSIC_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS", settings.kafka.bootstrap_servers)

    async def run(*arguments: str) -> Any:
        return await asyncio.to_thread(
            CliRunner().invoke, app, ["replay", "playlists", "--at", str(now_ms()), *arguments]
        )

    shown = await run("--user", "ann", "--arm", f"tfidf={second.version}")
    assert shown.exit_code == 0, shown.output
    assert "the profile as it was then" in shown.output
    assert f"with tfidf={second.version}" in shown.output
    assert shown.output.count("the same") >= 6
    told = json.loads((await run("--json", "--arm", "tfidf=live")).stdout)
    (playlist,) = told["playlists"]
    assert playlist["profile_as_then"] is True
    assert {slot["arm"]: slot["instead"] for slot in playlist["slots"]} == {
        slot["arm"]: slot["served"] for slot in playlist["slots"]
    }
    assert told["changed"] == {"tfidf": next(record.version for record in first if record.arm == "tfidf")}
    wrong = await run("--arm", "random=1")
    assert "no ARM=VERSION" in str(wrong.exception)


def test_a_version_is_found_by_its_beginning_where_it_is_the_only_one(tmp_path: Path):
    first, second = (publish(tmp_path, "tfidf", IDS, words(len(IDS), 60, seed=seed)) for seed in (0, 1))
    here = published_models(tmp_path)
    assert chosen(here, {}, f"tfidf={first.version}") == first
    assert chosen(here, {"tfidf": second}, "tfidf=live") == second
    for text, why in (
        ("tfidf=0", "several versions begin"),
        ("tfidf=live", "no version on this machine begins"),
        ("mpnet=0", "no version on this machine begins"),
    ):
        with pytest.raises(LookupError, match=why):
            chosen(here, {}, text)
    for text in ("tfidf", "tfidf=", "popular=1", "=1"):
        with pytest.raises(ValueError, match="ARM=VERSION"):
            chosen(here, {}, text)
