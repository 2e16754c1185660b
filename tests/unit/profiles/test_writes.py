"""From a record to its effect, and effects folded by shard."""

import json
from types import SimpleNamespace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.events import FeedbackEvent
from contracts.evolution.versions import NewerSchema
from contracts.fold import LIST_FIELD, fold, stored_fields
from contracts.placement import shard_of
from contracts.playlists import ServedPlaylist
from contracts.topics import FEEDBACK, PLAYLISTS, PROFILES
from services.common.kafka.consuming.model import Poison
from services.profiles.writes import Feedback, Forget, Listed, Served, ShardWrites, by_shard, effect_of, feedback_of
from tests.support.histories import BASE_MS, history_strategy


def record(topic: str, value: object, offset: int = 3) -> SimpleNamespace:
    """A fetched record; `value` is bytes as they are, None, or something for JSON."""
    body = value if value is None or isinstance(value, bytes) else encoded(value)
    return SimpleNamespace(topic=topic, partition=0, offset=offset, timestamp=BASE_MS, key=b"u", value=body, headers=())


def encoded(value: object) -> bytes:
    """The value of a record."""
    return json.dumps(value).encode()


LIKE = {
    "schema": 1, "event_id": str(UUID(int=1)), "kind": "liked", "user_id": "u", "song_id": "s",
    "occurred_at": BASE_MS, "received_at": BASE_MS,
}  # fmt: skip
LIST = {"schema": 1, "kind": "anime_list", "user_id": "u", "received_at": BASE_MS, "entries": [{"mal_id": 5114}]}
FORGOTTEN = {"schema": 1, "kind": "forgotten", "user_id": "u", "received_at": BASE_MS}


def playlist(revision: int, served_at: int, songs: str) -> ServedPlaylist:
    """A playlist as served; each letter of `songs` is a song."""
    slots = [
        {"slot": i, "song_id": s, "anime_id": f"mal-{i}", "arm": "random", "p_arm": 1.0, "p_song": 0.5, "score": 0.0}
        for i, s in enumerate(songs)
    ]
    return ServedPlaylist.model_validate(
        {
            "schema": 1, "playlist_id": UUID(int=7), "revision": revision, "user_id": "u", "served_at": served_at,
            "slots": slots, "picks": ["random"] * len(songs), "reflects": {}, "profile_digest": "0" * 32, "fresh": True,
        }
    )  # fmt: skip


def test_each_topic_has_its_effect():
    assert isinstance(effect_of(record(FEEDBACK.name, LIKE)), Feedback)
    assert effect_of(record(PROFILES.name, FORGOTTEN)) == Forget("u")
    listed = effect_of(record(PROFILES.name, LIST, offset=258))
    assert listed == Listed("u", (258).to_bytes(8, "big") + b'[{"mal_id":5114}]')
    served = effect_of(record(PLAYLISTS.name, playlist(2, BASE_MS, "ab").log_value()))
    assert isinstance(served, Served)
    assert served.value[:2] == b"\x00\x02"
    assert ServedPlaylist.model_validate_json(served.value[2:]) == playlist(2, BASE_MS, "ab")
    assert served.entry == BASE_MS.to_bytes(8, "big") + b"\x00\x02" + b'["a","b"]'


@pytest.mark.parametrize(
    ("topic", "value"),
    [
        (FEEDBACK.name, None),
        (FEEDBACK.name, b""),
        (FEEDBACK.name, b"\xff\xfe not text"),
        (FEEDBACK.name, b"[]"),
        (FEEDBACK.name, {**LIKE, "schema": 0}),
        (FEEDBACK.name, {**LIKE, "kind": "adored"}),
        (FEEDBACK.name, {**LIKE, "song_id": None}),
        (FEEDBACK.name, {**LIKE, "occurred_at": 1 << 60}),
        (PROFILES.name, {**LIST, "kind": "diary"}),
        (PROFILES.name, {**LIST, "entries": [{"mal_id": -1}]}),
        (PLAYLISTS.name, LIKE),
    ],
)
def test_what_cannot_be_read_is_poison_with_a_reason(topic, value):
    effect = effect_of(record(topic, value))
    assert isinstance(effect, Poison)
    assert effect.reason


def test_a_newer_schema_is_no_poison():
    with pytest.raises(NewerSchema):
        effect_of(record(FEEDBACK.name, {**LIKE, "schema": 2}))


def test_a_newer_producer_s_unknown_fields_are_no_poison():
    assert isinstance(effect_of(record(FEEDBACK.name, {**LIKE, "mood": "sunny"})), Feedback)


@given(history_strategy())
def test_folded_by_shard_is_the_fold_of_what_redis_holds(events):
    shards = by_shard([feedback_of(event) for event in events])
    fields = {user_id: found for writes in shards.values() for user_id, found in writes.fields().items()}
    expected = {user_id: stored_fields(folded) for user_id, folded in fold(events).items()}
    assert fields == {user_id: found for user_id, found in expected.items() if found}
    assert all(shard_of(user_id) == shard for shard, writes in shards.items() for user_id in writes.fields())


def test_the_highest_offset_of_an_anime_list_wins_in_any_order():
    for order in ((2, 300), (300, 2)):
        writes = ShardWrites()
        for offset in order:
            writes.add(effect_of(record(PROFILES.name, {**LIST, "entries": [{"mal_id": offset}]}, offset)))
        assert writes.fields()["u"][LIST_FIELD][8:] == b'[{"mal_id":300}]'


def test_the_highest_revision_of_a_playlist_wins_in_any_order():
    revisions = [
        effect_of(record(PLAYLISTS.name, playlist(r, BASE_MS + r, s).log_value())) for r, s in ((0, "a"), (1, "b"))
    ]
    for order in (revisions, revisions[::-1]):
        writes = ShardWrites()
        for effect in order:
            writes.add(effect)
        (served,) = writes.served.values()
        assert served == revisions[1]


def test_a_forgotten_user_has_nothing_to_merge_in_any_order():
    like = feedback_of(FeedbackEvent.model_validate(LIKE))
    for order in ((like, Forget("u")), (Forget("u"), like)):
        writes = ShardWrites()
        for effect in order:
            writes.add(effect)
        assert writes.fields() == {}
        assert writes.forgotten == {"u"}


SERVINGS = st.lists(st.tuples(st.sampled_from(["ann", "bob"]), st.integers(0, 20)), max_size=40)


@given(SERVINGS, SERVINGS, st.integers(1, 4))
def test_playlists_left_out_early_are_those_that_would_not_stay(before, after, lists):
    """However often the oldest are left out, the newest of each user are the same."""

    def served(number: int, user_id: str, playlist_number: int) -> Served:
        # A playlist has one user and one time; its revisions rise.
        value = number.to_bytes(2, "big") + b"playlist"
        entry = (playlist_number // 2).to_bytes(8, "big") + value
        return Served(user_id, f"{user_id}{playlist_number}", value, entry)

    often, once = ShardWrites(), ShardWrites()
    for number, (user_id, playlist_number) in enumerate(before + after):
        effect = served(number, user_id, playlist_number)
        once.add(effect)
        often.add(effect)
        if number % 3 == 0:
            often.keep_newest(lists)
    often.keep_newest(lists)
    for user_id in ("ann", "bob"):
        mine = sorted(((one.entry, one) for one in once.served.values() if one.user_id == user_id), reverse=True)
        assert {one.playlist_id: one for one in often.served.values() if one.user_id == user_id} == {
            one.playlist_id: one for _, one in mine[:lists]
        }
