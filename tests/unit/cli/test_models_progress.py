"""A build that counts says its rate and the time left, of the step that runs now."""

import pytest

from services.cli import models_progress
from services.cli.models_progress import Pace, shown


def test_rate_and_time_left_are_those_of_the_step() -> None:
    pace = Pace()
    assert pace.at("reading", 0, 1, 0.0) == ""
    assert pace.at("encoding", 0, 1_000, 50.0) == ""
    assert pace.at("encoding", 100, 1_000, 60.0) == "100 of 1,000, 10/s, 1:30 left"
    assert pace.at("encoding", 150, 1_000_000, 150.0) == "150 of 1,000,000, 1.5/s, 185:09:27 left"
    assert pace.at("indexing", 900, 1_000, 151.0) == ""


def test_without_a_terminal_a_long_step_says_so_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter(range(0, 100, 4))
    monkeypatch.setattr(models_progress.time, "monotonic", lambda: float(next(now)))
    with shown("mpnet") as report:
        for done in range(0, 60, 10):
            report("encoding on cpu", done, 60)
    assert capsys.readouterr().err.splitlines() == [
        "mpnet: encoding on cpu, 20 of 60, 2.5/s, 0:16 left",
        "mpnet: encoding on cpu, 50 of 60, 2.5/s, 0:04 left",
    ]
