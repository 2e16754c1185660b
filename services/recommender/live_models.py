"""Which version of each arm is served: the one in the arm's record, or the one before until the new one can be opened.

A record can arrive before its version is complete on this machine, and a version can be broken. Meanwhile the arm
serves the version before, and is reported as behind.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Final

from contracts.models import LiveModel
from services.recommender.metrics import BEHIND, MODEL_FAILURES, SWITCHES
from services.recommender.models import ServedModel

logger = logging.getLogger(__name__)

# Opens a version. Blocks meanwhile; may raise any exception.
Opener = Callable[[LiveModel], ServedModel]
RETRY_SECONDS: Final = 5.0


class LiveModels:
    """The models that are open, one version an arm.

    Attributes:
        opened: by arm.
        failures: arm -> why the version of its record is not served. If the arm is open, it serves the version
            before.
    """

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._reported: dict[str, str] = {}
        self.opened: dict[str, ServedModel] = {}
        self.failures: dict[str, str] = {}

    def serves_exactly(self, wanted: Mapping[str, LiveModel]) -> bool:
        """Whether exactly these versions are open."""
        return {arm: record.version for arm, record in wanted.items()} == {
            arm: model.record.version for arm, model in self.opened.items()
        }

    def follow(self, wanted: Mapping[str, LiveModel]) -> list[ServedModel]:
        """Open the wanted versions. Blocks. Returns the models that no new request will use."""
        retired = [self.opened.pop(arm) for arm in list(self.opened) if arm not in wanted]
        for arm in [arm for arm in self.failures if arm not in wanted]:
            self._clear_failure(arm)
        for arm, record in wanted.items():
            before = self.opened.get(arm)
            if before is None or before.record.version != record.version:
                after = self._open(record, before)
                if after is None:
                    continue
                self.opened[arm] = after
                if before is not None:
                    retired.append(before)
            self._clear_failure(arm)
        return retired

    def _clear_failure(self, arm: str) -> None:
        """The arm serves the version of its record."""
        self.failures.pop(arm, None)
        self._reported.pop(arm, None)
        BEHIND.labels(arm).set(0)

    def _open(self, record: LiveModel, before: ServedModel | None) -> ServedModel | None:
        arm = record.arm
        try:
            model = self._opener(record)
        except Exception as fault:  # noqa: BLE001 - a collection that cannot be opened must stop neither arm nor service
            self._failed(record, before, fault)
            return None
        SWITCHES.labels(arm).inc()
        logger.info("the arm %s serves %s, %d songs", arm, record.collection, record.songs)
        return model

    def _failed(self, record: LiveModel, before: ServedModel | None, fault: Exception) -> None:
        arm, meanwhile = record.arm, "is left out" if before is None else f"serves {before.record.collection}"
        MODEL_FAILURES.labels(arm).inc()
        BEHIND.labels(arm).set(0 if before is None else 1)
        self.failures[arm] = (
            f"{record.collection} cannot be opened: the recommender retries every few seconds; `animusic status` names "
            "the command that repairs it"
        )
        if self._reported.get(arm) == record.version:
            return
        self._reported[arm] = record.version
        # A missing version is not an error of the code, so its trace does not help.
        trace = None if isinstance(fault, LookupError | OSError) else fault
        message = "%s cannot be opened, the arm %s until it can: %s"
        logger.error(message, record.collection, meanwhile, fault, exc_info=trace)
