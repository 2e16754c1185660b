"""Anime lists as they come: what can be read is taken, and the rest is counted by reason."""

from typing import Any

import pytest

from contracts.http import ScoreFormat
from contracts.profiles import AnimeEntry
from services.gateway.lists import EXAMPLES, MOST_ENTRIES, NothingReadable, ReadList, read_list

GOOD: dict[str, Any] = {"mal_id": 5114, "status": "completed", "score": 9}


def codes(notes: list[Any]) -> dict[str, int]:
    return {note.reason.partition(":")[0]: note.count for note in notes}


def scores(read: ReadList) -> list[float | None]:
    return [entry.score for entry in read.entries]


def of_scores(*given: object, score_format: ScoreFormat | None = None) -> ReadList:
    return read_list([{"mal_id": n, "score": score} for n, score in enumerate(given, 1)], score_format)


def test_a_valid_list_gets_no_warnings() -> None:
    read = read_list([GOOD, {"mal_id": 1}, {"mal_id": 2, "score": 7.5, "title": "?"}])
    assert read.entries == [
        AnimeEntry(mal_id=5114, status="completed", score=9), AnimeEntry(mal_id=1), AnimeEntry(mal_id=2, score=7.5),
    ]  # fmt: skip
    assert (read.left_out, read.warnings) == ([], [])


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ({"mal_id": None, "status": "COMPLETED"}, "no_mal_id"),
        ({"status": "COMPLETED"}, "no_mal_id"),
        ({"mal_id": 0}, "no_mal_id"),
        (None, "no_mal_id"),
        (0, "no_mal_id"),
        ({"mal_id": -5}, "bad_mal_id"),
        ({"mal_id": 2**32}, "bad_mal_id"),
        ({"mal_id": 1.5}, "bad_mal_id"),
        ({"mal_id": True}, "bad_mal_id"),
        ({"mal_id": float("nan")}, "bad_mal_id"),
        ({"mal_id": "K-On!"}, "bad_mal_id"),
        ({"mal_id": [1]}, "bad_mal_id"),
        (["a"], "bad_mal_id"),
        ({"mal_id": "5114", "score": 3}, "duplicate"),
        (5114, "duplicate"),
    ],
)
def test_an_entry_that_cannot_be_read_is_left_out_and_counted(raw: object, code: str) -> None:
    read = read_list([GOOD, raw, raw])
    assert read.entries == [AnimeEntry.model_validate(GOOD)]
    assert codes(read.left_out) == {code: 2}
    assert len(read.left_out[0].examples) == 2


@pytest.mark.parametrize("mal_id", [5114, 5114.0, "5114", " 5114 "])
def test_an_id_is_read_in_any_spelling(mal_id: object) -> None:
    for raw in (mal_id, {"mal_id": mal_id}):
        assert read_list([raw]).entries == [AnimeEntry(mal_id=5114)]


@pytest.mark.parametrize(
    ("spelled", "status"),
    [
        ("CURRENT", "watching"), ("PLANNING", "plan_to_watch"), ("COMPLETED", "completed"), ("DROPPED", "dropped"),
        ("PAUSED", "on_hold"), ("REPEATING", "rewatching"), ("Watching", "watching"), ("On-Hold", "on_hold"),
        ("Plan to Watch", "plan_to_watch"), (2, "completed"), ("6", "plan_to_watch"), (None, None), ("", None),
    ],
)  # fmt: skip
def test_statuses_of_anilist_and_myanimelist_are_known(spelled: object, status: str | None) -> None:
    read = read_list([{"mal_id": 1, "status": spelled}])
    assert (read.entries[0].status, read.warnings) == (status, [])


@pytest.mark.parametrize("unknown", ["SEEN", 5, ["COMPLETED"], {}])
def test_an_anime_is_accepted_without_its_unknown_status(unknown: object) -> None:
    read = read_list([{**GOOD, "status": unknown}])
    assert read.entries == [AnimeEntry(mal_id=5114, score=9)]
    assert codes(read.warnings) == {"bad_status": 1}


@pytest.mark.parametrize("none", [None, 0, 0.0, "", "0"])
def test_no_score_is_none(none: object) -> None:
    read = of_scores(none, 8)
    assert (scores(read), read.warnings) == ([None, 8], [])


@pytest.mark.parametrize("wrong", [-1, float("nan"), "ten", [], True, 101, 10.5, "8,5"])
def test_an_anime_is_accepted_without_its_invalid_score(wrong: object) -> None:
    read = of_scores(8, 9, wrong)
    assert scores(read) == [8, 9, None]
    assert codes(read.warnings) == {"bad_score": 1}


def test_a_list_of_100_is_known_by_most_of_its_scores() -> None:
    read = of_scores(85, 100, 7, 0, None)
    assert scores(read) == [8.5, 10, 0.7, None, None]
    assert codes(read.warnings) == {"scores_of_100": 3}
    assert "score_format" in read.warnings[0].reason


def test_one_wrong_score_does_not_make_a_list_of_100() -> None:
    read = of_scores(85, 9, 8)
    assert scores(read) == [None, 9, 8]
    assert codes(read.warnings) == {"bad_score": 1}


@pytest.mark.parametrize(
    ("score_format", "given", "taken"),
    [
        ("POINT_100", [85, 7, 101], [8.5, 0.7, None]),
        ("POINT_10_DECIMAL", [8.5, 10, 11], [8.5, 10, None]),
        ("POINT_10", [8, 10, 85], [8, 10, None]),
        ("POINT_5", [1, 5, 6], [2, 10, None]),
        ("POINT_3", [1, 2, 3, 4], [3.5, 6, 8.5, None]),
    ],
)
def test_a_given_scale_is_used(score_format: ScoreFormat, given: list[int], taken: list[float | None]) -> None:
    read = of_scores(*given, score_format=score_format)
    assert scores(read) == taken
    assert codes(read.warnings) in ({"bad_score": 1}, {})


def test_an_unreadable_list_is_rejected_with_the_reasons() -> None:
    with pytest.raises(NothingReadable) as nothing:
        read_list([None, {"mal_id": None}, {"mal_id": "x"}])
    assert "none of the 3 entries" in str(nothing.value)
    assert "2 no_mal_id" in str(nothing.value)
    assert "1 bad_mal_id" in str(nothing.value)
    assert "stays as it was" in str(nothing.value)


def test_an_empty_list_empties_with_a_warning() -> None:
    read = read_list([])
    assert (read.entries, read.left_out, codes(read.warnings)) == ([], [], {"empty_list": 0})


def test_what_is_over_the_longest_list_is_counted() -> None:
    read = read_list(list(range(1, MOST_ENTRIES + 6)))
    assert len(read.entries) == MOST_ENTRIES
    assert codes(read.left_out) == {"too_many": 5}


def test_a_few_examples_are_shown_as_they_were_sent() -> None:
    wrong = [{"mal_id": None, "title": "鋼" * 200}, *({"mal_id": n} for n in (-1, -2, -3, -4, -5))]
    first, second = read_list([GOOD, *wrong]).left_out
    assert first.examples[0].startswith('{"mal_id": null, "title": "鋼')
    assert len(first.examples[0]) == 80
    assert second.examples == ['{"mal_id": -1}', '{"mal_id": -2}', '{"mal_id": -3}']
    assert len(second.examples) == EXAMPLES < second.count


def test_every_entry_is_accepted_or_counted() -> None:
    sent = [GOOD, GOOD, None, 7, "x", {"mal_id": 8, "status": "?", "score": "?"}, [], {}]
    read = read_list(sent)
    assert len(read.entries) + sum(note.count for note in read.left_out) == len(sent)
