"""What serving reads beside profiles: the catalogue, and the vectors that the log says are live.

Neither is kept in a store that could be rebuilt beside the live one: each recommender reads the catalogue and the live
models off the log when it starts, and follows both. So rebuilding means: the topic can be read to its end, and every
directory that it names is there, whole, and fits the record; one that is not is set aside, so that it is built anew.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from contracts.models import LiveModel
from services.common.vectors.edge import EdgeIndex
from services.common.vectors.published import load_published


@dataclass(frozen=True)
class ModelState:
    """A live model, and what is wrong with its directory on this machine; empty: nothing."""

    record: LiveModel
    trouble: str


def model_states(vectors_dir: Path, live: Iterable[LiveModel]) -> list[ModelState]:
    """Each live model with the state of its directory, by arm. Every file is opened; nothing is changed."""
    found = sorted(live, key=lambda record: record.arm)
    return [ModelState(record, _trouble(vectors_dir / record.collection, record)) for record in found]


def _trouble(directory: Path, record: LiveModel) -> str:
    try:
        model = load_published(directory)
        if model.record.version != record.version:
            return f"{directory.name} says that it is version {model.record.version}"
        if not model.raw.shape[0] == len(model.song_ids) == record.songs:
            return f"{model.raw.shape[0]} rows and {len(model.song_ids)} songs, where the log says {record.songs}"
        EdgeIndex.open(model.shard).close()
    except FileNotFoundError:
        return "it is not on this machine"
    except Exception as error:  # noqa: BLE001 - whatever a damaged file does to its reader, the directory is no good
        return f"it cannot be read ({type(error).__name__}: {error})"
    return ""


def move_damaged(vectors_dir: Path, record: LiveModel) -> Path | None:
    """Move a damaged directory out of the way, where nobody looks for models; None when there was none."""
    directory = vectors_dir / record.collection
    if not directory.exists():
        return None
    aside = vectors_dir / f".damaged-{record.collection}"
    number = 0
    while aside.exists():
        number += 1
        aside = vectors_dir / f".damaged-{record.collection}.{number}"
    return directory.rename(aside)
