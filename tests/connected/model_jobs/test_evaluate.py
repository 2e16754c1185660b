"""`animusic models evaluate` on the catalogue in the log, in a process of its own, as a person types it."""

import json
import os
import sys
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from pathlib import Path

import pytest

from collectors.importing import planned, write
from collectors.synthetic import synthetic_songs
from services.common.kafka.catalogue_log import read_catalogue
from services.common.settings import KafkaSettings

pytestmark = pytest.mark.connected

ASKED = ("tfidf", "--withhold", "composer", "--listeners", "10", "--queries", "20", "--json")


async def evaluate(log: KafkaSettings, data_dir: Path) -> tuple[int, str, str]:
    ours = {"ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS": log.bootstrap_servers, "ANIMUSIC_DATA_DIR": str(data_dir)}
    command = (sys.executable, "-m", "services.cli.main", "models", "evaluate", *ASKED)
    process: Process = await create_subprocess_exec(*command, env={**os.environ, **ours}, stdout=PIPE, stderr=PIPE)
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_the_default_catalogue_is_that_of_the_log(log: KafkaSettings, tmp_path: Path) -> None:
    code, _, said = await evaluate(log, tmp_path)
    assert code == 1 and "`animusic catalogue import sample` loads some" in said
    await write(log, planned(synthetic_songs(80), await read_catalogue(log)).records)
    code, printed, said = await evaluate(log, tmp_path)
    assert code == 0, said
    found = json.loads(printed)
    assert found["about"]["songs"] == 80
    assert {figure["arm"] for figure in found["figures"]} == {"random", "popular", "tfidf"}
    assert not list(tmp_path.glob("vectors/*")), "an evaluation publishes nothing"
