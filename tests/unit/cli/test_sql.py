"""`animusic sql` only reads, also from a server whose address has the user who writes."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner

from services.cli.main import app


@pytest.fixture
def asked() -> Iterator[tuple[int, list[dict[str, list[str]]]]]:
    """The port of an HTTP server, and the parameters that it was asked with."""
    told: list[dict[str, list[str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(parse_qs(urlsplit(self.path).query))
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port, told
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("external", "readonly"), [("true", ["1"]), ("false", None)])
def test_a_server_is_asked_to_read_only(asked, external, readonly, monkeypatch, tmp_path) -> None:
    port, told = asked
    monkeypatch.setenv("ANIMUSIC_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ANIMUSIC_CLICKHOUSE__EXTERNAL", external)
    monkeypatch.setenv("ANIMUSIC_CLICKHOUSE__DSN", f"http://writer:secret@127.0.0.1:{port}/animusic")
    result = CliRunner().invoke(app, ["sql", "SELECT 1"])
    assert result.exit_code == 0, result.output
    # A table without rows is said to have none.
    assert "no rows" in result.output
    assert [parameters.get("readonly") for parameters in told] == [readonly]
