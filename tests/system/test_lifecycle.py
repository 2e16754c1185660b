"""The supervisor's promises: one at a time, honest about the port, no orphan, every child comes back, nothing lost."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest
from redis import Redis

from services.common.settings import ENDPOINTS_FILE
from tests.support.system import PARTS, Listener, System, of_slot
from tests.support.waiting import poll
from tests.system.conftest import Another

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def own(another: Another) -> Iterator[System]:
    """A system that these tests may break; each leaves it running."""
    with another() as running:
        yield running


def test_a_first_start_imports_and_builds_and_says_so(first_start) -> None:
    _, printed = first_start
    done = ("topics: 8 created", "catalogue: sample", "model tfidf: built and live", "model node2vec: built and live")
    for line in done:
        assert f"✓ {line}" in printed


def test_it_prints_what_runs_and_where(own) -> None:
    printed = own.printed()
    assert all(part in printed for part in (*PARTS, "supervisor"))
    assert f"The page: {own.url}/" in printed
    assert printed.count("curl -s") == 3
    assert sum(process.memory_info().rss for process in own.processes()) < 3 << 30


def test_background_work_has_a_low_priority(own) -> None:
    """The warehouse, and the child in which Valkey rewrites its file."""
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    parts = {name: psutil.Process(own.part(name)["pid"]) for name in ("valkey", "gateway", "profiles", "warehouse")}
    wanted = dict.fromkeys(parts, mine) | {"warehouse": max(10, mine)}
    assert {name: part.nice() for name, part in parts.items()} == wanted
    with Redis.from_url(own.settings().redis.url) as redis:
        redis.config_set("rdb-key-save-delay", 3_000_000)  # microseconds for each key
        try:
            redis.bgrewriteaof()
            poll(lambda: [c.nice() for c in parts["valkey"].children()] == [19], what="the child has nice 19")
            assert parts["valkey"].nice() == mine
        finally:
            redis.config_set("rdb-key-save-delay", 0)
            for child in parts["valkey"].children():
                child.kill()


def test_a_second_run_on_the_same_data_says_where_the_first_is(own) -> None:
    second = own.command("run")
    assert second.returncode == 1
    assert f"already running on {own.data_dir} at {own.url} (process {own.pid})" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert own.ready()


def test_a_taken_port_is_named_with_its_setting(tmp_path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = System(tmp_path / "data").command("run", ANIMUSIC_PORT=port)
    assert done.returncode == 1
    assert f"Port {port} " in done.stderr
    assert "ANIMUSIC_PORT" in done.stderr


def test_a_wrong_setting_is_named(tmp_path) -> None:
    done = System(tmp_path / "data").command("run", ANIMUSIC_RECOMMENDER__ORDER="alphabetical")
    assert done.returncode == 78
    assert "ANIMUSIC_RECOMMENDER__ORDER is not good" in done.stderr


def test_a_catalogue_that_is_not_there_is_said_before_anything_starts(tmp_path) -> None:
    system = System(tmp_path / "data")
    done = system.command("run", ANIMUSIC_LOCAL__CATALOGUE="mine.csv")
    assert done.returncode == 1
    assert done.stderr.startswith("animusic: there is no file mine.csv")
    assert not (system.data_dir / "kafka").exists()


@pytest.mark.parametrize("name", PARTS)
def test_a_killed_part_is_red_until_it_is_back(own, name) -> None:
    before = own.part(name)["restarts"]
    pid = own.kill_part(name)
    # Valkey is back before anybody could ask.
    if name != "valkey":
        poll(lambda: not own.ready(name), what=f"{name} is red", interval=0.001)
    poll(lambda: own.part(name)["pid"] not in (pid, None) and own.ready(name), timeout=60, what=f"{name} is back")
    poll(own.ready, timeout=30, what="the gateway is green")
    assert own.part(name)["restarts"] == before + 1
    assert f"{name} was killed by SIGKILL; starting it again" in own.printed()


@pytest.mark.parametrize(("name", "said"), [("kafka", "log"), ("recommender", "recommender")])
def test_the_gateway_is_red_while_what_it_needs_is_away(own, name, said) -> None:
    """Red is an answer that says what is away: a gateway that hung with it would be another fault."""
    poll(own.ready, timeout=30, what="the gateway is green")
    process = psutil.Process(int(own.part(name)["pid"]))
    process.suspend()
    try:
        # A recommender without its log is red, too, and may be the first to say so.
        details = poll(lambda: _red(own).get(said), timeout=20, what=f"the gateway is red and names the {said}")
        print(f"{name} is away, the gateway says of {said}: {details}")
    finally:
        process.resume()
    poll(own.ready, timeout=30, what="the gateway is green again")


def _red(own: System) -> dict[str, str]:
    """What the gateway says is wrong, by part; nothing while it is green."""
    answer = httpx.get(f"{own.part('gateway')['address']}/readyz", timeout=5)
    parts = {part.split()[0]: found["detail"] for part, found in answer.json()["parts"].items() if not found["ok"]}
    assert answer.status_code == (503 if parts else 200)
    return parts


def test_a_clean_stop_leaves_nothing_and_the_next_start_goes_on(own) -> None:
    listener = Listener(own.url)
    slot = listener.playlist()["slots"][0]
    listener.playlist(listener.send(of_slot("liked", slot)))
    url, before = own.url, listener.profile()
    assert own.stop() == 0
    assert own.processes() == []
    assert own.status() == {}
    assert not (own.data_dir / ENDPOINTS_FILE).exists()
    _commands_say_that_nothing_runs(own)
    began = time.monotonic()
    own.start()
    print(f"the second start took {time.monotonic() - began:.1f} s")
    assert "importing" not in own.printed()
    assert "building" not in own.printed()
    assert own.url == url
    after = listener.profile()
    assert (after["digest"], after["liked"]) == (before["digest"], [slot["song_id"]])


def _commands_say_that_nothing_runs(own: System) -> None:
    asked = own.command("sql", "SELECT 1")
    assert asked.returncode == 69
    assert f"No system runs on the data directory {own.data_dir}" in asked.stderr


def test_a_killed_supervisor_leaves_no_orphan_and_the_next_start_goes_on(own) -> None:
    listener = Listener(own.url)
    receipt = listener.send(of_slot("liked", listener.playlist()["slots"][0]))
    children = [psutil.Process(int(part["pid"])) for part in own.status()["parts"].values()]
    own.kill()
    assert len(psutil.wait_procs(children, timeout=15)[0]) == len(PARTS)
    poll(lambda: not own.processes(), what="every child is gone", timeout=15)
    _interrupted_while_it_starts_it_leaves_nothing(own)
    _start_over_a_leftover(own)
    # The like may have been in the log alone when all of it was killed: it is read after the start, in its own time.
    poll(lambda: listener.playlist(receipt)["fresh"], timeout=30, what="a playlist that knows the like")
    assert len(listener.profile()["liked"]) == 1


def _interrupted_while_it_starts_it_leaves_nothing(own: System) -> None:
    # The killed run's addresses are there until the next one has taken the directory.
    (own.data_dir / ENDPOINTS_FILE).unlink()
    own.spawn()
    poll((own.data_dir / ENDPOINTS_FILE).exists, timeout=30, what="the start is under way")
    assert own.stop() == 0
    assert own.processes() == []


def _start_over_a_leftover(own: System) -> None:
    """Where the kernel does not end children with their parent (macOS), the next start does."""
    with psutil.Popen(["sleep", "60"]) as leftover:
        note = {"pid": leftover.pid, "started": leftover.create_time()}
        (own.data_dir / "run" / "pids" / "gateway.pid").write_text(json.dumps(note))
        own.start()
        assert leftover.wait(5) == -signal.SIGKILL
    assert "stopped gateway, which an earlier run had left behind" in own.printed()
