"""Two versions of an event in one topic, read by both consumers; a version from the future waits for the upgrade."""

import pytest

from services.common.kafka import read_to_end
from services.operator.dlq.redriving import redrive
from tests.connected.operator_dlq.house import House
from tests.support.evolving import upgraded, v2_value
from tests.support.following import folded, profiles_in
from tests.support.histories import histories

pytestmark = [pytest.mark.connected, pytest.mark.usefixtures("watchful")]

_SEEN = "SELECT event_id, kind, watch_ms, duration_ms FROM animusic.feedback_clean ORDER BY ALL"


async def test_both_versions_have_their_effect_in_both_stores(home: House) -> None:
    events = [event for history in histories(31, 60) for event in history.events]
    mixed = [(e.user_id, v2_value(e) if at % 2 else e.log_value()) for at, e in enumerate(events)]
    with upgraded():
        await home.put(mixed)
        await home.settled()
        assert await home.letters() == []
        assert await profiles_in(home.redis) == folded(events)
        versions = home.ask(
            "SELECT schema, uniqExact(`partition`, `offset`) AS n FROM animusic.feedback GROUP BY schema"
        )
        # Stored as the newest version says it, whatever it was written as.
        assert versions == [{"schema": 2, "n": len(events)}]
        before = home.ask(_SEEN)
        # A wiped store is rebuilt from the same mixed log.
        await home.redis.flushall()
        await home.put([mixed[0]])
        await home.settled()
        assert await profiles_in(home.redis) == folded(events)
        assert home.ask(_SEEN) == before


async def test_an_unknown_version_waits_untouched_and_is_redriven_after_the_upgrade(home: House) -> None:
    events = [event for history in histories(32, 6) for event in history.events]
    old, new = events[::2], events[1::2]
    await home.put([(event.user_id, event.log_value()) for event in old])
    await home.put([(event.user_id, v2_value(event)) for event in new])
    await home.settled()
    assert await profiles_in(home.redis) == folded(old)
    letters = await home.letters()
    assert len(letters) == len(new)
    assert all(letter.reason.startswith("schema: version 2 is not known here (only 1)") for letter in letters)
    refused = await redrive(home.log, letters)
    assert (len(refused.redriven), len(refused.kept)) == (0, len(new))
    with upgraded():
        done = await redrive(home.log, letters)
        assert (len(done.redriven), done.kept) == (len(new), [])
        await home.settled()
        assert await profiles_in(home.redis) == folded(events)
    values = [r.value for batch in [b async for b in read_to_end(home.log, letters[0].last.place.topic)] for r in batch]
    assert all(values.count(v2_value(event)) >= 2 for event in new)
