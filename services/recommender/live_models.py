"""Which version of each arm is served: the one that the arm's record names, or the one before until that can be opened.

A version can be named before it is here - published on another machine a moment ago, or half copied - or be broken. An
arm that has served listeners goes on serving them meanwhile, and says that it is behind.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Final

from contracts.models import LiveModel
from services.recommender.metrics import BEHIND, MODEL_FAILURES, SWITCHES
from services.recommender.models import ServedModel

logger = logging.getLogger(__name__)

# Opens a version; blocks for as long as that takes, and raises whatever is wrong with it.
Opener = Callable[[LiveModel], ServedModel]
RETRY_SECONDS: Final = 5.0


class LiveModels:
    """The models that are open, one version an arm.

    Attributes:
        opened: by arm.
        failures: arm -> why the version that its record names is not served. The arm may be open all the same: then it
            serves the version before.
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
        """Open what is wanted beside what is open. Blocks. Returns the models that no new request will use."""
        retired = [self.opened.pop(arm) for arm in list(self.opened) if arm not in wanted]
        for arm in [arm for arm in self.failures if arm not in wanted]:
            self._settled(arm)
        for arm, record in wanted.items():
            before = self.opened.get(arm)
            if before is None or before.record.version != record.version:
                after = self._open(record, before)
                if after is None:
                    continue
                self.opened[arm] = after
                if before is not None:
                    retired.append(before)
            self._settled(arm)
        return retired

    def _settled(self, arm: str) -> None:
        """The arm serves what its record names."""
        self.failures.pop(arm, None)
        self._reported.pop(arm, None)
        BEHIND.labels(arm).set(0)

    def _open(self, record: LiveModel, before: ServedModel | None) -> ServedModel | None:
        arm = record.arm
        try:
            model = self._opener(record)
        except Exception as fault:  # noqa: BLE001 - whatever is wrong with a collection costs neither arm nor service
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
            f"{record.collection} cannot be opened: it is tried again every few seconds, and `animusic status` names "
            "the command that brings it back"
        )
        if self._reported.get(arm) == record.version:
            return
        self._reported[arm] = record.version
        # A version that is not here yet is no fault of the code: its trace would tell nothing.
        trace = None if isinstance(fault, LookupError | OSError) else fault
        message = "%s cannot be opened, the arm %s until it can: %s"
        logger.error(message, record.collection, meanwhile, fault, exc_info=trace)
