"""`python -m tests.soak --minutes N [--seed S] [--events N]`: break the real system for N minutes, compare every count.

Exit status 0 when all agree and every recovery took less than a minute, else 1, with the ids that differ.
"""

import argparse
import datetime
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from services.common.settings import REPO_ROOT
from services.local.parts import animusic
from services.local.processes.children import spawn
from tests.soak.plan import plan
from tests.soak.report import LIMIT_S, markdown, slowest
from tests.soak.run import Outcome, Run
from tests.support.system import System

WRITTEN = REPO_ROOT / "docs" / "reliability.md"
# 200,000 in thirty minutes.
EVENTS_A_MINUTE = 200_000 / 30


class Bound(System):
    """A system that cannot outlive this process, even when that is killed."""

    def spawn(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.output.unlink(missing_ok=True)
        self._process = spawn(animusic("run"), self.environment(), self.output)


def main() -> None:
    """The command. Ctrl-C and SIGTERM end everything that it started."""
    asked = _arguments()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _terminated)
    directory = asked.data or Path(tempfile.mkdtemp(prefix="animusic-soak-"))
    load = os.getloadavg()[0]
    try:
        outcome = _soak(asked, directory)
    except KeyboardInterrupt:
        sys.exit(f"interrupted; everything was ended, data and logs are in {directory}")
    except AssertionError as failed:
        sys.exit(f"{failed}\ndata and logs are in {directory}")
    date = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    page = markdown(outcome, minutes=asked.minutes, seed=asked.seed, date=date, load=load)
    (asked.write or WRITTEN).write_text(page, encoding="utf-8")
    print(page)
    status = _verdict(outcome)
    if status:
        print(f"data, logs and ledgers are in {directory}", file=sys.stderr)
    elif asked.data is None:
        shutil.rmtree(directory, ignore_errors=True)
    sys.exit(status)


def _soak(asked: argparse.Namespace, directory: Path) -> Outcome:
    system = Bound(
        directory / "data", ANIMUSIC_GATEWAY__SESSIONS_PER_MINUTE="100000", ANIMUSIC_LOCAL__CATALOGUE=asked.catalogue
    )
    try:
        _say(f"starting the system in {system.data_dir}")
        system.start()
        events = asked.events or round(EVENTS_A_MINUTE * asked.minutes)
        run = Run(
            system, plan(asked.seed, asked.minutes), seed=asked.seed, events=events, seconds=asked.minutes * 60,
            ledgers=directory / "ledgers", say=_say,
        )  # fmt: skip
        return run.go()
    finally:
        system.close()


def _verdict(outcome: Outcome) -> int:
    for line in outcome.lines:
        for difference in line.differences():
            print(difference, file=sys.stderr)
    late = slowest(outcome.done) >= LIMIT_S
    if late:
        print(f"a recovery took {slowest(outcome.done):.1f} s; promised were {LIMIT_S:.0f}", file=sys.stderr)
    return int(late or not outcome.equal)


def _terminated(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (default: 30)")
    parser.add_argument("--seed", type=int, default=1, help="of the listeners and the faults (default: 1)")
    parser.add_argument("--events", type=int, help="how many (default: 200,000 in 30 minutes)")
    parser.add_argument("--catalogue", default="sample", help="sample, synthetic or a CSV (default: sample)")
    parser.add_argument(
        "--data", type=Path, help="work here and keep it (default: a directory that is removed when all is well)"
    )
    parser.add_argument("--write", type=Path, help="write the page here (default: docs/reliability.md)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
