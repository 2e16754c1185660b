"""How long an import and the models' builds take, with CPU seconds and peak memory."""

import asyncio
import time
from pathlib import Path

from services.common.kafka import ensure_topics
from services.common.settings import KafkaSettings
from services.common.vectors.edge import write_shard
from services.common.vectors.published import load_published, published_models
from services.local.parts import animusic
from tests.bench.machine import MIB, run_measured
from tests.bench.report import Section
from tests.bench.stage import ENCODER_ARMS, Stage
from tests.bench.system import clean_environment
from tests.support.stores import kafka_node

COMMANDS = (
    ("import", ("catalogue", "import", "synthetic")),
    ("the same import again", ("catalogue", "import", "synthetic")),
    ("build tfidf", ("models", "build", "tfidf")),
    ("build node2vec", ("models", "build", "node2vec")),
    *(
        (f"publish random {arm} vectors", ("models", "load-random", arm))
        for arm in ENCODER_ARMS
    ),
)  # fmt: skip


async def measure(stage: Stage) -> Section:
    """The section. Starts a Kafka by itself and runs the commands against it."""
    section = Section(
        "Catalogue and models: 14,885 synthetic songs",
        "Each row is one `animusic` command, the start of Python, checks and index included, on an idle Kafka. *Index "
        "alone*: writing and optimising the Qdrant Edge shard, a part of each build.",
    )
    directory = stage.directory / "catalogue"
    with kafka_node(directory / "kafka") as node:
        await ensure_topics(KafkaSettings(bootstrap_servers=node.bootstrap_servers))
        environment = clean_environment(directory, {"ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS": node.bootstrap_servers})
        for what, arguments in COMMANDS:
            cost = await asyncio.to_thread(run_measured, animusic(*arguments), environment, directory)
            beside = f"{cost.cpu_seconds:.1f} CPU s, peak {cost.peak_bytes / MIB:,.0f} MB"
            section.add(what, f"{cost.wall_seconds:.1f} s", "", beside)
    found = (f"{arm} {seconds:.1f} s" for arm, seconds in index_seconds(directory / "vectors"))
    section.add("index alone", ", ".join(found))
    return section


def index_seconds(vectors_dir: Path) -> list[tuple[str, float]]:
    """(arm, seconds that writing and optimising its shard takes) of every published model."""
    found: list[tuple[str, float]] = []
    for record in sorted(published_models(vectors_dir), key=lambda record: record.arm):
        model = load_published(vectors_dir / record.collection)
        began = time.perf_counter()
        write_shard(vectors_dir / f".index-alone-{record.arm}", model.point_ids(), model.raw)
        found.append((record.arm, time.perf_counter() - began))
    return found
