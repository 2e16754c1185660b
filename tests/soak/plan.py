"""Which faults come when: drawn from a seed, the same for the same seed and length. Pure."""

import random
from dataclasses import dataclass
from typing import Final, Literal

from tests.support.system import PARTS

# From this length on a run holds every fault that R4 asks for; on two busy cores they need about that long.
FULL_MINUTES: Final = 12.0
ROUNDS: Final = 3
REBALANCES: Final = 5
OUTAGE_SECONDS: Final = 60.0
# Shorter than that, and nobody would be out of patience.
LEAST_OUTAGE_SECONDS: Final = 10.0
SUPERVISOR: Final = "supervisor"
Kind = Literal["kill", "outage", "wipe", "rebalance", "zombie"]


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        at: seconds after the traffic began; later when the fault before it has not healed yet.
        target: the part that it hits. Of a rebalance: what the second consumer gets in the end, `stop` or `kill`.
        seconds: how long an outage lasts.
        poison: records that nobody can read, appended just before.
    """

    at: float
    kind: Kind
    target: str
    seconds: float = 0.0
    poison: int = 0

    def __str__(self) -> str:
        return {
            "kill": f"SIGKILL to {self.target}",
            "outage": f"{self.target} stands still for {self.seconds:.0f} s (SIGSTOP)",
            "wipe": "Redis is wiped (FLUSHALL)",
            "rebalance": f"a second profiles consumer joins and is {'killed' if self.target == 'kill' else 'stopped'}",
            "zombie": "the profiles consumer is frozen, loses its partitions to a second one, and wakes",
        }[self.kind]

    @property
    def name(self) -> str:
        """What it counts as in a summary."""
        return f"{self.kind} {self.target}" if self.kind in ("kill", "outage") else self.kind

    @property
    def kills(self) -> int:
        """SIGKILLs in it."""
        return int(self.kind == "kill" or (self.kind, self.target) == ("rebalance", "kill"))


def plan(seed: int, minutes: float) -> list[Fault]:
    """The faults of a run of so many minutes, at about equal distances, in an order of the seed's.

    Twelve minutes and more hold 24 SIGKILLs over all processes, 60 s outages of Redis and of the warehouse, two wiped
    Redis, five rebalances (two of them end by SIGKILL) and a zombie; shorter runs hold less, but each kind.
    """
    share = min(1.0, minutes / FULL_MINUTES)
    rng = random.Random(f"faults/{seed}")
    kinds = [*_kills(share), *_others(share, min(OUTAGE_SECONDS, max(LEAST_OUTAGE_SECONDS, 6 * minutes)))]
    rng.shuffle(kinds)
    # The first seconds and the last seventh stay quiet, so that the last fault heals under traffic, too.
    step = minutes * 60 * 0.85 / len(kinds)
    return [
        Fault(10 + number * step + rng.uniform(0, step / 4), kind, target, seconds, rng.randint(3, 9))
        for number, (kind, target, seconds) in enumerate(kinds)
    ]


def _kills(share: float) -> list[tuple[Kind, str, float]]:
    rounds = max(1, round(ROUNDS * share))
    return [("kill", name, 0.0) for name in [*list(PARTS) * rounds, SUPERVISOR]]


def _others(share: float, seconds: float) -> list[tuple[Kind, str, float]]:
    ends = ("stop", "kill")
    return [
        *(("rebalance", ends[number % 2], 0.0) for number in range(max(1, round(REBALANCES * share)))),
        *(("wipe", "valkey", 0.0) for _ in range(max(1, round(2 * share)))),
        ("outage", "valkey", seconds),
        ("outage", "warehouse", seconds),
        ("zombie", "profiles", 0.0),
    ]
