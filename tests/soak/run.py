"""One run: the traffic, the faults one after the other, the accounts."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from tests.soak.accounts import Line, accounts
from tests.soak.faults import Breaker, Done
from tests.soak.healing import LIMIT_S, Healer
from tests.soak.plan import Fault
from tests.soak.poison import Poisoner
from tests.support.ledger import Ledger, Told
from tests.support.system import System
from tests.support.traffic import Guest
from tests.support.waiting import poll

LISTENERS = 120
WORKERS = 6
LARGEST_POST = 15
LISTENS = 0.04
Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """A run that came to its end. `seconds`: from the first post to the end of the accounts; `poison`: by its key."""

    lines: list[Line]
    done: list[Done]
    seconds: float
    posts: int
    retries: int
    duplicates: int
    poison: dict[bytes, bytes]

    @property
    def equal(self) -> bool:
        """Whether every count agrees."""
        return all(line.equal for line in self.lines)


class Worker(threading.Thread):
    """Posts for some of the listeners at a steady pace, and catches up after what held it up.

    It ends when its share is acknowledged *and* `over` is set; `stop` ends it at once. `error` is what ended it else.
    """

    def __init__(
        self, url: str, number: int, *, share: int, seconds: float, seed: int, ledgers: Path, guests: int
    ) -> None:
        super().__init__(name=f"listeners-{number}", daemon=True)
        self.over, self.stop = threading.Event(), threading.Event()
        self.error: Exception | None = None
        self._ledger = Ledger(ledgers / f"{number}.ledger")
        self._rng = random.Random(f"worker/{seed}/{number}")
        self._share, self._pace = share, seconds / share
        names = [f"{seed}/{number}/{n}" for n in range(guests)]
        self.guests = [
            Guest(url, name, self._ledger, clocks=True, patience=2 * LIMIT_S, stop=self.stop) for name in names
        ]

    @property
    def acknowledged(self) -> int:
        return sum(guest.acknowledged for guest in self.guests)

    def run(self) -> None:
        try:
            self._go_on()
        except Exception as error:  # noqa: BLE001 - whoever waits for the run raises it
            self.error = error
        finally:
            self._ledger.close()

    def _go_on(self) -> None:
        for guest in self.guests:
            poll(guest.listen, timeout=LIMIT_S, interval=0.2, what="a first playlist")
        began, due = time.monotonic(), 0.0
        while not self.stop.is_set() and not (self.over.is_set() and self.acknowledged >= self._share):
            guest = self._rng.choice(self.guests)
            if self._rng.random() < LISTENS:
                guest.listen()
            size = self._rng.randint(1, LARGEST_POST)
            guest.post(guest.batch(size))
            due += size * self._pace
            self.stop.wait(max(0.0, began + due - time.monotonic()))


class Run:
    """A run on a system that is up. `faults` come at their time; the traffic is `events` in `seconds`, or more."""

    def __init__(
        self,
        system: System,
        faults: Sequence[Fault],
        *,
        seed: int,
        events: int,
        seconds: float,
        ledgers: Path,
        say: Say,
        listeners: int = LISTENERS,
        workers: int = WORKERS,
    ) -> None:
        self._system = system
        self._faults = faults
        self._say = say
        self._ledgers = ledgers
        self._poisoner = Poisoner(seed)
        self._canary = Guest(system.url, f"canary/{seed}", Ledger(ledgers / "canary.ledger"), patience=LIMIT_S)
        self._breaker = Breaker(system, Healer(system, self._canary))
        share = -(-events // workers)
        self._workers = [
            Worker(system.url, n, share=share, seconds=seconds, seed=seed, ledgers=ledgers, guests=listeners // workers)
            for n in range(workers)
        ]
        self._began = time.monotonic()

    def go(self) -> Outcome:
        """Run to the end. Raises AssertionError when a client or a fault does not come to its end; cleans up."""
        self._began = time.monotonic()
        try:
            for worker in self._workers:
                worker.start()
            done = [self._do(fault) for fault in self._faults]
            for worker in self._workers:
                worker.over.set()
            self._wait_until(lambda: not any(worker.is_alive() for worker in self._workers))
            self._say("the traffic has ended; waiting for the stores, then comparing")
            lines = accounts(self._system, Told.by(self._ledgers), self._poisoner.keys)
            return self._outcome(lines, done)
        finally:
            self.close()

    def close(self) -> None:
        """Stop the traffic, thaw and end what this run started."""
        self._breaker.close()
        for worker in self._workers:
            worker.stop.set()
        for worker in self._workers:
            if worker.is_alive():
                worker.join(30)

    def _do(self, fault: Fault) -> Done:
        self._wait_until(lambda: time.monotonic() >= self._began + fault.at)
        asyncio.run(self._poisoner.inject(self._system.settings().kafka, fault.poison))
        began = time.monotonic() - self._began
        self._say(f"{fault}")
        healed, remark = self._breaker.do(fault)
        self._say(f"  healthy after {healed.healthy:.1f} s{f' ({remark})' if remark else ''}; {self._standing()}")
        return Done(fault, began, healed, remark)

    def _wait_until(self, there: Callable[[], bool]) -> None:
        told = time.monotonic()
        while not there():
            errors = [worker.error for worker in self._workers if worker.error is not None]
            if errors:
                raise errors[0]
            if time.monotonic() - told > 15:
                told = time.monotonic()
                self._say(f"  {self._standing()}")
            time.sleep(0.1)

    def _standing(self) -> str:
        acknowledged = sum(worker.acknowledged for worker in self._workers)
        seconds = time.monotonic() - self._began
        guests = [guest for worker in self._workers for guest in worker.guests]
        return (
            f"{timedelta(seconds=int(seconds))}, {acknowledged:,} acknowledged ({acknowledged / seconds:.0f}/s), "
            f"{sum(guest.retries for guest in guests):,} retries"
        )

    def _outcome(self, lines: list[Line], done: list[Done]) -> Outcome:
        guests = [guest for worker in self._workers for guest in worker.guests]
        return Outcome(
            lines,
            done,
            time.monotonic() - self._began,
            posts=sum(guest.posts for guest in guests),
            retries=sum(guest.retries for guest in guests),
            duplicates=sum(guest.duplicates for guest in guests),
            poison=self._poisoner.keys,
        )
