"""Arms that the log says are live and a recommender cannot serve, each with the command that brings it back here.

Which command works depends on what this machine has: a model that any machine builds, vectors that were encoded before,
the sample's shipped vectors, an encoder. What is advised here is tried by tests/system/test_advice.py.
"""

import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from contracts.models import LiveModel
from services.common.settings import Settings
from services.operator.status.model import ServiceHealth, UnservedArm

_ENCODER: Final = ("torch", "sentence_transformers")


def unserved(settings: Settings, live: Mapping[str, LiveModel], services: Iterable[ServiceHealth]) -> list[UnservedArm]:
    """The live arms that some recommender leaves out. Blocks for as long as vectors take to be looked at."""
    why = {arm: said for service in services for arm, said in service.left_out.items()}
    return [
        UnservedArm(arm, record.version, why[arm], remedy(settings, record))
        for arm, record in sorted(live.items())
        if arm in why
    ]


def remedy(settings: Settings, record: LiveModel) -> str:
    """What brings a live version back that is not served here: the first command of these that can work."""
    return next(_remedies(settings, record))


def _remedies(settings: Settings, record: LiveModel) -> Iterator[str]:
    arm, directory = record.arm, settings.vectors_dir / record.collection
    if (directory / "model.json").is_file():
        yield f"`animusic replay models` sets {directory} aside where it is damaged, and builds it again"
    if "revision" not in record.params:
        yield f"`animusic models build {arm} --as-live` builds it again from the catalogue"
    if kept_here(settings, record):
        yield f"`animusic models build {arm} --as-live` builds it again from the vectors in {settings.embeddings_dir}"
    if is_shipped(record):
        yield f"`animusic models import sample --arm {arm}` takes the sample's vectors, which it was live with"
    if all(importlib.util.find_spec(name) for name in _ENCODER):
        yield f"`animusic models build {arm}` encodes the catalogue"
    yield (
        f"bring {directory} from the machine that built it, or its vectors: `animusic models export {arm} FILE` there, "
        f"`animusic models import FILE` here; or `make neural`, then `animusic models build {arm}`"
    )


def kept_here(settings: Settings, record: LiveModel) -> bool:
    """Whether vectors of the model that made a live version are on this machine: imported, or encoded before."""
    from model_jobs.neural.cache import EmbeddingCache

    revision = record.params.get("revision")
    return bool(revision) and EmbeddingCache(settings.embeddings_dir, record.arm, str(revision)).path.is_file()


def is_shipped(record: LiveModel) -> bool:
    """Whether a live version was made of the sample's shipped vectors, and of nothing else."""
    from collectors.sample.vectors import SHIPPED
    from model_jobs.neural.export_file import read_export
    from model_jobs.vector_export import made_of

    return record.arm in SHIPPED and made_of(record, read_export(SHIPPED[record.arm]))
