"""What the log already holds: a catalogue, and models that were built from it."""

from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from contracts.models import LiveModel
from contracts.records import MODEL_VERSIONS
from contracts.topics import CATALOGUE, MODELS
from services.common.kafka import read_to_end, topic_ids
from services.common.settings import KafkaSettings, Settings
from services.local.layout import Layout, read_json, write_json

# The models that this machine builds by itself; the others need an encoder, and are built when asked.
BUILT_HERE: Final = ("tfidf", "node2vec")
# Of these the sample's vectors are shipped, so that it needs no encoder.
SHIPPED_ARMS: Final = ("minilm", "mpnet")
SAMPLE: Final = "sample"


@dataclass(frozen=True)
class CatalogueState:
    """How far the catalogue topic has come; two equal states hold the same catalogue."""

    topic_id: str
    end: int

    @property
    def empty(self) -> bool:
        """Whether nothing was ever imported."""
        return self.end == 0

    def as_json(self) -> dict[str, Any]:
        """For `contents.json`."""
        return {"topic_id": self.topic_id, "end": self.end}


async def catalogue_state(settings: KafkaSettings) -> CatalogueState:
    """Ask the log. Raises ConnectionError or LookupError (no such topic)."""
    ids = await topic_ids(settings.bootstrap_servers, [CATALOGUE.name])
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False)
    await consumer.start()
    try:
        partition = TopicPartition(CATALOGUE.name, 0)
        ends: dict[TopicPartition, int] = await consumer.end_offsets([partition])
    finally:
        await consumer.stop()
    return CatalogueState(ids[CATALOGUE.name], ends[partition])


async def live_models(settings: KafkaSettings) -> dict[str, LiveModel]:
    """Arm -> the last switch of it in the log."""
    live: dict[str, LiveModel] = {}
    async for batch in read_to_end(settings, MODELS.name):
        live.update((model.arm, model) for model in map(_model, batch) if model is not None)
    return live


def _model(record: Any) -> LiveModel | None:
    return MODEL_VERSIONS.read(record.value) if record.value else None


class Contents:
    """`contents.json`: what the supervisor loaded and built, so that a next start need not look into the log for it."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.contents
        self._noted = read_json(self._path)

    @property
    def catalogue(self) -> str | None:
        """The name of the catalogue that was loaded last; None when this directory's supervisor loaded none."""
        name = self._noted.get("catalogue")
        return name if isinstance(name, str) else None

    @property
    def built_from(self) -> CatalogueState | None:
        """The state of the catalogue that the supervisor last built models from; None when it built none."""
        noted = self._noted.get("models", {}).get("built_from")
        return CatalogueState(**noted) if isinstance(noted, dict) else None

    def note_catalogue(self, name: str) -> None:
        """Remember which catalogue was loaded."""
        self._write(catalogue=name)

    def note_models(self, built_from: CatalogueState, versions: dict[str, str]) -> None:
        """Remember from which state of the catalogue the models were built, arm -> version."""
        self._write(models={"built_from": built_from.as_json(), "versions": versions})

    def stale_arms(self, settings: Settings, state: CatalogueState, live: dict[str, LiveModel]) -> list[str]:
        """The arms of BUILT_HERE whose model is missing, or built from another state of the catalogue.

        A version that was switched or rolled back to by hand since then is left alone.
        """
        noted = self._noted.get("models", {})
        current = noted.get("built_from") == state.as_json()
        versions = noted.get("versions", {}) if current else {}
        return [arm for arm in BUILT_HERE if arm not in versions or not _is_on_disk(settings, live.get(arm))]

    def note_shipped(self, state: CatalogueState, live: dict[str, LiveModel]) -> None:
        """Remember which models were made of the shipped vectors, and for which state of the catalogue."""
        versions = {arm: live[arm].version for arm in SHIPPED_ARMS if arm in live}
        self._write(shipped={"made_for": state.as_json(), "versions": versions})

    def shipped_arms(self, settings: Settings, state: CatalogueState, live: dict[str, LiveModel]) -> list[str]:
        """The arms that the shipped vectors are to be imported for: none has them live, or a start like this one does.

        A model that was built, imported or rolled back to by hand is left alone.
        """
        if self.catalogue != SAMPLE:
            return []
        noted = self._noted.get("shipped", {})
        current, versions = noted.get("made_for") == state.as_json(), noted.get("versions", {})
        ours = [arm for arm in SHIPPED_ARMS if arm not in live or live[arm].version == versions.get(arm)]
        return [arm for arm in ours if not (current and _is_here(settings, live.get(arm), versions.get(arm)))]

    def lost_arms(self, settings: Settings, live: dict[str, LiveModel]) -> list[str]:
        """Arms of sentence models whose live version is not on this machine: a log was restored, or vectors were lost.

        The arms of BUILT_HERE are built from the catalogue by every start that misses them.
        """
        return [arm for arm, model in live.items() if "revision" in model.params and not _is_on_disk(settings, model)]

    def without_vectors(self, live: dict[str, LiveModel]) -> list[str]:
        """The arms of SHIPPED_ARMS without a model, or with the sample's while another catalogue is loaded."""
        versions = self._noted.get("shipped", {}).get("versions", {}) if self.catalogue != SAMPLE else {}
        return [arm for arm in SHIPPED_ARMS if arm not in live or live[arm].version == versions.get(arm)]

    def _write(self, **changes: Any) -> None:
        self._noted = {**self._noted, **changes}
        write_json(self._path, self._noted)


def _is_here(settings: Settings, model: LiveModel | None, version: str | None) -> bool:
    return model is not None and model.version == version and _is_on_disk(settings, model)


def _is_on_disk(settings: Settings, model: LiveModel | None) -> bool:
    return model is not None and (settings.vectors_dir / model.collection / "model.json").is_file()
