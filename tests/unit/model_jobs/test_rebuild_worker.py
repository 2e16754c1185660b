"""When the watch rebuilds: after quiet, at the latest after a while, and later after a failure."""

import asyncio

from prometheus_client import CollectorRegistry

from model_jobs.rebuild_worker import BACKOFF_SECONDS, Debounce, Pace, Watch
from services.common.settings import KafkaSettings

PACE = Pace(quiet=5, at_most=60)


def test_what_nobody_knows_of_is_rebuilt_at_once_and_what_is_known_is_not() -> None:
    unknown, known, moved = Debounce(PACE), Debounce(PACE, done=10), Debounce(PACE, done=9)
    for debounce in (unknown, known, moved):
        debounce.see(10, now=100)
    assert (unknown.due(100), known.due(100), moved.due(100)) == (True, False, True)


def test_a_burst_is_waited_out() -> None:
    debounce = Debounce(PACE, done=10)
    debounce.see(10, now=0)
    for second in range(4):
        debounce.see(11 + second, now=second)
        assert not debounce.due(second)
    debounce.see(14, now=7.9)
    assert not debounce.due(7.9)
    debounce.see(14, now=8.1)
    assert debounce.due(8.1)
    debounce.rebuilt(14, 9, failed=False)
    assert not debounce.due(100)


def test_a_burst_without_an_end_is_not_waited_out_for_ever() -> None:
    debounce = Debounce(PACE, done=10)
    debounce.see(10, now=0)
    begun = next(second for second in range(1, 200) if debounce.see(10 + second, second) or debounce.due(second))
    assert begun == 61


def test_what_changes_during_a_rebuild_is_rebuilt_after_it() -> None:
    debounce = Debounce(PACE, done=10)
    debounce.see(10, now=0)
    debounce.see(11, now=1)
    debounce.see(12, now=8)
    debounce.rebuilt(11, 9, failed=False)
    assert debounce.behind and not debounce.due(12) and debounce.due(13)


def test_a_rebuild_that_fails_is_tried_again_ever_later() -> None:
    debounce, now = Debounce(PACE), 0.0
    debounce.see(1, now)
    for wait in (*BACKOFF_SECONDS, BACKOFF_SECONDS[-1]):
        assert debounce.due(now)
        debounce.rebuilt(1, now, failed=True)
        assert debounce.waits(now) == wait and not debounce.due(now + wait - 0.1)
        now += wait
    debounce.rebuilt(1, now, failed=False)
    assert not debounce.behind and debounce.waits(now) == 0


async def test_an_outage_of_the_log_is_said_and_waited_out() -> None:
    async def never() -> str | None:
        raise AssertionError("nothing to rebuild")

    watch = Watch(KafkaSettings(bootstrap_servers="127.0.0.1:9"), never, PACE, CollectorRegistry())
    running = asyncio.create_task(watch.run())
    while watch.trouble == "has not asked the log yet":
        await asyncio.sleep(0.01)
    assert watch.trouble is not None and "127.0.0.1" in watch.trouble
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
