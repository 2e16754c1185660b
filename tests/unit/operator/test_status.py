"""From numbers to findings: lag by the stores' marks, rates between two looks, what is said about what."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from contracts.marks import MarkName
from contracts.placement import SHARDS
from services.common.settings import Settings
from services.local.processes.ports import free_port
from services.operator.findings import Finding
from services.operator.readers.log import Offsets
from services.operator.readers.redis import lowest
from services.operator.status import machine
from services.operator.status.judging import PAGE, Limits, age, code_of, judge
from services.operator.status.model import (
    ClickhouseHealth,
    DeadLetters,
    Disk,
    Gaps,
    Lag,
    LogHealth,
    Process,
    RedisHealth,
    ServiceHealth,
    Status,
)
from services.operator.status.stores import FOLLOWED, Sample, lags
from services.profiles.app import TOPICS as PROFILES_FOLLOWS
from services.warehouse.sink import TOPICS as WAREHOUSE_FOLLOWS

ROOT = Path(__file__).parents[3]
ID = "a" * 32
FEEDBACK = "animusic.feedback.v1"
PLACE = TopicPartition(FEEDBACK, 0)
NAMES = {"profiles": "p", "warehouse": "w"}
WELL = Status(
    at_ms=0,
    log=LogHealth(brokers=1, topics=7),
    redis=RedisHealth(version="9", generation="g1", policy="noeviction", append_only=True),
    clickhouse=ClickhouseHealth(version="26"),
    services=[ServiceHealth("gateway", "http://x", True, "")],
    disk=Disk("/data", free=1 << 40, size=1 << 41),
    processes=[Process("gateway", "ready", 1, 0, True)],
    lags=[],
)
LAG = Lag("profiles", "p", FEEDBACK, 0, 100, 10, 10, 90)


def sample(at: float, end: int, mark: int, start: int = 0, topic_id: str = ID) -> Sample:
    """One partition of feedback, with a mark of both stores."""
    log = Offsets(at, {FEEDBACK: topic_id}, {PLACE: start}, {PLACE: end})
    return Sample(log, {"profiles": {MarkName(topic_id, 0): mark}, "warehouse": {}})


def test_stores_are_measured_by_what_they_follow() -> None:
    followed = {store: sorted(topics) for store, topics in FOLLOWED.items()}
    assert followed == {"profiles": sorted(PROFILES_FOLLOWS), "warehouse": sorted(WAREHOUSE_FOLLOWS)}


def test_lag_is_what_the_store_says_and_not_what_kafka_was_told() -> None:
    profiles, warehouse = lags(sample(0.0, 100, 40), NAMES, committed={"profiles": {PLACE: 99}})
    assert (profiles.lag, profiles.mark, profiles.committed) == (60, 40, 99)
    assert (warehouse.lag, warehouse.mark, warehouse.committed) == (100, None, None)
    # What expired before the mark can no longer be waited for.
    (expired, _) = lags(sample(0.0, 100, 40, start=70), NAMES)
    assert expired.lag == 30


def test_rates_are_of_one_topic_only() -> None:
    before, after = sample(10.0, 100, 40), sample(12.0, 300, 60)
    profiles, warehouse = lags(after, NAMES, before=before)
    assert (profiles.incoming, profiles.handled) == (100.0, 10.0)
    assert (warehouse.incoming, warehouse.handled) == (100.0, None)
    again = sample(12.0, 5, 0, topic_id="b" * 32)
    assert lags(again, NAMES, before=before)[0].incoming is None


def test_the_age_is_that_of_the_record_at_the_mark() -> None:
    times = {"profiles": {PLACE: 1_000}}

    def oldest(end: int, known: dict) -> float | None:
        return lags(sample(0.0, end, 10), NAMES, timestamps=known, now=6_000)[0].oldest_seconds

    assert (oldest(100, times), oldest(10, times), oldest(100, {})) == (5.0, None, None)


def test_a_partition_is_as_far_as_its_last_shard() -> None:
    log = sample(0.0, 1, 1).log
    field = MarkName(ID, 0).field()
    stored = [{field: 5 + shard} for shard in range(SHARDS)]
    assert lowest(stored, log) == {MarkName(ID, 0): 5}
    stored[7] = {}
    assert lowest(stored, log) == {}


def test_all_well_is_nothing_to_say() -> None:
    assert judge(WELL, Limits()) == []
    assert code_of([]) == 0


@pytest.mark.parametrize(
    ("change", "name", "code"),
    [
        ({"log": LogHealth(trouble="gone")}, "log", 2),
        ({"log": replace(WELL.log, missing=["t"])}, "log", 2),
        ({"log": replace(WELL.log, leaderless=["t/1", "t/2", "t/3", "t/4"])}, "log", 2),
        ({"log": replace(WELL.log, under_replicated=["t/1"])}, "log", 1),
        ({"log": replace(WELL.log, dead_letters=DeadLetters(9, 3, 1, "t/0@4: bad"))}, "dead letters", 1),
        ({"redis": RedisHealth(trouble="gone")}, "redis", 2),
        ({"redis": replace(WELL.redis, loading=True)}, "redis", 2),
        ({"redis": replace(WELL.redis, policy="allkeys-lru")}, "redis", 1),
        ({"redis": replace(WELL.redis, used_bytes=95, limit_bytes=100)}, "redis", 1),
        ({"redis": replace(WELL.redis, failing=["aof_last_write_status"])}, "redis", 1),
        ({"clickhouse": ClickhouseHealth(trouble="gone")}, "clickhouse", 2),
        ({"clickhouse": replace(WELL.clickhouse, most_parts=900)}, "clickhouse", 1),
        ({"clickhouse": replace(WELL.clickhouse, gaps=Gaps(2, 8, 1, "t/0 offsets 1 to 4"))}, "gaps", 1),
        ({"services": [ServiceHealth("gateway", "http://x", False, "log: away")]}, "gateway", 2),
        ({"services": [ServiceHealth("profiles", "http://x", True, "", gaps=1)]}, "profiles", 1),
        ({"disk": replace(WELL.disk, free=1 << 30)}, "disk", 1),
        ({"processes": [Process("kafka", "restarting", None, 7, False)]}, "kafka", 2),
        ({"services": [ServiceHealth("gateway", "http://x", False, "s", stranger="httpd (process 7)")]}, "gateway", 2),
        ({"services": [ServiceHealth("recommender", "http://x", True, "", songs=0)]}, "songs", 1),
        (
            {
                "services": [ServiceHealth("recommender", "http://x", True, "", songs=9)],
                "log": replace(WELL.log, models={}),
            },
            "models",
            1,
        ),
        ({"services": [ServiceHealth("recommender", "http://x", True, "", old={"tfidf": "w"})]}, "arm tfidf", 1),
        (
            {"unserved": [Finding("arm minilm", "fail", "not here", "build it", f"{PAGE}#a-live-arm-is-not-served")]},
            "arm minilm",
            2,
        ),
        ({"processes": [Process("kafka", "not ready", 1, 0, True, "another Kafka answers")]}, "kafka", 2),
        ({"lags": [replace(LAG, lag=20_000)]}, "profiles lags", 1),
        ({"lags": [replace(LAG, oldest_seconds=61.0)]}, "profiles lags", 1),
    ],
)
def test_each_finding_says_what_to_do_and_where_it_is_explained(change: dict, name: str, code: int) -> None:
    (finding,) = judge(replace(WELL, **change), Limits())
    assert (finding.name, code_of([finding])) == (name, code)
    assert finding.remedy
    page, _, anchor = finding.page.partition("#")
    assert page == PAGE
    headings = [line.lstrip("# ") for line in (ROOT / page).read_text().splitlines() if line.startswith("## ")]
    assert anchor in {heading.lower().replace(" ", "-").replace(",", "") for heading in headings}


def test_who_answers_in_place_of_a_service_is_named_with_the_setting_that_chooses_its_port() -> None:
    service = ServiceHealth("recommender-2", "http://x", False, "another program answers there", stranger="httpd (7)")
    (finding,) = judge(replace(WELL, services=[service]), Limits())
    assert "httpd (7)" in finding.detail
    assert "ANIMUSIC_RECOMMENDER__PORT" in finding.remedy


def test_what_follows_from_an_empty_catalogue_is_no_finding_of_its_own() -> None:
    services = [
        ServiceHealth("recommender", "http://x", True, "", songs=0),
        ServiceHealth("probe", "http://y", False, "no round of the synthetic listener ended well for a minute"),
    ]
    assert [finding.name for finding in judge(replace(WELL, services=services), Limits())] == ["songs"]


def test_a_part_that_is_on_its_way_is_not_broken() -> None:
    service = ServiceHealth("probe", "http://y", False, "does not answer (ConnectError)")
    starting = replace(WELL, services=[service], processes=[Process("probe", "starting", 1, 0, True, seconds=3.0)])
    assert code_of(judge(starting, Limits())) == 1
    for other in ({"seconds": 90.0}, {"state": "ready"}, {"restarts": 1}, {"seconds": None}):
        later = replace(starting, processes=[replace(starting.processes[0], **other)])
        assert code_of(judge(later, Limits())) == 2


def test_where_nothing_runs_that_is_the_finding_with_what_a_start_lacks() -> None:
    nothing = replace(
        WELL,
        log=LogHealth(trouble="no answer within 3 s"),
        redis=RedisHealth(trouble="ConnectionError"),
        clickhouse=ClickhouseHealth(trouble="ConnectError"),
        services=[ServiceHealth("gateway", "http://x", False, "does not answer (ConnectError)")],
        processes=[Process("gateway", "ready", 1, 0, False)],
        machine=[Finding("python", "ok", "3.11"), Finding("java", "fail", "none was found", "install one")],
    )
    found = judge(nothing, Limits())
    assert ([finding.name for finding in found], code_of(found)) == (["system", "java"], 2)
    assert "`make run`" in found[0].remedy
    # A part that answers, or a process that lives, is something that runs.
    for change in (
        {"redis": WELL.redis},
        {"processes": WELL.processes},
        {"services": [ServiceHealth("gateway", "http://x", False, "log: no answer")]},
    ):
        assert "log" in {finding.name for finding in judge(replace(nothing, **change), Limits())}


def test_what_a_start_needs_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def seen(settings: Settings) -> dict[str, Finding]:
        return {finding.name: finding for finding in machine.before_start(settings)}

    settings = Settings(data_dir=tmp_path / "new", port=free_port())
    well = seen(settings)
    assert {name: finding.state for name, finding in well.items()} == dict.fromkeys(
        ("python", "java", "data directory", "public port"), "ok"
    )
    assert "`make run` makes it" in well["data directory"].detail
    with socket.create_server(("127.0.0.1", settings.port)):
        monkeypatch.setenv("JAVA_HOME", str(tmp_path))
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr("services.local.processes.java.find_spec", lambda name: None)
        (tmp_path / "file").touch()
        sick = seen(settings.model_copy(update={"data_dir": tmp_path / "file"}))
    assert {name: finding.state for name, finding in sick.items()} == {
        "python": "ok", "java": "fail", "data directory": "fail", "public port": "fail",
    }  # fmt: skip
    assert "ANIMUSIC_PORT" in sick["public port"].remedy
    # With a Kafka elsewhere no Java is needed here.
    monkeypatch.setenv("ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS", "broker:9092")
    assert "java" not in seen(settings)


def test_the_worst_comes_first_and_settled_things_are_no_finding() -> None:
    sick = replace(WELL, disk=replace(WELL.disk, free=0), redis=RedisHealth(trouble="gone"))
    assert [finding.name for finding in judge(sick, Limits())] == ["redis", "disk"]
    settled = replace(
        WELL,
        log=replace(WELL.log, dead_letters=DeadLetters(9, 3, 0, "old")),
        clickhouse=replace(WELL.clickhouse, gaps=Gaps(2, 8, 0, "old")),
        lags=[replace(LAG, lag=10_000, oldest_seconds=60.0)],
        disk=Disk("/elsewhere", trouble="there is no such directory on this machine"),
    )
    assert judge(settled, Limits()) == []


def test_what_a_supervisor_says_is_told_with_whether_it_lives(tmp_path: Path) -> None:
    parts = {"kafka": {"state": "restarting", "pid": None, "restarts": 4, "address": "127.0.0.1:1"},
             "gateway": {"state": "ready", "pid": 1, "restarts": 0, "address": "http://127.0.0.1:80/"}}  # fmt: skip
    dead, alive = machine.processes({"parts": parts})
    assert (dead.alive, dead.restarts, alive.alive) == (False, 4, True)
    assert machine.processes({}) == []
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "log").write_bytes(b"x" * 10_000)
    found = machine.disk(tmp_path)
    assert found.used["kafka"] >= 10_000
    assert machine.disk(tmp_path / "none").trouble


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (2e5, "2 d")]
)
def test_ages_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert age(seconds) == said


def test_an_engine_in_a_warehouse_that_starts_is_no_fault_yet() -> None:
    service = ServiceHealth("warehouse", "http://z", False, "does not answer (ConnectError)")
    trouble = replace(WELL.clickhouse, trouble="ConnectError: All connection attempts failed")
    starting = replace(
        WELL,
        services=[service],
        clickhouse=trouble,
        processes=[Process("warehouse", "starting", 1, 0, True, seconds=3.0)],
    )
    assert [(each.name, each.state) for each in judge(starting, Limits())] == [("warehouse", "warn")]
    late = replace(starting, processes=[replace(starting.processes[0], seconds=600.0)])
    assert {(each.name, each.state) for each in judge(late, Limits())} >= {
        ("clickhouse", "fail"),
        ("warehouse", "fail"),
    }
