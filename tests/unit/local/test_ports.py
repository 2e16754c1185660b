"""Ports that one process hands out differ, though nobody listens on them yet."""

from pathlib import Path

import pytest

from services.local.processes import ports


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What chance draws: of two ports that are free, the first one again and again before the second."""
    one, other = ports.free_port(), ports.free_port()
    monkeypatch.setattr(ports, "_handed_out", {})
    draws = [one, one, one, other]
    monkeypatch.setattr(ports.random, "randint", lambda low, high: draws.pop(0))
    return [one, other]


def test_the_same_draw_twice_is_one_port_and_another(drawn: list[int]) -> None:
    assert [ports.free_port(), ports.free_port()] == drawn


def test_two_parts_that_settle_before_either_listens_do_not_share(drawn: list[int], tmp_path: Path) -> None:
    kafka, recommender = tmp_path / "kafka", tmp_path / "recommender"
    assert [ports.settled_port(0, kafka), ports.settled_port(0, recommender)] == drawn
    assert ports.settled_port(0, kafka) == drawn[0], "a part that starts again keeps its own"


def test_a_remembered_port_that_was_handed_out_meanwhile_is_not_taken(drawn: list[int], tmp_path: Path) -> None:
    remembered = tmp_path / "recommender"
    remembered.write_text(f"{drawn[0]}\n")
    assert ports.free_port() == drawn[0]
    assert ports.settled_port(0, remembered) == drawn[1]
    assert remembered.read_text() == f"{drawn[1]}\n"
