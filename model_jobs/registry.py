"""Which arms have a model that can be built here, and what builds it."""

from collections.abc import Mapping
from typing import Any, Final

from model_jobs.model import ModelBuilder
from model_jobs.neural.arms import Imported, Neural
from model_jobs.node2vec import Node2Vec, node2vec_of
from model_jobs.tfidf import Tfidf
from services.common.settings import Settings

# Built on any machine, without a download.
LIGHT: Final[Mapping[str, Any]] = {"tfidf": Tfidf, "node2vec": Node2Vec}


def buildable(settings: Settings) -> list[str]:
    """The arms that `model_named` knows. Those of sentence models also need weights and the extra `neural`."""
    return [*LIGHT, *settings.models.neural]


def model_named(settings: Settings, arm: str, params: Mapping[str, Any] | None = None) -> ModelBuilder:
    """The model of an arm, as a live model's parameters describe it where they are given.

    Raises ValueError for an arm that nothing here builds, and for unknown parameters.
    """
    if arm in settings.models.neural:
        return _sentence_model(settings, arm, params or {})
    if arm not in LIGHT:
        known = ", ".join(buildable(settings))
        raise ValueError(f"`animusic models build` makes {known}; nothing here builds a model named {arm!r}")
    try:
        if arm == Node2Vec.arm:
            return node2vec_of(settings.models.node2vec, params)
        model: ModelBuilder = LIGHT[arm](**(params or {}))
    except TypeError as error:
        raise ValueError(f"{arm} has no such parameter: {error}") from error
    return model


def _sentence_model(settings: Settings, arm: str, params: Mapping[str, Any]) -> ModelBuilder:
    """One that encodes, or, where the live vectors were imported, one that knows these."""
    if "imported" in params:
        return Imported(arm, params["model"], params["revision"], settings.embeddings_dir)
    if params and "revision" not in params:
        raise ValueError(f"{arm} has no parameters: its model's files say all")
    return Neural(arm, settings.models.neural[arm], settings.embeddings_dir)
