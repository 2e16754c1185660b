"""Ready means: this process of this installation says so. Another program that answers 200 is not it."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from services.common.process.identity import ProcessIdentity, is_alive
from services.local.parts import trouble_at

ME = ProcessIdentity("gateway", "a" * 32, 4711)


@contextmanager
def program(body: bytes, status: int = 200) -> Iterator[str]:
    """A program that answers everything alike; its address."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def said(**other: object) -> bytes:
    """The /readyz of the gateway that is expected, with some things otherwise."""
    return json.dumps({"ready": True, **ME.as_dict(), **other}).encode()


def test_the_expected_process_is_ready() -> None:
    with program(said()) as url:
        assert trouble_at(url, ME) is None


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"It works!", "another program answers there"),
        (b"[]", "another program answers there"),
        (b'{"status": "ok"}', "another program answers there"),
        (said(service="warehouse"), "another service answers there: warehouse"),
        (said(installation="b" * 32), "another installation of AniMusic answers there"),
        (said(pid=4712), "another process answers there: 4712 instead of 4711"),
    ],
)
def test_whoever_else_answers_200_is_not_it(body: bytes, why: str) -> None:
    with program(body) as url:
        assert why in str(trouble_at(url, ME))


def test_the_expected_process_may_not_be_ready_yet_or_away() -> None:
    with program(said(ready=False), 503) as url:
        assert "503" in str(trouble_at(url, ME))
    assert "does not answer" in str(trouble_at(url, ME))


def test_a_cluster_that_names_no_installation_compares_the_service_alone() -> None:
    with program(said(installation="", pid=1)) as url:
        assert trouble_at(url, ProcessIdentity("gateway")) is None
        assert trouble_at(url, ProcessIdentity("recommender")) is not None


def test_a_process_id_that_somebody_else_has_now_is_not_the_process() -> None:
    assert is_alive(os.getpid(), None)
    assert not is_alive(os.getpid(), 1.0)
    assert not is_alive(None, None)
