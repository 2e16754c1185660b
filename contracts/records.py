"""How to read a record of any topic, in any of its versions. All readers use this module."""

from typing import Any, Final

from pydantic import TypeAdapter

from contracts.catalogue import Song, WithdrawnSong
from contracts.events import EVENT_VERSIONS
from contracts.evolution.versions import Versions
from contracts.ledger import LEDGER_RECORD
from contracts.model_builds import ModelBuild
from contracts.models import LiveModel
from contracts.playlists import ServedPlaylist
from contracts.profiles import PROFILE_RECORD, AnimeList, Forgotten
from contracts.topics import CATALOGUE, FEEDBACK, LEDGER, MODEL_BUILDS, MODELS, PLAYLISTS, PROFILES

PLAYLIST_VERSIONS: Final[Versions[ServedPlaylist]] = Versions(TypeAdapter(ServedPlaylist))
PROFILE_VERSIONS: Final[Versions[AnimeList | Forgotten]] = Versions(PROFILE_RECORD)
CATALOGUE_VERSIONS: Final[Versions[Song | WithdrawnSong]] = Versions(TypeAdapter(Song | WithdrawnSong))
MODEL_VERSIONS: Final[Versions[LiveModel]] = Versions(TypeAdapter(LiveModel))
BUILD_VERSIONS: Final[Versions[ModelBuild]] = Versions(TypeAdapter(ModelBuild))
LEDGER_VERSIONS: Final[Versions[Any]] = Versions(LEDGER_RECORD)

# Dead letters are any bytes; their contract is the headers (contracts.dead_letters).
VERSIONS: Final[dict[str, Versions[Any]]] = {
    FEEDBACK.name: EVENT_VERSIONS,
    PLAYLISTS.name: PLAYLIST_VERSIONS,
    PROFILES.name: PROFILE_VERSIONS,
    CATALOGUE.name: CATALOGUE_VERSIONS,
    MODELS.name: MODEL_VERSIONS,
    MODEL_BUILDS.name: BUILD_VERSIONS,
    LEDGER.name: LEDGER_VERSIONS,
}


def read_record(topic: str, value: bytes) -> Any:
    """A record of any topic but the dead letters.

    Raises pydantic.ValidationError for an invalid record, NewerSchema for a newer version than this program reads (both
    are ValueErrors); KeyError for another topic.
    """
    return VERSIONS[topic].read(value)
