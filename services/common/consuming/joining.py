"""Becoming a member of a consumer group, within a time.

A member of another version may still stand in the group: one that was killed is a member until its session ends. When
it shares partitions out by another rule than ours, Kafka refuses whoever joins until then (InconsistentGroupProtocol).
So joining is tried again, and what is waited for is said.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import InconsistentGroupProtocolError, KafkaError

from services.common.consuming.subscribing import Subscription
from services.common.settings import KafkaSettings

_FIRST_SECONDS: Final = 0.25
_LONGEST_SECONDS: Final = 2.0


class NotJoined(Exception):
    """This process did not become a member in time. `str()` says why."""


class Joining:
    """One process on its way into its group.

    Attributes:
        waiting_for: what keeps it out just now, in one sentence; None while nothing is known to.
    """

    def __init__(self, settings: KafkaSettings, group: str, seconds: float, log: logging.Logger) -> None:
        """`seconds`: for how long at most; while it is refused, by a session of a killed member longer."""
        self._settings = settings
        self._group = group
        self._seconds = seconds
        self._refused_seconds = seconds + settings.session_seconds
        self._log = log
        self._said: str | None = None
        self.waiting_for: str | None = None

    async def join(self, make: Callable[[], Subscription]) -> Subscription:
        """A started subscription. Raises NotJoined, and what starting one raises."""
        deadline, pause = time.monotonic() + self._refused_seconds, _FIRST_SECONDS
        while True:
            subscription = make()
            try:
                await self._started(subscription)
            except InconsistentGroupProtocolError as refused:
                await subscription.broker.stop()
                if time.monotonic() > deadline:
                    raise NotJoined(f"{self.waiting_for}, for {self._refused_seconds:.0f} s") from refused
                await self._say_who_is_there()
                await asyncio.sleep(random.uniform(pause / 2, pause))
                pause = min(2 * pause, _LONGEST_SECONDS)
            else:
                if self.waiting_for is not None:
                    self._log.warning("a member of the group %s now", self._group)
                self.waiting_for = None
                return subscription

    async def _started(self, subscription: Subscription) -> None:
        """Start it, within the time: what aiokafka answers by asking again is not logged, and has no end."""
        joining = asyncio.create_task(subscription.start())
        try:
            await asyncio.wait({joining}, timeout=self._seconds)
        finally:
            late = not joining.done()
            if late:
                joining.cancel()
        if late:
            raise NotJoined(f"no member of the group {self._group} after {self._seconds:.0f} s")
        joining.result()

    async def _say_who_is_there(self) -> None:
        members = await self._members()
        self.waiting_for = (
            f"the group {self._group} still has {members} of another version, which shares partitions out by another "
            "rule; one that was killed leaves when its session ends, one that runs must be stopped"
        )
        if self._said != self.waiting_for:
            self._log.warning("waiting: %s", self.waiting_for)
        self._said = self.waiting_for

    async def _members(self) -> str:
        """Who is in the group, as Kafka tells it, in words."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._settings.bootstrap_servers)
        try:
            await admin.start()
            (answer,) = await admin.describe_consumer_groups([self._group])
            names = sorted(str(member[0]) for group in answer.groups for member in group[5])
        except (KafkaError, OSError, ValueError, IndexError):
            return "members"
        finally:
            await admin.close()
        if len(names) == 1:
            return f"a member ({names[0]})"
        return f"{len(names)} members ({', '.join(names[:3])})" if names else "members"
