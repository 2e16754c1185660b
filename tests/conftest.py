"""Rules for every test: one that touches a store says so with a marker, and a run says in one line what it skipped."""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

# How long an example takes depends on what else the machine does; benchmarks measure time.
settings.register_profile("animusic", deadline=None)
settings.load_profile("animusic")
# Who may start a store, and how a command line shows that one is started.
STORE_MARKERS = ("connected", "system")
STORE_COMMANDS = ("valkey-server", "kafka.Kafka", "services.cli.main run", "services.cli.main serve")

_guarded: list[str] = []


def _refuse_stores(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "subprocess.Popen" or not _guarded:
        return
    command = " ".join(map(str, arguments[1])) if isinstance(arguments[1], list | tuple) else str(arguments[1])
    if any(store in command for store in STORE_COMMANDS):
        raise RuntimeError(f"{_guarded[-1]} starts a store; mark it `connected` or `system`")


# An audit hook cannot be taken away again, so there is one, and it asks what holds now.
sys.addaudithook(_refuse_stores)


@pytest.fixture(autouse=True)
def _stores_need_a_marker(request: pytest.FixtureRequest) -> Iterator[None]:
    marked = any(request.node.get_closest_marker(name) for name in STORE_MARKERS)
    if not marked:
        _guarded.append(request.node.nodeid)
    yield
    if not marked:
        _guarded.remove(request.node.nodeid)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The last line but pytest's own: what was skipped, and why."""
    reasons = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", ()))
    said = "; ".join(f"{count} because {reason}" for reason, count in reasons.items()) or "nothing"
    terminalreporter.write_line(f"skipped: {said}")


def _reason(report: Any) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return re.sub(r"^Skipped: ", "", text)
