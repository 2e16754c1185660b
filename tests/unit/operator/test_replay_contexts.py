"""When nobody was served at a time, the sentence says since when the log has playlists."""

from services.operator.replay.contexts import Wanted, not_served

NOON = 1_795_953_600_000
HOUR = 3_600_000


def test_a_new_log_has_none_yet() -> None:
    assert "no playlist is in the log yet" in not_served(Wanted(NOON), None)


def test_a_time_before_the_log_is_told_where_the_log_begins() -> None:
    said = not_served(Wanted(NOON - 2 * HOUR), NOON)
    assert "no playlist of 2026-11-29 10:00:00 UTC" in said
    assert "the log's first one was served at 2026-11-29 12:00:00 UTC" in said
    assert "`--at now`" in said


def test_otherwise_it_names_the_window_or_the_listeners() -> None:
    assert "no listener in the 60 minutes before was served one" in not_served(Wanted(NOON), NOON - HOUR)
    asked = Wanted(NOON, frozenset({"b", "a"}))
    assert "none of a, b was served one" in not_served(asked, NOON - HOUR)
