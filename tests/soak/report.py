"""docs/reliability.md: the ledger and the faults of one run, as it was measured."""

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

from tests.bench.report import hardware
from tests.soak.accounts import Line
from tests.soak.faults import Done
from tests.soak.plan import FULL_MINUTES
from tests.soak.run import Outcome

LIMIT_S = 60.0


def slowest(done: Sequence[Done]) -> float:
    """The longest time to healthy, in seconds."""
    return max((one.healed.healthy for one in done), default=0.0)


def markdown(outcome: Outcome, *, minutes: float, seed: int, date: str, load: float) -> str:
    """The whole page."""
    total = outcome.lines[0].count
    kills = sum(one.fault.kills for one in outcome.done)
    verdict = "Everything agrees" if outcome.equal else "**Something differs**"
    head = (
        "# Reliability: the ledger after a soak\n\n"
        f"Written by `make soak MINUTES={minutes:g}` (seed {seed}) on {date}: {hardware()}, load average {load:.1f}. "
        f"R4 asks for 200,000 events in 30 minutes. A run of {FULL_MINUTES:.0f} minutes or more has every "
        f"fault of R4, a shorter one each kind. This one took {outcome.seconds / 60:.1f} minutes.\n\n"
        f"Seeded listeners posted {total:,} events over HTTP in {outcome.posts:,} posts ({outcome.duplicates:,} events "
        "twice), with times that were late, out of order, ahead or missing. Posts were retried "
        f"{outcome.retries:,} times until they were acknowledged. Meanwhile there were {len(outcome.done)} faults with "
        f"{kills} SIGKILLs. The system recovered by itself; only a killed supervisor was started again. {verdict}; "
        f"the slowest recovery took {slowest(outcome.done):.1f} s (promised: below {LIMIT_S:.0f} s).\n"
    )
    return "\n".join([head, "## The ledger\n", _ledger(outcome.lines), _by_kind(outcome.done)])


def _ledger(lines: Sequence[Line]) -> str:
    rows = [
        f"| {line.what} | {line.count:,} | {_ppm(line.lost, line)} | {_ppm(line.doubled, line)} | "
        f"{len(line.strange)} | {line.beside} |"
        for line in lines
    ]
    return "\n".join(
        [
            "| what | count | lost, ppm | doubled, ppm | unexpected or different | notes |",
            "| --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def _ppm(ids: Sequence[str], line: Line) -> str:
    return f"{1e6 * len(ids) / max(1, line.count):.0f}"


def _by_kind(done: Sequence[Done]) -> str:
    found: dict[str, list[Done]] = defaultdict(list)
    for one in done:
        found[one.fault.name].append(one)
    rows = [
        f"| {name} | {len(some)} | {median(one.healed.healthy for one in some):.1f} | {slowest(some):.1f} |"
        for name, some in sorted(found.items())
    ]
    return "\n".join(
        [
            "## Time to healthy\n",
            "Healthy: every part is ready, both stores have what the log held at that moment, and a new like is in "
            "the next playlist's profile and in the warehouse. Seconds after the fault, or after its end.\n",
            "| fault | times | median, s | longest, s |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )
