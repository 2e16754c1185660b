"""A verb waits for a log that may be starting, and not for one that nobody has named."""

import time

import pytest

from services.cli.reaching import reach_log
from services.common.settings import KafkaSettings

# Nothing listens on the discard port of loopback.
NOBODY = "127.0.0.1:9"


@pytest.mark.parametrize("asked", [0.0, 0.5])
async def test_a_named_address_is_waited_for_as_long_as_asked(asked) -> None:
    with pytest.raises(ConnectionError, match=f"at {NOBODY} within {asked:.0f} s"):
        await reach_log(KafkaSettings(bootstrap_servers=NOBODY), asked)


async def test_an_address_that_nobody_named_is_not_waited_for(monkeypatch) -> None:
    monkeypatch.setattr("services.cli.reaching._STOPPED_SECONDS", 0.2)
    began = time.monotonic()
    with pytest.raises(ConnectionError):
        await reach_log(KafkaSettings.model_construct(_fields_set=set(), bootstrap_servers=NOBODY), 60)
    assert time.monotonic() - began < 10
