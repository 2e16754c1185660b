"""Which arms have a model that can be built here, and what builds it."""

from collections.abc import Mapping
from typing import Any, Final

from model_jobs.model import Model
from model_jobs.node2vec import Node2Vec
from model_jobs.tfidf import Tfidf
from services.common.settings import Settings

# Built on any machine, without a download.
LIGHT: Final[Mapping[str, Any]] = {"tfidf": Tfidf, "node2vec": Node2Vec}


def buildable(settings: Settings) -> list[str]:
    """The arms that `model_named` knows."""
    del settings
    return list(LIGHT)


def model_named(settings: Settings, arm: str, params: Mapping[str, Any] | None = None) -> Model:
    """The model of an arm. Raises ValueError for an arm that nothing here builds, and for unknown parameters."""
    if arm not in LIGHT:
        known = " and ".join(buildable(settings))
        raise ValueError(f"`animusic models build` makes {known}; nothing here builds a model named {arm!r}")
    try:
        model: Model = LIGHT[arm](**(params or {}))
    except TypeError as error:
        raise ValueError(f"{arm} has no such parameter: {error}") from error
    return model
