"""Live arms that a recommender cannot serve, each with the command that restores it on this machine.

Which command works depends on what this machine has: a model that any machine builds, vectors that were encoded before,
the sample's shipped vectors, an encoder. tests/system/test_health.py tries each command.
"""

import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from contracts.models import LiveModel
from services.common.settings import Settings
from services.operator.findings import Finding
from services.operator.status.judging import PAGE
from services.operator.status.model import ServiceHealth

_ENCODER: Final = ("torch", "sentence_transformers")


def unserved(settings: Settings, live: Mapping[str, LiveModel], services: Iterable[ServiceHealth]) -> list[Finding]:
    """The live arms that some recommender leaves out. Blocks for as long as vectors take to be looked at."""
    why = {arm: reason for service in services for arm, reason in service.left_out.items()}
    found = []
    for arm, record in sorted(live.items()):
        if arm in why:
            detail = f"version {record.version} is live and is not served here: {why[arm]}"
            # The first command of these that can work.
            remedy = next(_remedies(settings, record))
            found.append(Finding(f"arm {arm}", "fail", detail, remedy, f"{PAGE}#a-live-arm-is-not-served"))
    return found


def _remedies(settings: Settings, record: LiveModel) -> Iterator[str]:
    from collectors.sample.vectors import SHIPPED
    from model_jobs.neural.cache import EmbeddingCache
    from model_jobs.neural.export_file import read_export
    from model_jobs.vector_export import made_of

    arm, directory, revision = record.arm, settings.vectors_dir / record.collection, record.params.get("revision")
    if (directory / "model.json").is_file():
        yield f"`animusic replay models` sets {directory} aside where it is damaged, and builds it again"
    if not revision:
        yield f"`animusic models build {arm} --as-live` builds it again from the catalogue"
    elif EmbeddingCache(settings.embeddings_dir, arm, str(revision)).path.is_file():
        yield f"`animusic models build {arm} --as-live` builds it again from the vectors in {settings.embeddings_dir}"
    if arm in SHIPPED and made_of(record, read_export(SHIPPED[arm])):
        yield f"`animusic models import sample --arm {arm}` takes the sample's vectors, which it was live with"
    if all(importlib.util.find_spec(name) for name in _ENCODER):
        yield f"`animusic models build {arm}` encodes the catalogue"
    yield (
        f"copy {directory} from the machine that built it, or its vectors: `animusic models export {arm} FILE` there, "
        f"`animusic models import FILE` here; or `make neural`, then `animusic models build {arm}`"
    )
