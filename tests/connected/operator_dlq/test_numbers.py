"""Songs with numbers that no column takes: an older version served them, and kept them from ClickHouse."""

import json

import pytest

from contracts.catalogue import Song
from contracts.ranges import Range
from contracts.topics import CATALOGUE
from services.common.kafka.catalogue_log import read_catalogue
from tests.connected.operator_dlq.house import House
from tests.support.waiting import apoll

pytestmark = [pytest.mark.connected, pytest.mark.usefixtures("watchful")]

SONGS = {
    "too-large-an-id": {"mal_id": 2**32},
    "too-many-views": {"views": 2**64},
    "below-zero": {"popularity": -1},
    "too-large-a-score": {"score": 11, "mal_id": 0},
}
_SEEN = "SELECT song_id, mal_id, mal_score, mal_popularity, youtube_views FROM animusic.songs ORDER BY song_id"


def record(song_id: str, **numbers: int) -> bytes:
    """A song as an older version wrote it."""
    anime = {"anime_id": "a", "title": "A", "mal_id": 1, "score": 7.5, "popularity": 5}
    anime |= {name: number for name, number in numbers.items() if name in anime}
    link = {"site": "youtube", "id": "abcdefghijk", "views": numbers.get("views", 9)}
    appearances = [{"anime": anime, "relation": "opening"}]
    told = {"schema": 1, "song_id": song_id, "title": "Song", "appearances": appearances, "links": [link]}
    return json.dumps(told).encode()


async def _append(home: House) -> None:
    """All of them, and wait until the warehouse has come to their end."""
    for song_id, numbers in SONGS.items():
        value = record(song_id, **numbers)
        await home.producer.send_and_wait(CATALOGUE.name, value, key=song_id.encode(), partition=0)
    await _read(home, len(SONGS))


async def _read(home: House, records: int) -> None:
    statement = f"SELECT mark FROM animusic.marks_clean WHERE topic = '{CATALOGUE.name}'"

    async def there() -> bool:
        return any(row["mark"] >= records for row in home.ask(statement))

    await apoll(there, timeout=60, what="the warehouse has read the catalogue")


def _wanted() -> list[dict[str, object]]:
    whole = {"mal_id": 1, "mal_score": 7.5, "mal_popularity": 5, "youtube_views": 9}
    left_out = {
        "too-large-an-id": {"mal_id"}, "too-many-views": {"youtube_views"}, "below-zero": {"mal_popularity"},
        "too-large-a-score": {"mal_score", "mal_id"},
    }  # fmt: skip
    return [
        {"song_id": song_id, **{name: None if name in left_out[song_id] else n for name, n in whole.items()}}
        for song_id in sorted(SONGS)
    ]


async def test_they_are_served_and_reach_clickhouse_without_the_number(home: House) -> None:
    await _append(home)
    assert await home.dead_letters() == []
    assert home.ask(_SEEN) == _wanted()
    assert (await read_catalogue(home.log)).songs.keys() == SONGS.keys()


async def test_the_dead_letters_that_an_older_version_made_of_them_are_redriven_as_they_are(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        # Without ranges the contract is what it was.
        older.setattr(Range, "holds", lambda _range, _value: True)
        await _append(home)
    dead_letters = {
        dead_letter.key.decode(): dead_letter for dead_letter in await home.dead_letters() if dead_letter.key
    }
    assert dead_letters.keys() == SONGS.keys() - {"too-large-a-score"}
    assert {dead_letter.steps for dead_letter in dead_letters.values()} == {("warehouse",)}
    assert [row["song_id"] for row in home.ask(_SEEN)] == ["too-large-a-score"]
    said = await home.animusic("dlq", "redrive", "--topic", CATALOGUE.name)
    assert "3 redriven, 0 kept" in said
    await _read(home, len(SONGS) + 3)
    assert {dead_letter.state for dead_letter in await home.dead_letters()} == {"redriven"}
    redriven = [row for row in home.ask(_SEEN) if row["song_id"] != "too-large-a-score"]
    assert redriven == [row for row in _wanted() if row["song_id"] != "too-large-a-score"]
    assert all(isinstance(song, Song) for song in (await read_catalogue(home.log)).songs.values())
