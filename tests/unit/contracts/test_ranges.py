"""One table of ranges: what the contract leaves out upon reading, what its schema says, what a file's reader takes."""

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.catalogue import Anime, Link, Song
from contracts.ranges import ANIDB_ID, LIKES, MAL_ID, OF_COLUMN, POPULARITY, RANK, RATING, SCORE, VIEWS, Range
from contracts.records import read_record
from contracts.topics import CATALOGUE

EXAMPLE = Path(__file__).parents[3] / "contracts" / "examples" / CATALOGUE.name / "song.good.json"
ANIME, LINK = ("appearances", 0, "anime"), ("links", 0)
# Where a field lies in a record -> what it may be.
FIELDS: dict[tuple[Any, ...], Range] = {
    (*ANIME, "mal_id"): MAL_ID, (*ANIME, "score"): SCORE, (*ANIME, "rank"): RANK, (*ANIME, "popularity"): POPULARITY,
    (*LINK, "views"): VIEWS, (*LINK, "likes"): LIKES, ("rating",): RATING,
    ("anidb_id",): ANIDB_ID,
}  # fmt: skip


def with_number(path: tuple[Any, ...], number: float) -> bytes:
    """The example as a record of the log, with this number in this field."""
    record = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    record["links"] = [{"site": "youtube", "id": "abcdefghijk"}]
    holder = record
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = number
    return json.dumps(record).encode()


def number_in(song: Song, path: tuple[Any, ...]) -> float | None:
    """What is read of it."""
    found: Any = song
    for step in path:
        found = found[step] if isinstance(step, int) else getattr(found, step)
    return found


@pytest.mark.parametrize("path", FIELDS, ids=str)
def test_a_record_with_a_number_outside_stays_a_song_without_it(path: tuple[Any, ...]) -> None:
    range_ = FIELDS[path]
    for inside in (range_.least, range_.most):
        assert number_in(read_record(CATALOGUE.name, with_number(path, inside)), path) == inside
    for outside in (range_.least - 1, range_.most + 1, 10**30, -(10**30)):
        song = read_record(CATALOGUE.name, with_number(path, outside))
        assert isinstance(song, Song) and number_in(song, path) is None


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_a_number_is_outside(number: float) -> None:
    for path in ((*ANIME, "score"), ("rating",)):
        assert number_in(read_record(CATALOGUE.name, with_number(path, number)), path) is None


def test_every_number_of_the_contract_has_a_range_and_its_schema_says_it() -> None:
    described = {}
    for model in (Anime, Link, Song):
        for name, schema in model.model_json_schema()["properties"].items():
            kinds = {each.get("type") for each in schema.get("anyOf", [schema])}
            if kinds & {"integer", "number"} and "const" not in schema:
                described[name] = schema.get("description", "").partition(";")[0]
    assert described == {path[-1]: str(range_) for path, range_ in FIELDS.items()}


def test_a_file_s_columns_have_the_ranges_of_the_fields_that_they_become() -> None:
    becomes = {
        "MAL_ID": "mal_id", "MAL_Score": "score", "MAL_Rank": "rank", "MAL_Popularity": "popularity",
        "youtube_views": "views", "youtube_likes": "likes", "rating": "rating",
    }  # fmt: skip
    # AniDB's id is read from a column that has an address.
    of_field = {path[-1]: range_ for path, range_ in FIELDS.items() if path != ("anidb_id",)}
    assert {becomes[column]: range_ for column, range_ in OF_COLUMN.items()} == of_field
