"""Which parts are ours to start, and what the others are told."""

import os
from pathlib import Path

import pytest

from services.common.settings import Settings
from services.local.layout import Layout
from services.local.plan import Plan


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch, tmp_path) -> None:
    for name in [name for name in os.environ if name.startswith("ANIMUSIC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ANIMUSIC_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ANIMUSIC_PORT", "0")


def plan_of(data_dir: Path) -> Plan:
    return Plan.of(Settings(), Layout.of(data_dir))


def test_by_default_everything_is_ours(tmp_path) -> None:
    plan = plan_of(tmp_path)
    assert plan.own_kafka
    assert plan.own_valkey
    assert [part.name for part in plan.services()] == ["profiles", "warehouse", "recommender", "gateway"]
    told = plan.endpoints(None, None)
    assert told["clickhouse"]["dsn"].endswith(f":{plan.warehouse_port}/animusic")
    assert told["gateway"]["recommender_urls"] == [f"http://127.0.0.1:{plan.recommender_ports[0]}"]


def test_a_part_whose_address_is_set_is_somebody_elses(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS", "broker:9092")
    monkeypatch.setenv("ANIMUSIC_REDIS__URL", "redis://store:6379/0")
    monkeypatch.setenv("ANIMUSIC_CLICKHOUSE__EXTERNAL", "true")
    plan = plan_of(tmp_path)
    assert not plan.own_kafka
    assert not plan.own_valkey
    assert not {"kafka", "redis", "clickhouse"} & set(plan.endpoints(None, None))


def test_another_setting_of_a_group_does_not_take_its_part_away(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ANIMUSIC_KAFKA__PARTITIONS", "4")
    assert plan_of(tmp_path).own_kafka


def test_ports_stay_from_one_start_to_the_next(tmp_path) -> None:
    first, second = plan_of(tmp_path), plan_of(tmp_path)
    assert first.public_port == second.public_port
    assert first.endpoints(None, None) == second.endpoints(None, None)


def test_each_recommender_has_a_port_and_a_name_of_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ANIMUSIC_RECOMMENDER__PROCESSES", "3")
    plan = plan_of(tmp_path)
    parts = [part for part in plan.services() if part.name.startswith("recommender")]
    assert [part.name for part in parts] == ["recommender-1", "recommender-2", "recommender-3"]
    ports = [part.env()["ANIMUSIC_RECOMMENDER__PORT"] for part in parts]
    assert len(set(ports)) == 3
    assert plan.endpoints(None, None)["gateway"]["recommender_urls"] == [f"http://127.0.0.1:{p}" for p in ports]


def test_what_is_told_is_what_settings_read(tmp_path) -> None:
    plan = plan_of(tmp_path)
    told = Settings(**plan.endpoints(None, None))
    assert told.port == plan.public_port
    assert told.warehouse.port == plan.warehouse_port
    assert told.profiles.metrics_port == plan.profiles_ports[0]


def test_children_find_the_same_directory_from_anywhere(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANIMUSIC_DATA_DIR", "here")
    plan = Plan.of(Settings(), Layout.of(Path("here")))
    assert plan.services()[0].env()["ANIMUSIC_DATA_DIR"] == str(tmp_path / "here")


def test_each_profiles_process_has_a_name_in_its_group_that_stays(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ANIMUSIC_PROFILES__PROCESSES", "3")
    monkeypatch.setenv("ANIMUSIC_KAFKA__INSTANCE", "here")
    parts = [part for part in plan_of(tmp_path).services() if part.name.startswith("profiles")]
    assert [part.name for part in parts] == ["profiles-1", "profiles-2", "profiles-3"]
    assert [part.env()["ANIMUSIC_KAFKA__INSTANCE"] for part in parts] == ["here-1", "here-2", "here-3"]
    again = [part for part in plan_of(tmp_path).services() if part.name.startswith("profiles")]
    assert len({part.address for part in parts}) == 3
    assert [part.address for part in again] == [part.address for part in parts]
