"""One supervisor a directory, one program on the port; whoever comes second is told what to do."""

import os
import socket

import pytest

from services.common.settings import Settings
from services.local.errors import AlreadyRunning, PortTaken
from services.local.layout import Layout, read_json, write_json
from services.local.locking import locked, public_port


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch, tmp_path) -> None:
    for name in [name for name in os.environ if name.startswith("ANIMUSIC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ANIMUSIC_DATA_DIR", str(tmp_path))


def test_the_second_is_told_where_the_first_runs(tmp_path) -> None:
    layout = Layout.of(tmp_path)
    write_json(layout.status, {"pid": 4711, "url": "http://127.0.0.1:8080"})
    with (
        locked(layout),
        pytest.raises(AlreadyRunning, match=r"http://127.0.0.1:8080 \(process 4711\).*ANIMUSIC_DATA_DIR"),
        locked(layout),
    ):
        pass
    with locked(layout):
        pass


def test_a_taken_port_names_the_port_and_the_setting(tmp_path) -> None:
    layout = Layout.of(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"Port {port} .*process {os.getpid()}.*ANIMUSIC_PORT={port + 1}"):
            public_port(Settings(port=port), layout)
    assert public_port(Settings(port=port), layout) == port


def test_an_address_of_another_machine_is_told_apart(tmp_path) -> None:
    with pytest.raises(PortTaken, match="ANIMUSIC_HOST"):
        public_port(Settings(host="192.0.2.1"), Layout.of(tmp_path))


def test_port_zero_chooses_one_and_keeps_it(tmp_path) -> None:
    layout = Layout.of(tmp_path)
    chosen = public_port(Settings(port=0), layout)
    assert chosen > 0
    assert public_port(Settings(port=0), layout) == chosen


def test_json_is_replaced_whole(tmp_path) -> None:
    path = tmp_path / "file.json"
    assert read_json(path) == {}
    write_json(path, {"a": 1})
    assert read_json(path) == {"a": 1}
    path.write_text("{")
    assert read_json(path) == {}
    assert [other.name for other in tmp_path.iterdir()] == ["file.json"]
