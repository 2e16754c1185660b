"""The soak's short form: what `test_crash` does not do to a system. It runs the very code of `make soak`.

A second profiles consumer joins and takes over from a frozen one, Redis is wiped while it does, the frozen one wakes as
a zombie, the second leaves; all that under traffic with late clocks, posts that come twice and records that nobody can
read.
"""

from collections.abc import Iterator
from uuid import UUID

import pytest
from redis import Redis

from tests.soak.accounts import accounts
from tests.soak.plan import Fault, plan
from tests.soak.run import Outcome, Run
from tests.support.ledger import Told
from tests.support.system import PARTS, System
from tests.system.conftest import Another

pytestmark = pytest.mark.system

FAULTS = (Fault(1.0, "zombie", "profiles", poison=40),)
EVENTS = 2_500
SECONDS = 12.0


@pytest.fixture(scope="module")
def outcome(another: Another) -> Iterator[tuple[System, Outcome]]:
    """A system after the run, and what came of it."""
    # The second gets everything, and gives it back, when a session ends: the shortest that Kafka takes.
    with another(ANIMUSIC_KAFKA__SESSION_SECONDS="6") as system:
        run = Run(
            system, FAULTS, seed=5, events=EVENTS, seconds=SECONDS, ledgers=system.data_dir.parent / "ledgers",
            say=print, listeners=12, workers=3,
        )  # fmt: skip
        yield system, run.go()


def test_every_count_agrees(outcome: tuple[System, Outcome]) -> None:
    system, run = outcome
    told = Told.by(system.data_dir.parent / "ledgers")
    assert len(told.acknowledged) >= EVENTS
    assert [difference for line in run.lines for difference in line.differences()] == []
    assert run.duplicates > 0, "some posts came twice"
    assert told.refused, "some times were none"


def test_the_accounts_name_what_differs(outcome: tuple[System, Outcome]) -> None:
    """One field of Redis gone, one id that was never logged, one poisoned record that never was: each is named."""
    system, run = outcome
    told = Told.by(system.data_dir.parent / "ledgers")
    told.acknowledged.add(str(UUID(int=7)))
    with Redis.from_url(system.settings().redis.url) as redis:
        key = next(iter(redis.scan_iter(match="am:*:u:*", count=1_000)))
        name = next(field for field in redis.hkeys(key) if field[:1] == b"s")
        redis.hdel(key, name)
    lines = accounts(system, told, {**run.poison, b"poison-x": b"not json"})
    user = key.decode().split(":u:", 1)[1]
    assert [difference.partition(": ")[2] for line in lines for difference in line.differences()] == [
        f"lost {UUID(int=7)}",
        f"lost {UUID(int=7)}",
        f"lost {user}/{name.decode()}",
        "lost b'poison-x'",
    ]


def test_it_heals_within_a_minute(outcome: tuple[System, Outcome]) -> None:
    assert [done.fault for done in outcome[1].done] == list(FAULTS)
    assert max(done.healed.healthy for done in outcome[1].done) < 60


@pytest.mark.parametrize(("minutes", "kills"), [(30, 20), (5, 8)])
def test_a_plan_holds_each_kind_of_fault(minutes: float, kills: int) -> None:
    faults = plan(1, minutes)
    assert faults == plan(1, minutes) != plan(2, minutes)
    assert sum(fault.kills for fault in faults) >= kills
    killed = [fault.target for fault in faults if fault.kind == "kill"]
    assert set(killed) == {*PARTS, "supervisor"}
    assert killed.count("supervisor") == 1
    assert {fault.target for fault in faults if fault.kind == "outage"} == {"valkey", "warehouse"}
    assert {fault.kind for fault in faults} == {"kill", "outage", "wipe", "rebalance", "zombie"}
    assert all(fault.at < minutes * 60 for fault in faults)


def test_a_full_plan_is_the_one_that_was_promised() -> None:
    faults = plan(1, 30)
    assert all(fault.seconds == 60 for fault in faults if fault.kind == "outage")
    assert sum(fault.kind == "rebalance" for fault in faults) == 5
