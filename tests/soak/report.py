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
        f"Written by `make soak MINUTES={minutes:g}` (seed {seed}) on {date}: {hardware()}. Load average when it "
        f"began: {load:.1f}. Clients, Kafka, stores and services shared the cores. R4 asks for 200,000 events: "
        f"`make soak MINUTES=30`. From {FULL_MINUTES:.0f} minutes on a run holds every fault of R4, a shorter one each "
        f"kind. This one was planned for {minutes:g} minutes and took {outcome.seconds / 60:.1f}.\n\n"
        f"Seeded listeners posted {total:,} events over HTTP in {outcome.posts:,} posts, {outcome.duplicates:,} events "
        f"twice, with times that were late, out of order, ahead or none; posts were tried again {outcome.retries:,} "
        f"times until they were acknowledged. Meanwhile there were {len(outcome.done)} faults, {kills} SIGKILLs among "
        "them. Whatever a fault broke recovered by itself; only a killed supervisor was started again, as init would. "
        f"{verdict}; the slowest recovery took {slowest(outcome.done):.1f} s (promised: below {LIMIT_S:.0f} s).\n"
    )
    return "\n".join([head, "## The ledger\n", _ledger(outcome.lines), _by_kind(outcome.done), _faults(outcome.done)])


def _ledger(lines: Sequence[Line]) -> str:
    rows = [
        f"| {line.what} | {line.count:,} | {_ppm(line.lost, line)} | {_ppm(line.doubled, line)} | "
        f"{len(line.strange)} | {line.beside} |"
        for line in lines
    ]
    return "\n".join(
        [
            "| what | count | lost, ppm | doubled, ppm | strange or different | beside it |",
            "| --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def _ppm(ids: Sequence[str], line: Line) -> str:
    return f"{1e6 * len(ids) / max(1, line.count):.0f}"


def _by_kind(done: Sequence[Done]) -> str:
    found: dict[str, list[float]] = defaultdict(list)
    for one in done:
        found[one.fault.name].append(one.healed.healthy)
    rows = [
        f"| {name} | {len(seconds)} | {median(seconds):.1f} | {max(seconds):.1f} |"
        for name, seconds in sorted(found.items())
    ]
    return "\n".join(
        [
            "## Time to healthy\n",
            "Healthy: every part says that it is ready, Redis and ClickHouse have everything that the log held at that "
            "moment, and a like of then is in the profile of the next playlist and a row of the warehouse. Seconds "
            "after the fault (after its end, where it lasts).\n",
            "| fault | times | median, s | longest, s |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def _faults(done: Sequence[Done]) -> str:
    rows = [
        f"| {one.began:.0f} | {one.fault}{f' - {one.remark}' if one.remark else ''} | {one.healed.ready:.1f} | "
        f"{one.healed.caught_up:.1f} | {one.healed.healthy:.1f} |"
        for one in done
    ]
    return "\n".join(
        [
            "## The faults, in their order\n",
            "| at, s | fault | parts ready, s | stores at the log's end, s | healthy, s |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )
