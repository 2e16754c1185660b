"""The real Kafka and Valkey as this package starts them: they serve, survive kill -9, and leave no orphan."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from services.local.errors import LogMisplaced, PortTaken, ProcessFailed
from services.local.processes.children import reap_stale, spawn
from services.local.processes.kafka import KafkaNode
from services.local.processes.kafka_jars import kafka_jars
from services.local.processes.valkey import ValkeyNode, short_socket_path
from tests.support.names import EVERY_TRAP
from tests.support.stores import jars, kafka_node, valkey_node
from tests.support.waiting import poll

pytestmark = pytest.mark.connected

TOPIC = "processes.v1"


async def _write(bootstrap_servers: str, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all") as producer:
        await producer.send_and_wait(TOPIC, value)


async def _read_first(bootstrap_servers: str) -> bytes | None:
    consumer = AIOKafkaConsumer(TOPIC, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
    async with consumer:
        value: bytes | None = (await consumer.getone()).value
        return value


async def test_kafka_keeps_a_record_through_kill_9_on_the_same_port(tmp_path: Path) -> None:
    with kafka_node(tmp_path) as node:
        admin = AIOKafkaAdminClient(bootstrap_servers=node.bootstrap_servers)
        await admin.start()
        await admin.create_topics([NewTopic(TOPIC, 1, 1)])
        await admin.close()
        await _write(node.bootstrap_servers, b"acknowledged")
        before = node.port
        node.kill()
        assert not node.probe()

        node.start()
        node.wait_ready(30)

        assert node.port == before
        assert await _read_first(node.bootstrap_servers) == b"acknowledged"


def test_another_start_on_the_same_directory_takes_the_same_ports_and_cluster(tmp_path: Path) -> None:
    first, second = KafkaNode(tmp_path, jars()), KafkaNode(tmp_path, jars())
    first.prepare()
    properties = (tmp_path / "server.properties").read_text()
    second.prepare()
    assert (first.port, properties) == (second.port, (tmp_path / "server.properties").read_text())


def test_a_port_in_use_is_named(tmp_path: Path, kafka: KafkaNode) -> None:
    with pytest.raises(PortTaken, match=str(kafka.port)):
        KafkaNode(tmp_path, jars(), port=kafka.port).prepare()


def test_a_broker_that_ends_by_itself_shows_its_log(tmp_path: Path) -> None:
    node = KafkaNode(tmp_path, jars(), settings={"num.io.threads": "many"})
    with pytest.raises(ProcessFailed, match=r"num\.io\.threads"):
        node.start()


def test_valkey_keeps_a_write_through_kill_9(tmp_path: Path) -> None:
    with valkey_node(tmp_path) as node:
        with redis.Redis.from_url(node.url) as client:
            client.set("key", b"value")
        node.kill()
        node.start()
        node.wait_ready(10)
        with redis.Redis.from_url(node.url) as client:
            assert client.get("key") == b"value"


@pytest.mark.parametrize("locale", ["C", "POSIX", "xx_INVALID", "ja_JP.UTF-8"])
def test_kafka_keeps_everything_in_a_directory_of_any_name_in_any_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locale: str
) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    data_dir = tmp_path / EVERY_TRAP / "kafka"
    with kafka_node(data_dir) as node:
        assert (node.log_dir / "meta.properties").is_file()
        began = datetime.fromtimestamp(psutil.Process(node.pid).create_time(), UTC)
        # The start may cross an hour.
        hours = {f"{at:%Y-%m-%d %H:}" for at in (began, datetime.now(UTC))}
        assert any(hour in node.log_path.read_text(encoding="utf-8") for hour in hours)
    assert [path.name for path in tmp_path.iterdir()] == [EVERY_TRAP]
    assert [path.name for path in (tmp_path / EVERY_TRAP).iterdir()] == ["kafka"]


def test_valkey_keeps_everything_in_a_directory_of_any_name(tmp_path: Path) -> None:
    data_dir = tmp_path / EVERY_TRAP / "valkey"
    with valkey_node(data_dir) as node, redis.Redis.from_url(node.url) as client:
        client.set("key", b"value")
        assert client.config_get("dir")["dir"] == str(data_dir)
        assert client.config_get("port")["port"] == "0"
    assert (data_dir / "appendonlydir").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == [EVERY_TRAP]


def test_a_log_that_an_earlier_version_misplaced_stops_the_start(tmp_path: Path) -> None:
    right, wrong = tmp_path / "Müller" / "log", tmp_path / "Mxfcller" / "log"
    with kafka_node(tmp_path / "Müller"):
        pass
    wrong.parent.mkdir()
    right.rename(wrong)
    with pytest.raises(LogMisplaced, match="mv ") as refused:
        KafkaNode(tmp_path / "Müller", jars()).start()
    subprocess.run(str(refused.value).rpartition("again: ")[2], shell=True, check=True)
    with kafka_node(tmp_path / "Müller") as node:
        assert node.log_dir == right


def test_a_deep_directory_gets_a_short_socket_of_its_own(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    with valkey_node(deep) as node:
        assert len(os.fsencode(node.socket_path)) <= 100
        assert node.socket_path != ValkeyNode(deep / "other").socket_path
        assert node.socket_path == ValkeyNode(deep).socket_path
    assert short_socket_path(Path("/a/valkey.sock")) == Path("/a/valkey.sock")
    # A letter may be three bytes, and bytes are what is limited.
    many_bytes = Path("/") / ("日" * 30) / "valkey.sock"
    assert len(str(many_bytes)) < 50
    assert short_socket_path(many_bytes) != many_bytes


PARENT = """
import sys, threading
from pathlib import Path
import psutil
from services.local.processes.children import spawn
from tests.support.waiting import poll
directory, pids = Path(sys.argv[1]), []
def begin():
    child = spawn(["sleep", "600"], None, directory / "child.log", pidfile=directory / "child.pid")
    poll(lambda: psutil.Process(child.pid).name() == "sleep", what="the child became its command")
    pids.append(child.pid)
thread = threading.Thread(target=begin)
thread.start()
thread.join()
poll(lambda: not Path(f"/proc/self/task/{thread.native_id}").exists(), what="the thread is gone for the kernel, too")
print(*pids, flush=True)
sys.stdin.read()
"""


def _parent(directory: Path) -> tuple[subprocess.Popen[str], psutil.Process]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert parent.stdout is not None
    return parent, psutil.Process(int(parent.stdout.readline()))


def _gone(process: psutil.Process) -> bool:
    return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child's life to its parent's")
def test_a_child_outlives_the_thread_that_asked_for_it_but_not_its_parent(tmp_path: Path) -> None:
    parent, child = _parent(tmp_path)
    with pytest.raises(AssertionError, match="died with the thread"):
        poll(lambda: _gone(child), timeout=0.3, what="died with the thread")
    parent.kill()
    parent.wait()
    poll(lambda: _gone(child), what="the child is gone")


def test_what_a_previous_run_left_is_killed_by_pid_and_start_time(tmp_path: Path) -> None:
    orphan = subprocess.Popen(["sleep", "600"])
    started = psutil.Process(orphan.pid).create_time()
    (tmp_path / "orphan.pid").write_text(json.dumps({"pid": orphan.pid, "started": started}))
    (tmp_path / "reused.pid").write_text(json.dumps({"pid": os.getpid(), "started": started - 3_600}))
    (tmp_path / "broken.pid").write_text("")

    assert reap_stale(tmp_path) == ["orphan"]

    assert orphan.wait(5) == -signal.SIGKILL
    assert not list(tmp_path.iterdir())


def test_a_pidfile_of_spawn_is_found_by_the_next_run(tmp_path: Path) -> None:
    child = spawn(["sleep", "600"], None, tmp_path / "child.log", pidfile=tmp_path / "child.pid")
    assert reap_stale(tmp_path) == ["child"]
    assert child.wait(5) == -signal.SIGKILL


def test_a_command_that_does_not_exist_says_so_in_its_log(tmp_path: Path) -> None:
    child = spawn([str(tmp_path / "nothing")], None, tmp_path / "child.log")
    assert child.wait(10) == 127
    assert "nothing cannot be run: No such file" in (tmp_path / "child.log").read_text()


def test_ready_jars_need_no_cache(tmp_path: Path) -> None:
    ready = kafka_jars(tmp_path / "never-made", jars_dir=jars().directory)
    assert set(ready.names) == set(jars().names)
    assert not (tmp_path / "never-made").exists()


def test_a_jar_that_went_missing_is_put_back(tmp_path: Path) -> None:
    victim = kafka_jars(tmp_path).directory / jars().names[0]
    victim.unlink()
    again = kafka_jars(tmp_path)
    assert victim.stat().st_size == (jars().directory / victim.name).stat().st_size
    assert again.names == jars().names
