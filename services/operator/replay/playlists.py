"""`animusic replay playlists`: what listeners had before them at a time, composed again. Nothing is written."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from contracts.arms import CONTENT_ARMS
from contracts.models import LiveModel
from services.common.settings import Settings
from services.operator.replay.counterfactual import Counterfactual, Opened, Replayed
from services.operator.replay.records import Tell
from services.operator.replay.then import Wanted, catalogue_then, made_from, playlists_at
from services.recommender.catalogue import Catalogue, build_catalogue
from services.recommender.models import ServedModel, open_model

LIVE = "live"
# Arm -> the version that it would have had.
Changed = Mapping[str, LiveModel]


@dataclass(frozen=True)
class Answer:
    """What came of it.

    Attributes:
        found: those served last come first.
        forgotten: listeners who are not looked at.
        later: songs of which the log holds only what was said of them since.
    """

    found: list[Replayed]
    catalogue: Catalogue
    forgotten: int
    later: int


async def composed_again(settings: Settings, wanted: Wanted, opened: Opened, changed: Changed, tell: Tell) -> Answer:
    """Read, and compose. Raises LookupError when nobody was served then, aiokafka's KafkaError."""
    placed = await playlists_at(settings.kafka, wanted, tell)
    then = await made_from(settings.kafka, placed, tell)
    known = await catalogue_then(settings.kafka, wanted.at, tell)
    catalogue = build_catalogue(known.entries).warm()
    again = Counterfactual(catalogue, settings.recommender, opened, changed)
    found = []
    # As the recommender does: sums in another order could tell two songs apart that were equal.
    with threadpool_limits(1, user_api="blas"):
        for number, one in enumerate(then, 1):
            found.append(again.of(one))
            tell("composing", number, len(then))
    return Answer(found, catalogue, len(placed) - len(then), known.later)


def chosen(here: Sequence[LiveModel], live: Mapping[str, LiveModel], text: str) -> LiveModel:
    """A model of this machine from `arm=version`; the beginning of a version is enough where it is the only one.

    Raises ValueError for another form, LookupError where there is no such version.
    """
    arm, _, version = text.partition("=")
    if arm not in CONTENT_ARMS or not version:
        raise ValueError(
            f"{text!r} is no ARM=VERSION: write one of {', '.join(sorted(CONTENT_ARMS))}, `=`, and a version that "
            f"`animusic models list` names, or `{LIVE}`"
        )
    if version == LIVE:
        version = live[arm].version if arm in live else "none"
    found = [one for one in here if one.arm == arm and one.version.startswith(version)]
    if len(found) != 1:
        many = "several versions begin" if found else "no version on this machine begins"
        raise LookupError(f"{text}: {many} like that; `animusic models list` names those that are here")
    return found[0]


@contextmanager
def opening(settings: Settings, here: Sequence[LiveModel]) -> Iterator[Opened]:
    """Opens models of this machine inside the block, each when it is asked for."""
    records: dict[tuple[str, str], LiveModel] = {(one.arm, one.version): one for one in here}
    models: list[ServedModel] = []

    def opened(arm: str, version: str) -> ServedModel | None:
        record = records.get((arm, version))
        if record is None:
            return None
        models.append(open_model(record, settings.vectors_dir))
        return models[-1]

    try:
        yield opened
    finally:
        for model in models:
            model.index.close()
