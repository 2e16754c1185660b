"""`animusic status` where nothing runs: it says so, looks at the machine, and exits with the code of what is broken."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli.main import app
from services.local.processes.ports import free_port


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """Settings of a system that is not there."""
    ports = [free_port() for _ in range(6)]
    return {
        "ANIMUSIC_DATA_DIR": str(tmp_path / "data"),
        "ANIMUSIC_PORT": str(ports[0]),
        "ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{ports[1]}",
        "ANIMUSIC_REDIS__URL": f"redis://127.0.0.1:{ports[2]}",
        "ANIMUSIC_CLICKHOUSE__DSN": f"http://127.0.0.1:{ports[3]}/animusic",
        "ANIMUSIC_WAREHOUSE__PORT": str(ports[4]),
        "ANIMUSIC_GATEWAY__RECOMMENDER_URLS": json.dumps([f"http://127.0.0.1:{ports[5]}"]),
    }


def test_it_says_that_nothing_runs_and_what_a_start_needs(nowhere: dict[str, str]) -> None:
    done = CliRunner().invoke(app, ["status"], env={**nowhere, "COLUMNS": "200"})
    assert done.exit_code == 2, done.output
    assert done.output.startswith("broken at ")
    assert f"✗ system: nothing runs on the data directory {nowhere['ANIMUSIC_DATA_DIR']}" in done.output
    assert f"✓ public port: 127.0.0.1:{nowhere['ANIMUSIC_PORT']} is free" in done.output


def test_scripts_get_the_same(nowhere: dict[str, str]) -> None:
    done = CliRunner().invoke(app, ["status", "--json"], env=nowhere)
    found = json.loads(done.stdout)
    assert (done.exit_code, found["code"]) == (2, 2)
    assert [finding["name"] for finding in found["findings"]] == ["system"]
    assert {one["name"]: one["state"] for one in found["machine"]} == {
        "python": "ok", "data directory": "ok", "public port": "ok",
    }  # fmt: skip
    assert (found["lags"], found["log"]["models"], bool(found["redis"]["trouble"])) == ([], None, True)
