"""Builds and switches as analysts see them, and the report that is made of them."""

import pytest

from contracts.model_builds import Machine, ModelBuild, Stage
from services.analytics.feasibility import QUERY, lines
from services.common.clickhouse import ChdbConnection
from services.warehouse import rows
from services.warehouse.rows import Place

pytestmark = pytest.mark.connected

OLD, NEW = "a" * 16, "b" * 16
STAGES = {name: Stage(seconds=at, cpu_seconds=at / 2) for at, name in enumerate(("publish", "catalogue", "vectors"), 1)}


def build(version: str = NEW, **fields: object) -> ModelBuild:
    known = {
        "arm": "node2vec", "version": version, "outcome": "built", "went_live": True, "started_at": 1_762_000_000_000,
        "seconds": 7.5, "cpu_seconds": 6.25, "peak_memory_bytes": 300_000_000, "songs": 500, "encoded": 500,
        "stages": STAGES, "params": {"seed": 1}, "machine": Machine(cores=2, architecture="x86_64"),
    }  # fmt: skip
    return ModelBuild.model_validate({**known, **fields})


BUILDS = (
    build(OLD, cpu_seconds=9.0, recall=0.995),
    build(replaced=OLD, started_at=1_762_000_001_000),
    # Re-used everything, failed, made up, or only switched: nothing of that says what a build costs.
    build(encoded=5, reused=495, started_at=1_762_000_009_000),
    build(outcome="failed", went_live=False, why="some vectors hold NaN", songs=0),
    build(arm="minilm", params={"made_up": True}),
    ModelBuild(arm="tfidf", version=OLD, outcome="rolled back", went_live=True, replaced=NEW, started_at=1),
)


@pytest.fixture
def told(clickhouse: ChdbConnection) -> ChdbConnection:
    """The warehouse with all of them; a killed insert brought the first ones twice."""
    placed = [(Place("topic", 0, offset, 1_000 + offset), record) for offset, record in enumerate(BUILDS)]
    for part in (placed[:3], placed):
        clickhouse.insert("animusic.model_builds", rows.model_builds(part))
    return clickhouse


def test_each_record_is_one_row_the_newest_first(told: ChdbConnection) -> None:
    found = told.query(
        "SELECT arm, version, outcome, went_live, replaced, why, recall FROM animusic.builds"
    ).to_pylist()
    assert [(row["arm"], row["outcome"]) for row in found] == [(b.arm, b.outcome) for b in reversed(BUILDS)]
    assert [row["recall"] for row in found if row["recall"] is not None] == [0.995]
    assert (found[0]["version"], found[0]["replaced"], found[2]["why"]) == (OLD, NEW, "some vectors hold NaN")


def test_the_stages_of_the_last_build_of_an_arm_are_rows(told: ChdbConnection) -> None:
    found = told.query("SELECT * FROM animusic.build_stages WHERE arm = 'node2vec'").to_pylist()
    assert [(row["stage"], row["seconds"], row["cpu_seconds"]) for row in found] == [
        ("catalogue", 2, 1), ("vectors", 3, 1.5), ("publish", 1, 0.5),
    ]  # fmt: skip
    assert found[0]["cpu_ms_per_song"] == 2.0


def test_the_report_takes_the_last_build_that_computed_most(told: ChdbConnection) -> None:
    asked = told.query(QUERY.replace("FORMAT JSONEachRow", "")).to_pylist()
    (found,) = [{**row, **{name: dict(row[name]) for name in ("stage_seconds", "stage_cpu_seconds")}} for row in asked]
    report = lines([found])
    assert [line.stage for line in report] == ["catalogue", "vectors", "publish", "whole"]
    assert (report[-1].version, report[-1].cpu_seconds, report[-1].cpu_ms_per_song) == (NEW, 6.25, 12.5)
