"""Waits for the log before a command reads it."""

from typing import Final

from services.common.kafka import wait_for_broker
from services.common.settings import KafkaSettings

_STARTING_SECONDS: Final = 60.0
# Where nothing names an address, no system runs here that could still be starting.
_STOPPED_SECONDS: Final = 3.0


async def reach_log(settings: KafkaSettings, seconds: float = _STARTING_SECONDS) -> None:
    """Return once a broker answers. Raises ConnectionError with the address, at once where no system runs."""
    named = "bootstrap_servers" in settings.model_fields_set
    await wait_for_broker(settings, seconds if named else min(seconds, _STOPPED_SECONDS))
