"""The loop that everything is for: what a listener does changes the next list, in every place that shows it."""

import shlex
import subprocess
import uuid

import httpx
import pytest

from contracts.arms import ARMS
from tests.support.system import Listener, System, event, of_slot
from tests.support.waiting import poll

pytestmark = pytest.mark.system

BUILT = set(ARMS)


def test_a_newcomer_gets_every_built_arm(system, listener) -> None:
    playlist = listener.playlist()
    assert {slot["arm"] for slot in playlist["slots"]} == BUILT
    assert playlist["left_out"] == {}
    assert playlist["cold"] == "mean"
    anime = [slot["anime_id"] for slot in playlist["slots"]]
    assert len(set(anime)) == len(anime)


def test_the_papers_endpoint_answers_a_new_name_with_a_song_of_each_arm(system) -> None:
    videos = httpx.get(f"{system.url}/playlist", params={"anilist_username": "new"}).json()["videos"]
    assert {video["recommended_by"] for video in videos} == BUILT
    assert all(video["song"] and video["anime"] and video["youtube_url"] for video in videos)


def test_an_anime_list_warms_the_first_playlist(system, listener) -> None:
    entries = [{"mal_id": 9253, "status": "completed", "score": 9}, {"mal_id": 5114, "status": "completed"}]
    answer = listener.http.put("/v1/profile/anime", json={"entries": entries})
    assert answer.status_code == 200, answer.text
    playlist = listener.playlist(answer.json()["receipt"])
    assert playlist["fresh"]
    assert playlist["cold"] == "list"
    assert [entry["mal_id"] for entry in listener.profile()["anime_list"]] == [9253, 5114]


def test_a_like_changes_the_next_list_the_profile_and_the_warehouse(system, listener) -> None:
    slot = listener.playlist()["slots"][0]
    liked = of_slot("liked", slot)
    receipt = listener.send(of_slot("shown", slot), of_slot("started", slot, play_id=str(uuid.uuid4())), liked)
    after = listener.playlist(receipt)
    assert after["fresh"]
    assert slot["song_id"] not in {other["song_id"] for other in after["slots"]}
    profile = listener.profile()
    assert profile["liked"] == profile["favoured"] == [slot["song_id"]]
    assert profile["digest"] != "0" * 32
    _warehouse_has(system, listener, liked, slot)


def _warehouse_has(system: System, listener: Listener, liked: dict[str, object], slot: dict[str, object]) -> None:
    sql = f"SELECT user_id, arm, attribution FROM feedback_clean WHERE event_id = '{liked['event_id']}' FORMAT TSV"

    def row() -> str:
        answer = httpx.post(system.settings().clickhouse.dsn, content=sql, timeout=30)
        assert answer.is_success, answer.text
        return answer.text.strip()

    assert poll(row, timeout=15, what="the like is in the warehouse") == f"{listener.user_id}\t{slot['arm']}\tslot"


def test_a_veto_acts_on_the_next_list_and_is_taken_back(system, listener) -> None:
    anime = listener.playlist()["slots"][0]["anime_id"]
    receipt = listener.send(event("vetoed", anime_id=anime))
    for _ in range(5):
        assert anime not in {slot["anime_id"] for slot in listener.playlist(receipt)["slots"]}
    assert listener.profile()["vetoed"] == [anime]
    receipt = listener.send(event("unvetoed", anime_id=anime))
    listener.playlist(receipt)
    assert listener.profile()["vetoed"] == []


def test_the_rest_of_a_playlist_is_picked_again_and_resumed(system, listener) -> None:
    first = listener.playlist()
    receipt = listener.send(of_slot("liked", first["slots"][0]))
    path = f"/v1/playlists/{first['playlist_id']}"
    second = listener.http.post(f"{path}/rest", json={"from_slot": 1, "not_before": receipt})
    assert second.status_code == 201, second.text
    assert second.json()["revision"] == 1
    assert second.json()["slots"][0]["song_id"] == first["slots"][0]["song_id"]
    resumed = listener.http.get(path).json()
    assert [s["song_id"] for s in resumed["slots"]] == [s["song_id"] for s in second.json()["slots"]]


def test_the_papers_feedback_is_reflected_when_it_answers(system) -> None:
    name = f"paper-{uuid.uuid4().hex[:8]}"
    video = _paper_playlist(system, name)[0]
    body = {
        "anilist_username": name,
        "song_id": video["youtube_video_id"],
        "recommended_by": "TF-IDF",
        "watch_time": 80.0,
        "total_video_time": 90.0,
        "liked": True,
    }
    answer = httpx.post(f"{system.url}/feedback", json=body)
    assert answer.json() == {"status": "ok"}, answer.text
    assert video["youtube_video_id"] not in {other["youtube_video_id"] for other in _paper_playlist(system, name)}
    uploaded = httpx.post(f"{system.url}/upload_anilist_profile", json={"anilist_username": name, "mal_ids": [1, 5]})
    assert uploaded.json() == {"status": "ok", "count": 2}


def test_the_papers_extension_is_answered_and_loses_no_like(system) -> None:
    name, extension = (
        f"paper-{uuid.uuid4().hex[:8]}",
        {"Origin": "moz-extension://0c1f2e3d-4b5a-4c6d-8e7f-001122334455"},
    )
    video = _paper_playlist(system, name)[0]
    said = {"anilist_username": name, "song_id": video["youtube_video_id"], "recommended_by": "TF-IDF", "liked": True}
    body = {**said, "watch_time": 130, "total_video_time": 90}
    answer = httpx.post(f"{system.url}/feedback", json=body, headers=extension)
    assert (answer.status_code, answer.json()["status"]) == (200, "ok"), answer.text
    assert [warning.split(": ")[1] for warning in answer.json()["warnings"]] == ["watch_time, total_video_time"]
    assert answer.headers["access-control-allow-origin"] == extension["Origin"]
    assert video["youtube_video_id"] not in {other["youtube_video_id"] for other in _paper_playlist(system, name)}
    mal_ids = {"anilist_username": name, "mal_ids": [1, None, "5", 0, 1]}
    uploaded = httpx.post(f"{system.url}/upload_anilist_profile", json=mal_ids, headers=extension).json()
    assert (uploaded["status"], uploaded["count"]) == ("ok", 2)
    assert sum(note["count"] for note in uploaded["left_out"]) == 3
    page = httpx.post(f"{system.url}/feedback", json=body, headers={"Origin": "https://evil.example"})
    assert (page.status_code, page.json()["error"]) == (403, "wrong_origin")


def _paper_playlist(system: System, name: str) -> list[dict[str, str]]:
    answer = httpx.get(f"{system.url}/playlist", params={"anilist_username": name})
    return list(answer.json()["videos"])


def test_the_three_lines_that_it_prints_work_when_pasted(system) -> None:
    lines = [line.strip() for line in system.printed().splitlines() if "curl -s" in line]
    assert len(lines) == 3
    script = "\n".join(f"{line}; echo" for line in lines)
    done = subprocess.run(["bash", "-c", f"set -e\n{script}"], capture_output=True, text=True, timeout=60)
    answers = [line for line in done.stdout.splitlines() if line]
    assert '"playlist_id"' in answers[0], done
    assert '"videos"' in answers[1], done


def test_sql_trace_and_status_find_the_running_system(system, listener) -> None:
    slot = listener.playlist()["slots"][0]
    liked = of_slot("liked", slot)
    listener.playlist(listener.send(liked))
    asked = system.command("sql", "SELECT 40 + 2")
    assert "42" in asked.stdout, asked
    traced = system.command("trace", str(liked["event_id"]))
    assert traced.returncode == 0, shlex.join(traced.args) + traced.stderr
    assert slot["song_id"] in traced.stdout
    looked = system.command("status")
    assert looked.returncode < 2, looked.stdout


def test_a_song_is_answered_as_the_log_spells_it(listener) -> None:
    slot = listener.playlist()["slots"][0]
    answer = listener.http.get(f"/v1/songs/{slot['song_id']}").json()
    assert answer["song"]["schema"] == 1 and answer["song"]["title"] == slot["title"]
    assert answer["url"] == slot["url"]
