"""From stored fields to a profile; digests that follow changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.fold import LIST_FIELD, Folded, fold, stored_fields, user_digest
from services.profiles.decoding import HistoryEntry, ProfileState, decode_changes, decode_history, decode_state
from tests.support.histories import history_strategy


def state_of(fields: dict[bytes, bytes], before: ProfileState | None = None) -> ProfileState:
    """The state that HGETALL's flat answer gives."""
    flat = [part for pair in fields.items() for part in pair]
    return decode_state("u1", "g1", b"12345678", [*flat, b"#", b"12345678"], before)


@given(history_strategy(), history_strategy(), st.booleans())
def test_a_state_that_follows_changes_is_the_one_from_scratch(one, other, asked):
    before, after = (stored_fields(fold(events).get("u1", Folded())) for events in (one, other))
    after[LIST_FIELD] = bytes(8) + b'[{"mal_id":1}]'
    states = [state_of(before)]
    for old, new in ((before, after), (after, before)):
        if asked:
            assert states[-1].digest == user_digest("u1", old)
        names = [name for name in old.keys() | new.keys() if old.get(name) != new.get(name)]
        states.append(
            decode_changes(states[-1], b"87654321", [part for name in names for part in (name, new.get(name))])
        )
        fresh = state_of(new)
        assert states[-1].content == fresh.content
        assert set(states[-1].moved) == {name[1:].decode() for name in names if name[:1] == b"s"}
        assert states[-1].anime_list == fresh.anime_list
        assert states[-1].digest == user_digest("u1", new)
    assert states[0].content == state_of(before).content


def test_what_did_not_change_is_the_same_object():
    old = state_of({b"sx": b"x" * 85, b"vmal-1": b"v" * 25})
    new = decode_changes(old, b"87654321", [b"sy", b"y" * 85])
    assert new.vetoes is old.vetoes
    assert (old.songs.keys(), new.songs.keys()) == ({"x"}, {"x", "y"})


def test_an_unchanged_list_is_not_decoded_again():
    fields = {LIST_FIELD: bytes(8) + b'[{"mal_id":5114,"score":9.0}]'}
    old = state_of(fields)
    assert [(entry.mal_id, entry.score) for entry in old.anime_list] == [(5114, 9.0)]
    assert state_of({**fields, b"sx": b"y" * 85}, old).anime_list is old.anime_list


def test_an_unknown_field_is_an_error():
    with pytest.raises(ValueError, match="newer version"):
        state_of({b"zz": b""})
    with pytest.raises(ValueError, match="newer version"):
        decode_changes(state_of({}), b"87654321", [b"zz", b""])


def test_history_is_by_time_newest_last():
    def value(at: int, revision: int, songs: bytes) -> bytes:
        return at.to_bytes(8, "big") + revision.to_bytes(2, "big") + songs

    flat = [b"p2", value(9, 1, b'["b","c"]'), b"#", b"12345678", b"p1", value(3, 0, b'["a"]')]
    assert decode_history(flat) == (HistoryEntry("p1", 3, 0, ("a",)), HistoryEntry("p2", 9, 1, ("b", "c")))
