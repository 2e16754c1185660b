"""A song is one song for life: liked, corrected in every way, merged, rebuilt, replayed, backed up and restored."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collectors.likeness import differs_little
from collectors.sources import SAMPLE
from contracts.catalogue import anime_id_of, song_id_of
from tests.support.system import Listener, System, event, of_slot, running_system
from tests.support.waiting import poll
from tests.system.conftest import Another

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

SECOND = "A record of its own"
SECOND_ANIME = "Another show altogether"
SECOND_ID = song_id_of(None, anime_id_of(None, SECOND_ANIME), SECOND)


def test_a_like_and_a_veto_outlive_every_correction(another: Another, tmp_path: Path) -> None:
    with another() as system:
        listener = Listener(system.url)
        slots = listener.playlist()["slots"]
        # Of a word of five letters or more one may be a mistake.
        liked = next(slot for slot in slots if max(map(len, slot["title"].split())) > 5)
        vetoed = next(slot for slot in slots if slot is not liked)
        listener.send(of_slot("liked", liked), event("vetoed", anime_id=vetoed["anime_id"]))
        receipt = listener.send(of_slot("progress", liked, watch_seconds=60, duration_seconds=90))
        _holds(system, listener, liked, vetoed, receipt)
        for title, corrected in _corrections(_shown(system, liked["song_id"]), _shown(system, vetoed["song_id"])):
            _import(system, tmp_path, corrected)
            _served_as(listener, liked["song_id"], title)
            _holds(system, listener, liked, vetoed)
        _merge_a_second_record(system, listener, liked, tmp_path)
        _holds(system, listener, liked, vetoed)
        _works(system, "models", "build", "tfidf", "node2vec")
        _works(system, "replay", "profiles")
        _works(system, "replay", "warehouse")
        _holds(system, listener, liked, vetoed)
        _one_row_in_every_view(system, listener, liked["song_id"])
        _works(system, "verify")
        _works(system, "backup", str(tmp_path / "backup"))
        token, secret = listener.token, system.data_dir / "secret"
        shutil.copy(secret, tmp_path / "secret")
    _restored(tmp_path, token, liked, vetoed)


def _corrections(liked: dict[str, Any], vetoed: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """The sample's file with one correction after the other: the title of the liked song, and that file's rows.

    Its title and then its AniDB id, and the MyAnimeList ids of its anime and of the one that was vetoed.
    """
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    word = max(liked["title"].split(), key=len)
    title = liked["title"].replace(word, word[:3] + word[2:], 1)
    assert differs_little(title, liked["title"]) and title != liked["title"]
    ours = [row for row in rows if row["song"] == liked["title"]]
    for row in ours:
        row["song"] = title
    yield title, rows
    for row in ours:
        row["song_url"] = "/song/999999"
    yield title, rows
    for number, song in ((4_000_000, liked), (4_000_001, vetoed)):
        for row in rows:
            if row["MAL_ID"] == str(song["appearances"][0]["anime"]["mal_id"]):
                row["MAL_ID"] = str(number)
        yield title, rows


def _import(system: System, directory: Path, rows: list[dict[str, str]]) -> None:
    path = directory / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, fieldnames=list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    done = _works(system, "catalogue", "import", str(path))
    assert "songs with another" in done


def _works(system: System, *arguments: str) -> str:
    done = system.command(*arguments, timeout=240)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


def _shown(system: System, song_id: str) -> dict[str, Any]:
    return dict(json.loads(_works(system, "catalogue", "show", song_id)))


def _song(listener: Listener, song_id: str) -> dict[str, Any]:
    """The song as the recommender has it; empty while it does not know the id."""
    return dict(listener.http.get(f"/v1/songs/{song_id}").json().get("song", {}))


def _served_as(listener: Listener, song_id: str, title: str) -> None:
    """Wait until the recommender has the corrected record, under the id that the song always had."""
    poll(
        lambda: _song(listener, song_id).get("title") == title,
        timeout=30,
        what=f"{song_id} is called {title}",
    )


def _holds(
    system: System, listener: Listener, liked: dict[str, Any], vetoed: dict[str, Any], receipt: str | None = None
) -> None:
    """Still liked, still heard and so never offered, the anime still vetoed."""
    for _ in range(3):
        served = listener.playlist(receipt)["slots"]
        assert served and liked["song_id"] not in {slot["song_id"] for slot in served}
        assert liked["title"] not in {slot["title"] for slot in served}
        assert vetoed["anime"] not in {slot["anime"] for slot in served}
    profile = listener.profile()
    assert profile["liked"] == [liked["song_id"]] and profile["vetoed"] == [vetoed["anime_id"]]
    assert [song["song_id"] for song in profile["heard"]] == [liked["song_id"]]


def _merge_a_second_record(system: System, listener: Listener, liked: dict[str, Any], directory: Path) -> None:
    """A record of the same song under another title: played, un-liked, and then found out to be the liked one."""
    _import(system, directory, [{"relation": "ending", "song": SECOND, "anime": SECOND_ANIME}])
    _served_as(listener, SECOND_ID, SECOND)
    listener.send(event("started", song_id=SECOND_ID))
    assert "alias" in system.command("catalogue", "merge", liked["song_id"], SECOND_ID).stderr
    poll(
        lambda: _song(listener, SECOND_ID).get("song_id") == liked["song_id"],
        timeout=30,
        what="the second record is an alias",
    )
    # A slot token counts for the song under each of its ids.
    answer = listener.post(of_slot("ended", liked | {"song_id": SECOND_ID}, watch_seconds=80, duration_seconds=90))
    assert answer["accepted"] == 1 and not answer["warnings"], answer


def _one_row_in_every_view(system: System, listener: Listener, song_id: str) -> None:
    def asked(columns: str, view: str, more: str = "") -> list[list[str]]:
        statement = f"SELECT {columns} FROM animusic.{view} WHERE user_id = '{listener.user_id}' {more}"
        return [line.split("\t") for line in _works(system, "sql", "--format", "TSV", statement).splitlines()]

    assert asked("song_id, liked, started, watch_ms", "listener_songs") == [[song_id, "1", "1", "80000"]]
    assert asked("DISTINCT song_id", "feedback_clean", "AND song_id != ''") == [[song_id]]
    assert asked("DISTINCT attribution", "feedback_clean", "AND kind = 'ended'") == [["slot"]]
    assert len(asked("anime_id, vetoed", "listener_vetoes")) == 1
    assert SECOND_ID not in {row[0] for row in asked("song_id", "slots")}
    assert _works(system, "sql", "--format", "TSV", "SELECT * FROM animusic.song_aliases").count(SECOND_ID) == 1


def _restored(directory: Path, token: str, liked: dict[str, Any], vetoed: dict[str, Any]) -> None:
    data_dir = directory / "restored"
    data_dir.mkdir()
    shutil.copy(directory / "secret", data_dir / "secret")
    done = System(data_dir).command("restore", str(directory / "backup"), timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    with running_system(data_dir) as system:
        listener = Listener(system.url)
        listener.http.headers["authorization"] = f"Bearer {token}"
        poll(lambda: listener.profile()["liked"] == [liked["song_id"]], timeout=60, what="the profile is there again")
        _holds(system, listener, liked, vetoed)
