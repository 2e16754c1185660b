"""The models that this machine can evaluate: those that it can build, presets included."""

from collections.abc import Sequence
from typing import Final

from contracts.arms import CONTENT_ARMS
from model_jobs.evaluate.evaluation import POPULAR, ModelFor
from model_jobs.evaluate.questions import RANDOM
from model_jobs.evaluate.withhold import Field
from model_jobs.model import ModelBuilder
from model_jobs.neural.arms import Imported, Neural
from model_jobs.neural.hub import check_installed
from model_jobs.node2vec import PRESETS, Node2Vec
from model_jobs.registry import buildable, model_named
from services.common.settings import Settings

# Vectors of texts with a field withheld are no song's: they are kept, but where no model and no export takes them from.
WITHHELD_DIR: Final = "withheld"
FIXED: Final = (RANDOM, POPULAR)


def arms_here(settings: Settings, asked: Sequence[str] = ()) -> list[str]:
    """Those asked for, or all content arms that have a builder, as playlists order them, others after them.

    `node2vec:paper` is node2vec with that preset, beside the one that the settings describe. Raises ValueError for an
    arm that nothing here builds, and for one that builds nothing.
    """
    known = buildable(settings)
    for arm in asked:
        if arm not in known and arm not in _presets():
            why = "is measured beside the others in any case" if arm in FIXED else "is no arm that is built here"
            can = ", ".join([*known, *_presets()])
            raise ValueError(f"{arm} {why}; `animusic models evaluate` takes {can}")
    return sorted(dict.fromkeys(asked) or known, key=_place)


def models_here(settings: Settings) -> ModelFor:
    """What builds an arm of songs without a field, for `evaluate`.

    It raises ValueError for an arm without a builder, RuntimeError with what to do where a model cannot be had.
    """
    unreachable: dict[str, str] = {}

    def model_for(arm: str, withheld: Field | None) -> ModelBuilder:
        if arm in settings.models.neural:
            return _sentence_model(settings, arm, withheld, unreachable)
        name, _, preset = arm.partition(":")
        return model_named(settings, name, {"preset": preset} if preset else None)

    return model_for


def _sentence_model(settings: Settings, arm: str, withheld: Field | None, unreachable: dict[str, str]) -> ModelBuilder:
    """Where there is no encoder, imported vectors will do for texts as they are, not for others."""
    directory = settings.embeddings_dir if withheld is None else settings.embeddings_dir / WITHHELD_DIR
    model = Neural(arm, settings.models.neural[arm], directory)
    try:
        if arm not in unreachable:
            check_installed(arm)
            _ = model.weights
    except (RuntimeError, ValueError) as error:
        unreachable[arm] = str(error).removeprefix(f"{arm} is not built, and what is live stays: ")
    if arm not in unreachable:
        return model
    kept = sorted(directory.glob(f"{arm}-*.sqlite"), key=lambda path: path.stat().st_mtime)
    if withheld is not None or not kept:
        raise RuntimeError(f"it needs an encoder for texts that lack a field: {unreachable[arm]}")
    return Imported(arm, settings.models.neural[arm], kept[-1].stem.removeprefix(f"{arm}-"), directory)


def _presets() -> list[str]:
    return [f"{Node2Vec.arm}:{preset}" for preset in PRESETS]


def _place(arm: str) -> tuple[int, str]:
    name = arm.partition(":")[0]
    return (CONTENT_ARMS.index(name) if name in CONTENT_ARMS else len(CONTENT_ARMS)), arm
