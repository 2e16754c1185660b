"""The models that this machine can evaluate: those that it can build."""

from collections.abc import Sequence
from typing import Final

from contracts.arms import CONTENT_ARMS
from model_jobs.evaluate.evaluation import POPULAR, ModelFor
from model_jobs.evaluate.questions import RANDOM
from model_jobs.evaluate.withhold import Field
from model_jobs.model import Model
from model_jobs.neural.arms import Neural
from model_jobs.registry import buildable, model_named
from services.common.settings import Settings

# Vectors of texts with a field withheld are no song's: they are kept, but where no model and no export takes them from.
WITHHELD_DIR: Final = "withheld"
FIXED: Final = (RANDOM, POPULAR)


def arms_here(settings: Settings, asked: Sequence[str] = ()) -> list[str]:
    """Those asked for, or all content arms that have a builder, as playlists order them, others after them.

    Raises ValueError for an arm that nothing here builds, and for one that builds nothing.
    """
    known = buildable(settings)
    for arm in asked:
        if arm not in known:
            said = "is measured beside the others in any case" if arm in FIXED else "is no arm that is built here"
            raise ValueError(f"{arm} {said}; `animusic models evaluate` takes {', '.join(known)}")
    chosen = dict.fromkeys(asked) or known
    return sorted(chosen, key=lambda arm: (CONTENT_ARMS.index(arm) if arm in CONTENT_ARMS else len(CONTENT_ARMS), arm))


def models_here(settings: Settings) -> ModelFor:
    """What builds an arm of songs without a field, for `evaluate`. Raises ValueError for an arm without a builder."""

    def model_for(arm: str, withheld: Field | None) -> Model:
        if withheld is not None and arm in settings.models.neural:
            return Neural(arm, settings.models.neural[arm], settings.embeddings_dir / WITHHELD_DIR)
        return model_named(settings, arm)

    return model_for
