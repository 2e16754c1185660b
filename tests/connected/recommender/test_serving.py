"""Playlists through HTTP, from a real log, a real store of profiles and real shards."""

import asyncio
import shutil
from pathlib import Path
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from collectors.synthetic import synthetic_songs
from contracts.arms import ARMS
from contracts.catalogue import Link
from contracts.http import AnimeHits, PlaylistAnswer, ProfileAnswer, SongAnswer
from contracts.models import LiveModel
from services.common.settings import KafkaSettings
from services.gateway.recommender_client import turns_of
from services.local.processes.valkey import ValkeyNode
from tests.connected.recommender.running import (
    RunningRecommender,
    publish_songs,
    running_recommender,
    settings_for,
    switch_to,
)
from tests.support.following import at_end, following
from tests.support.waiting import apoll
from tests.unit.recommender.made_up import publish_all, song

pytestmark = pytest.mark.connected

SONGS = synthetic_songs(120)
IDS = [song.song_id for song in SONGS]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[LiveModel]]:
    """All four models, built once; a directory is never changed after it was published."""
    directory = tmp_path_factory.mktemp("published")
    return directory, publish_all(directory, IDS)


@pytest.fixture
async def recommender(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path, models: tuple[Path, list[LiveModel]]
):
    settings = settings_for(log, valkey.url, tmp_path)
    shutil.copytree(models[0], settings.vectors_dir)
    await publish_songs(log, SONGS)
    await switch_to(log, *models[1])
    async with running_recommender(settings) as opened:
        yield opened


async def test_a_playlist_has_every_arm_and_is_logged_as_answered(recommender: RunningRecommender):
    answer = PlaylistAnswer.model_validate(await recommender.new_playlist())
    assert {slot.arm for slot in answer.slots} == set(ARMS)
    assert (answer.cold, answer.fresh, answer.left_out, answer.revision) == ("mean", True, {}, 0)
    (logged,) = await recommender.logged()
    assert logged.playlist_id == answer.playlist_id
    assert [(s.slot, s.song_id, s.arm) for s in logged.slots] == [(s.slot, s.song_id, s.arm) for s in answer.slots]
    for slot, kept in zip(answer.slots, logged.slots, strict=True):
        signed = recommender.signed_slot(slot.model_dump())
        assert (signed.arm, signed.slot, signed.p_arm, signed.p_song) == (kept.arm, kept.slot, kept.p_arm, kept.p_song)
        assert (signed.model_version, signed.issued_at) == (kept.model_version, logged.served_at)
        assert slot.probability == pytest.approx(kept.p_arm * kept.p_song)


async def test_a_like_with_its_receipt_is_in_the_next_playlist(recommender: RunningRecommender, redis: Redis):
    async with following(recommender.settings, redis):
        liked = IDS[7]
        mark = await recommender.feedback("u", "liked", liked)
        answer = await recommender.new_playlist(not_before=mark)
        assert answer["fresh"] is True
        assert answer["cold"] is None
        assert liked not in {slot["song_id"] for slot in answer["slots"]}
        because = [why["song_id"] for slot in answer["slots"] for why in slot["why"]]
        assert set(because) == {liked}
        assert answer["reflects"][f"{mark['topic_id']}/{mark['partition']}"] > mark["offset"]
        profile = ProfileAnswer.model_validate((await recommender.client.get("/internal/profiles/u")).json())
        assert (profile.liked, profile.favoured) == ([liked], [liked])
        assert profile.heard[0].title == SONGS[7].title


async def test_a_receipt_from_the_future_is_answered_and_not_fresh(recommender: RunningRecommender, redis: Redis):
    async with following(recommender.settings, redis):
        mark = await recommender.feedback("u", "liked", IDS[0])
        late = await recommender.new_playlist(not_before={**mark, "offset": mark["offset"] + 1_000_000})
        assert (late["fresh"], len(late["slots"])) == (False, 6)
        foreign = await recommender.new_playlist(not_before={**mark, "topic_id": "0" * 32})
        assert foreign["fresh"] is False
        body = {"user_id": "u", "mark": mark, "timeout_ms": 2_000}
        assert (await recommender.client.post("/internal/await", json=body)).json()["reached"] is True


async def test_the_rest_is_another_revision_and_others_cannot_ask_for_it(recommender: RunningRecommender):
    first = await recommender.new_playlist()
    again = (await recommender.rest(first["playlist_id"], 3)).json()
    assert again["revision"] == 1
    assert [s["song_id"] for s in again["slots"][:3]] == [s["song_id"] for s in first["slots"][:3]]
    assert [s["arm"] for s in again["slots"]] == [s["arm"] for s in first["slots"]]
    assert recommender.signed_slot(again["slots"][4]).revision == 1
    assert (await recommender.rest(first["playlist_id"], 3, user_id="thief")).status_code == 404
    assert (await recommender.rest(str(uuid4()), 0)).status_code == 404
    assert (await recommender.rest(first["playlist_id"], 6)).json()["error"] == "nothing_to_pick"
    revisions = await asyncio.gather(*[recommender.rest(first["playlist_id"], 1) for _ in range(5)])
    assert sorted(each.json()["revision"] for each in revisions) == [2, 3, 4, 5, 6]
    assert sorted(each.revision for each in await recommender.logged()) == list(range(7))


async def test_a_catalogue_of_one_song_and_one_without_songs_are_no_outage(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path
):
    async with running_recommender(settings_for(log, valkey.url, tmp_path)) as recommender:
        empty = await recommender.client.get("/readyz")
        assert (empty.status_code, empty.json()["songs"]) == (200, 0)
        refused = await recommender.client.post("/internal/playlists", json={"user_id": "u"})
        assert (refused.status_code, "catalogue is empty" in refused.text) == (503, True)
        await publish_songs(log, SONGS[:1])

        async def there() -> bool:
            return (await recommender.client.get("/readyz")).json()["songs"] == 1

        await apoll(there, what="the song is there")
        first = await recommender.new_playlist()
        assert [slot["song_id"] for slot in first["slots"]] == IDS[:1]
        # Nothing else is eligible: the rest is empty, and what was served stays.
        rest = await recommender.rest(first["playlist_id"], 1)
        assert (rest.status_code, rest.json()["revision"]) == (201, 1)
        assert [slot["song_id"] for slot in rest.json()["slots"]] == IDS[:1]
        assert (await recommender.rest(first["playlist_id"], len(ARMS))).json()["error"] == "nothing_to_pick"


async def test_a_playlist_is_resumed_by_a_process_that_did_not_serve_it(recommender: RunningRecommender, redis: Redis):
    async with following(recommender.settings, redis):
        first = await recommender.new_playlist()
        served = (await recommender.rest(first["playlist_id"], 2)).json()
        await at_end(recommender.settings.kafka, redis)
    path = f"/internal/playlists/{first['playlist_id']}"
    async with running_recommender(recommender.settings, seed=99) as other:
        resumed = (await other.client.get(path, params={"user_id": "u"})).json()
        assert resumed["revision"] == served["revision"] == 1
        assert [s["slot_token"] for s in resumed["slots"]] == [s["slot_token"] for s in served["slots"]]
        assert (await other.client.get(path, params={"user_id": "thief"})).status_code == 404
        assert (await other.client.get(path)).json()["error"] == "malformed"
        assert (await other.rest(first["playlist_id"], 1)).json()["revision"] == 2


async def test_new_songs_appear_and_withdrawn_ones_go_without_a_restart(recommender: RunningRecommender):
    new = song(1, [1], views=10**12, title="Brand new")
    await publish_songs(recommender.settings.kafka, [new])

    async def popular() -> bool:
        answer = await recommender.new_playlist(str(uuid4()))
        return "Brand new" in {slot["title"] for slot in answer["slots"]}

    await apoll(popular, what="the new song is served")
    found = SongAnswer.model_validate((await recommender.client.get("/internal/songs/yt-1")).json())
    assert found.song.title == "Brand new"
    withdrawn = b'{"schema": 1, "song_id": "s001", "withdrawn": true}'
    await publish_songs(recommender.settings.kafka, [_Raw("s001", withdrawn), _Raw("broken", b"no song")])

    async def gone() -> bool:
        return (await recommender.client.get("/internal/songs/s001")).status_code == 404

    await apoll(gone, what="the withdrawn song is gone")
    assert len((await recommender.new_playlist())["slots"]) == 6


class _Raw:
    """A record of the catalogue that is no song."""

    def __init__(self, song_id: str, value: bytes) -> None:
        self.song_id = song_id
        self._value = value

    def log_value(self) -> bytes:
        return self._value


async def test_a_video_that_songs_share_is_the_song_that_this_listener_was_served(recommender: RunningRecommender):
    first, second, third = (await recommender.new_playlist())["slots"][:3]
    never = min(IDS)
    if never in {first["song_id"], second["song_id"], third["song_id"]}:
        never = next(each for each in IDS if each not in {slot["song_id"] for slot in (first, second, third)})
    known = {each.song_id: each for each in SONGS}
    shared = {"one": [first["song_id"], never], "two": [second["song_id"], third["song_id"]]}
    await publish_songs(
        recommender.settings.kafka,
        [
            known[song_id].model_copy(update={"links": (Link(site="youtube", id=video),)})
            for video, song_ids in shared.items()
            for song_id in song_ids
        ],
    )

    async def meant(video: str, **query: str) -> str:
        answer = await recommender.client.get(f"/internal/songs/{video}", params=query)
        return SongAnswer.model_validate(answer.json()).song.song_id if answer.status_code == 200 else ""

    async def followed() -> bool:
        return len(recommender.parts.snapshots.current.catalogue.find_all("two")) == 2

    await apoll(followed, what="the recommender knows the videos")
    assert await meant("one", user_id="u") == first["song_id"]
    assert await meant("one", user_id="somebody else") == min(shared["one"])
    for slot in (second, third):
        assert await meant("two", user_id="u", arm=slot["arm"]) == slot["song_id"]


async def test_anime_are_found_and_what_is_malformed_is_named(recommender: RunningRecommender):
    name = SONGS[0].anime.title.split()[0]
    hits = AnimeHits.model_validate((await recommender.client.get("/internal/anime", params={"query": name})).json())
    assert hits.hits[0].title == SONGS[0].anime.title
    assert (await recommender.client.get("/internal/anime", params={"limit": "x"})).json()["error"] == "malformed"
    assert (await recommender.client.post("/internal/playlists", json={})).json()["message"].startswith("user_id")
    assert (await recommender.client.get("/internal/playlists/not-a-uuid?user_id=u")).status_code == 404
    metrics = (await recommender.client.get("/metrics")).text
    assert "animusic_recommender_arm_seconds_bucket" in metrics


async def test_a_playlist_has_the_time_of_each_arm(recommender: RunningRecommender):
    answer = await recommender.client.post("/internal/playlists", json={"user_id": "u1"})
    turns = dict(turns_of(answer.headers["server-timing"]))
    assert set(turns) == set(ARMS)
    assert all(0 < seconds < 1 for seconds in turns.values())
    resumed = await recommender.client.get(f"/internal/playlists/{answer.json()['playlist_id']}?user_id=u1")
    assert "server-timing" not in resumed.headers


async def test_a_song_shown_three_times_and_never_started_rests(recommender: RunningRecommender):
    shown = [
        {s["song_id"] for s in (await recommender.new_playlist())["slots"] if s["arm"] == "popular"} for _ in range(4)
    ]
    songs = [song_id for songs in shown[:3] for song_id in songs]
    assert {each for each in songs if songs.count(each) == 3}.isdisjoint(shown[3])
