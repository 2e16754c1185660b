"""How long an import and the models' builds take, with CPU seconds and peak memory."""

import asyncio

from services.common.kafka import ensure_topics
from services.common.settings import KafkaSettings
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
        "Each row is one `animusic` command, the start of Python, checks and index included, on an idle Kafka.",
    )
    directory = stage.directory / "catalogue"
    with kafka_node(directory / "kafka") as node:
        await ensure_topics(KafkaSettings(bootstrap_servers=node.bootstrap_servers))
        environment = clean_environment(directory, {"ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS": node.bootstrap_servers})
        for what, arguments in COMMANDS:
            cost = await asyncio.to_thread(run_measured, animusic(*arguments), environment, directory)
            beside = f"{cost.cpu_seconds:.1f} CPU s, peak {cost.peak_bytes / MIB:,.0f} MB"
            section.add(what, f"{cost.wall_seconds:.1f} s", "", beside)
    return section
